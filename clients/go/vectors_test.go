package eventflowdb_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"testing"
	"time"

	eventflowdb "github.com/eventflowdb/eventflowdb/clients/go"
)

// addedAtLayout is RFC 3339 with microseconds.
const addedAtLayout = "2006-01-02T15:04:05.000000Z"

// vectors are the cases that the clients in all languages share.
type vectors struct {
	Events []struct {
		Name, JSON string
		Event      map[string]any
	}
	Errors []struct {
		Name, Text, Kind string
		Stream           *string
		Expected, Actual *int64
	}
	Requests []struct {
		Name, Command string
		Argument      any
		Call          struct {
			Method, Stream, Offset, After string
			Version, Limit                int64
			Events                        []eventflowdb.NewEvent
		}
	}
}

var errorByKind = map[string]error{
	"concurrency":       eventflowdb.ErrWrongExpectedVersion,
	"invalid_argument":  eventflowdb.ErrInvalidArgument,
	"not_authenticated": eventflowdb.ErrNotAuthenticated,
	"wrong_password":    eventflowdb.ErrWrongPassword,
	"not_permitted":     eventflowdb.ErrNotPermitted,
	"try_again":         eventflowdb.ErrTryAgain,
	"store_full":        eventflowdb.ErrStoreFull,
	"corrupt":           eventflowdb.ErrCorruptRecord,
}

func readVectors(t *testing.T) vectors {
	t.Helper()
	text, err := os.ReadFile("../vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var read vectors
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	if len(read.Events) == 0 || len(read.Errors) == 0 || len(read.Requests) == 0 {
		t.Fatal("a part of the vectors is empty")
	}
	return read
}

func TestEventsAreReadAsTheVectorsSay(t *testing.T) {
	for _, vector := range readVectors(t).Events {
		t.Run(vector.Name, func(t *testing.T) {
			server := newFakeServer(t, func(words []string) string {
				if words[0] == "GETALL" {
					return bulks(vector.JSON)
				}
				return ""
			})
			events, err := newClient(t, server).GetAll(context.Background(), eventflowdb.GetAllOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got := fieldsOf(t, events[0]); len(events) != 1 || !reflect.DeepEqual(got, vector.Event) {
				t.Errorf("got  %v\nwant %v", got, vector.Event)
			}
		})
	}
}

func TestErrorsAreReadAsTheVectorsSay(t *testing.T) {
	for _, vector := range readVectors(t).Errors {
		t.Run(vector.Name, func(t *testing.T) {
			server := newFakeServer(t, func(words []string) string {
				if words[0] == "ADD" {
					return "-" + vector.Text + "\r\n"
				}
				return ""
			})
			_, err := newClient(t, server).Add(context.Background(), stream, 0, opened)
			checkKind(t, err, vector.Kind)
			var refusal *eventflowdb.RefusalError
			if !errors.As(err, &refusal) {
				t.Fatalf("%v is no RefusalError", err)
			}
			if got := refusal.Code + " " + refusal.Text; got != vector.Text && got != "ERR "+vector.Text &&
				got != vector.Text+" " {
				t.Errorf("the text became %q", got)
			}
			var wrong *eventflowdb.WrongExpectedVersionError
			if errors.As(err, &wrong) != (vector.Kind == "concurrency") {
				t.Errorf("the type is %T", err)
			}
			if wrong != nil {
				checkNumber(t, "expected", wrong.Expected, vector.Expected)
				checkNumber(t, "actual", wrong.Actual, vector.Actual)
				if vector.Stream == nil && wrong.Stream != "" || vector.Stream != nil && wrong.Stream != *vector.Stream {
					t.Errorf("the stream is %q", wrong.Stream)
				}
			}
		})
	}
}

func TestRequestsAreSentAsTheVectorsSay(t *testing.T) {
	for _, vector := range readVectors(t).Requests {
		t.Run(vector.Name, func(t *testing.T) {
			server := newFakeServer(t, func(words []string) string {
				if words[0] == vector.Command {
					return bulks()
				}
				return ""
			})
			client, ctx, call := newClient(t, server), context.Background(), vector.Call
			var err error
			switch call.Method {
			case "add":
				_, err = client.Add(ctx, call.Stream, call.Version, call.Events...)
			case "get":
				_, err = client.Get(ctx, call.Stream, eventflowdb.GetOptions{Version: call.Version, Limit: call.Limit})
			case "get_all":
				_, err = client.GetAll(ctx, eventflowdb.GetAllOptions{
					Offset: call.Offset, After: call.After, Limit: call.Limit,
				})
			default:
				t.Fatalf("there is no method %q", call.Method)
			}
			if err != nil {
				t.Fatal(err)
			}
			words := server.lastWords()
			if vector.Argument == nil {
				if len(words) != 1 {
					t.Errorf("sent %q", words)
				}
				return
			}
			var sent any
			if err := json.Unmarshal([]byte(words[1]), &sent); err != nil {
				t.Fatal(err)
			}
			if len(words) != 2 || !reflect.DeepEqual(sent, vector.Argument) {
				t.Errorf("sent %q\nwant %v", words, vector.Argument)
			}
		})
	}
}

func checkKind(t *testing.T, err error, kind string) {
	t.Helper()
	if _, ok := errorByKind[kind]; !ok && kind != "other" {
		t.Fatalf("there is no kind %q", kind)
	}
	for name, target := range errorByKind {
		if errors.Is(err, target) != (name == kind) {
			t.Errorf("%v: is it %s? %v", err, name, errors.Is(err, target))
		}
	}
}

func checkNumber(t *testing.T, name string, got int64, want *int64) {
	t.Helper()
	if want == nil && got != -1 || want != nil && got != *want {
		t.Errorf("%s is %d", name, got)
	}
}

// fieldsOf is an event as JSON has it, with numbers as JSON's.
func fieldsOf(t *testing.T, event eventflowdb.Event) map[string]any {
	t.Helper()
	text, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	if event.AddedAt.Location() != time.UTC {
		t.Errorf("added_at is not in UTC: %v", event.AddedAt)
	}
	fields["added_at"] = event.AddedAt.Format(addedAtLayout)
	return fields
}
