package eventflowdb_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"regexp"
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
		Stream, Event    *string
		Expected         any
		Actual, Unless   *int64
	}
	Requests []struct {
		Name, Command string
		Argument      map[string]any
		Call          struct {
			appendCall
			Method, Offset, After string
			Limit                 int64
			WaitMS                int64 `json:"wait_ms"`
			Appends               []appendCall
			Unless                []eventflowdb.Unless
			RequestID             json.RawMessage `json:"request_id"`
		}
	}
}

type appendCall struct {
	Stream  string
	Version any
	Events  []eventflowdb.NewEvent
}

// version is what the client takes for a number or a word.
func (c appendCall) version() int64 {
	switch version := c.Version.(type) {
	case float64:
		return int64(version)
	case string:
		return map[string]int64{"any": eventflowdb.AnyVersion, "exists": eventflowdb.StreamExists}[version]
	}
	return 0
}

// freshULID stands in the vectors for one that the client makes.
const freshULID = "<a fresh ULID>"

var ulidPattern = regexp.MustCompile("^[0-7][0-9A-HJKMNP-TV-Z]{25}$")

var errorByKind = map[string]error{
	"concurrency":       eventflowdb.ErrWrongExpectedVersion,
	"unless_matched":    eventflowdb.ErrUnlessMatched,
	"request_conflict":  eventflowdb.ErrRequestConflict,
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
				checkNumber(t, "expected", wrong.Expected, expectedNumber(vector.Expected))
				checkNumber(t, "actual", wrong.Actual, vector.Actual)
				checkString(t, "stream", wrong.Stream, vector.Stream)
			}
			var matched *eventflowdb.UnlessMatchedError
			if errors.As(err, &matched) != (vector.Kind == "unless_matched") {
				t.Errorf("the type is %T", err)
			}
			if matched != nil {
				checkNumber(t, "unless", matched.Unless, vector.Unless)
				checkString(t, "event", matched.Event, vector.Event)
			}
			if errors.Is(err, eventflowdb.ErrConditionFailed) != (wrong != nil || matched != nil) {
				t.Errorf("%v: is it a condition?", err)
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
			options := eventflowdb.AppendOptions{Unless: call.Unless}
			options.WithoutRequestID = string(call.RequestID) == "null"
			if call.RequestID != nil && !options.WithoutRequestID {
				if err := json.Unmarshal(call.RequestID, &options.RequestID); err != nil {
					t.Fatal(err)
				}
			}
			var err error
			switch call.Method {
			case "add":
				_, err = client.AddWith(ctx, options, call.Stream, call.version(), call.Events...)
			case "add_many":
				_, err = client.AddMany(ctx, options, appendsOf(call.Appends)...)
			case "get":
				_, err = client.Get(ctx, call.Stream, eventflowdb.GetOptions{
					Version: call.version(), Limit: call.Limit, Wait: time.Duration(call.WaitMS) * time.Millisecond,
				})
			case "get_all":
				_, err = client.GetAll(ctx, eventflowdb.GetAllOptions{
					Offset: call.Offset, After: call.After, Limit: call.Limit,
					Wait: time.Duration(call.WaitMS) * time.Millisecond,
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
			var sent map[string]any
			if err := json.Unmarshal([]byte(words[1]), &sent); err != nil {
				t.Fatal(err)
			}
			if id, ok := sent["request_id"].(string); ok && options.RequestID == "" && ulidPattern.MatchString(id) {
				sent["request_id"] = freshULID
			}
			if len(words) != 2 || !reflect.DeepEqual(sent, vector.Argument) {
				t.Errorf("sent %q\nwant %v", words, vector.Argument)
			}
		})
	}
}

func appendsOf(calls []appendCall) []eventflowdb.StreamAppend {
	appends := make([]eventflowdb.StreamAppend, len(calls))
	for i, call := range calls {
		appends[i] = eventflowdb.StreamAppend{Stream: call.Stream, Version: call.version(), Events: call.Events}
	}
	return appends
}

func expectedNumber(expected any) *int64 {
	if expected == nil {
		return nil
	}
	number := appendCall{Version: expected}.version()
	return &number
}

func checkString(t *testing.T, name string, got string, want *string) {
	t.Helper()
	if want == nil && got != "" || want != nil && got != *want {
		t.Errorf("the %s is %q", name, got)
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
