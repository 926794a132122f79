package eventflowdb_test

import (
	"os"
	"strings"
	"testing"
)

func TestExampleOfTheReadmeIsTheOneThatIsCompiled(t *testing.T) {
	program := bodyOf(t, "README.md", "func main() {\n")
	example := bodyOf(t, "example_test.go", "func Example() {\n")
	if program != example {
		t.Errorf("README.md has\n%s\nexample_test.go has\n%s", program, example)
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
