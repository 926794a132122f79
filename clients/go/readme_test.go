package eventflowdb_test

import (
	"os"
	"strings"
	"testing"
)

func TestExamplesOfTheReadmeAreThoseThatAreCompiled(t *testing.T) {
	const invoices = "func writeInvoices(ctx context.Context, client *eventflowdb.Client) error {\n"
	for beginning, compiled := range map[string]string{
		"func main() {\n": "func Example() {\n",
		invoices:          invoices,
	} {
		program := bodyOf(t, "README.md", beginning)
		example := bodyOf(t, "example_test.go", compiled)
		if program != example {
			t.Errorf("README.md has\n%s\nexample_test.go has\n%s", program, example)
		}
	}
}

// bodyOf is what stands between the line that begins a function and the line that ends it.
func bodyOf(t *testing.T, path string, beginning string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), beginning)
	body, _, ended := strings.Cut(rest, "\n}\n")
	if !found || !ended {
		t.Fatalf("%s has no %q", path, beginning)
	}
	return body
}
