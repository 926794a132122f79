package eventflowdb_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
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
		Consumer         string
		Expected         any
		Actual, Unless   *int64
	}
	Requests         []requestVector
	ConsumerRequests []requestVector `json:"consumer_requests"`
	Consumers        []struct {
		Name, JSON string
		Consumer   map[string]any
	}
	Parked []struct {
		Name, JSON string
		Parked     map[string]any
	}
}

type requestVector struct {
	Name, Command string
	// Argument is an object, a word, or nil for none.
	Argument any
	Call     call
}

// call is a method and what it is given, in the words of the vectors.
type call struct {
	appendCall
	Types, Tags                       []string
	CorrelationID                     string `json:"correlation_id"`
	CausationID                       string `json:"causation_id"`
	Method, ID, Offset, After, Before string
	Since, Until                      time.Time
	Backwards                         bool
	Limit                             int64
	WaitMS                            int64 `json:"wait_ms"`
	Appends                           []appendCall
	Unless                            []eventflowdb.Unless
	RequestID                         json.RawMessage `json:"request_id"`
	Checkpoint                        *eventflowdb.Checkpoint

	Consumer, Member, Reason string
	Query                    eventflowdb.ConsumerQuery
	TimeoutMS                *int64 `json:"timeout_ms"`
	RetryMS                  *int64 `json:"retry_ms"`
	TriesMax                 *int64 `json:"tries_max"`
	DelayMS                  *int64 `json:"delay_ms"`
	IDs                      []string
	Park                     bool
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
	"not_held":          eventflowdb.ErrNotHeld,
	"no_such_consumer":  eventflowdb.ErrNoSuchConsumer,
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
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields() // what these tests know nothing of would not be tested
	if err := decoder.Decode(&read); err != nil {
		t.Fatal(err)
	}
	for _, count := range []int{
		len(read.Events), len(read.Errors), len(read.Requests), len(read.ConsumerRequests), len(read.Consumers),
		len(read.Parked),
	} {
		if count == 0 {
			t.Fatal("a part of the vectors is empty")
		}
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
			var notHeld *eventflowdb.NotHeldError
			if errors.As(err, &notHeld) != (vector.Kind == "not_held") {
				t.Errorf("the type is %T", err)
			}
			if notHeld != nil {
				checkString(t, "consumer", notHeld.Consumer, &vector.Consumer)
				checkString(t, "event", notHeld.Event, vector.Event)
			}
			if errors.Is(err, eventflowdb.ErrConditionFailed) != (wrong != nil || matched != nil || notHeld != nil) {
				t.Errorf("%v: is it a condition?", err)
			}
		})
	}
}

func TestRequestsAreSentAsTheVectorsSay(t *testing.T) {
	read := readVectors(t)
	for _, vector := range slices.Concat(read.Requests, read.ConsumerRequests) {
		t.Run(vector.Name, func(t *testing.T) {
			var words []string
			server := newFakeServer(t, func(sent []string) string {
				if sent[0] != vector.Command || words != nil {
					return ""
				}
				words = sent
				return replyTo(vector.Call.Method)
			})
			if err := vector.Call.carryOut(newClient(t, server)); err != nil {
				t.Fatal(err)
			}
			given := make([]any, len(words)-1)
			for i, word := range words[1:] {
				if err := json.Unmarshal([]byte(word), &given[i]); err != nil {
					given[i] = word
				}
				sent, _ := given[i].(map[string]any)
				if id, ok := sent["request_id"].(string); ok && vector.Call.RequestID == nil && ulidPattern.MatchString(id) {
					sent["request_id"] = freshULID
				}
			}
			if want := slices.DeleteFunc([]any{vector.Argument}, isNil); !reflect.DeepEqual(given, want) {
				t.Errorf("sent %q\nwant %v", words, want)
			}
		})
	}
}

func isNil(argument any) bool {
	return argument == nil
}

// replyTo is an answer of the kind that a method expects.
func replyTo(method string) string {
	switch method {
	case "event", "stream":
		return "$-1\r\n"
	case "create_consumer", "reset_consumer":
		const consumer = `{"consumer":"c","query":{},"timeout_ms":1,"retry_ms":1,"tries_max":1,"checkpoint":"0"}`
		return strings.TrimPrefix(bulks(consumer), "*1\r\n")
	case "delete_consumer", "replay", "replay_all", "ack", "extend", "nack", "release":
		return ":1\r\n"
	}
	return bulks()
}

// carryOut calls the method of the client, and returns its error.
func (c call) carryOut(client *eventflowdb.Client) error {
	ctx := context.Background()
	filter := eventflowdb.Filter{
		Types: c.Types, Tags: c.Tags, CorrelationID: c.CorrelationID, CausationID: c.CausationID,
		Since: c.Since, Until: c.Until, Before: c.Before,
	}
	wait := time.Duration(c.WaitMS) * time.Millisecond
	var err error
	switch c.Method {
	case "add":
		_, err = client.AddWith(ctx, c.appendOptions(), c.Stream, c.version(), c.Events...)
	case "add_many":
		_, err = client.AddMany(ctx, c.appendOptions(), appendsOf(c.Appends)...)
	case "get":
		_, err = client.Get(ctx, c.Stream, eventflowdb.GetOptions{
			Version: c.version(), After: c.After, Backwards: c.Backwards, Filter: filter, Limit: c.Limit, Wait: wait,
		})
	case "get_all":
		_, err = client.GetAll(ctx, eventflowdb.GetAllOptions{
			Offset: c.Offset, After: c.After, Backwards: c.Backwards, Filter: filter, Limit: c.Limit, Wait: wait,
		})
	case "event":
		_, _, err = client.Event(ctx, c.ID)
	case "stream":
		_, _, err = client.Stream(ctx, c.Stream)
	case "streams":
		_, err = client.Streams(ctx, eventflowdb.StreamsOptions{After: c.After, Limit: c.Limit, Filter: filter})
	case "types":
		_, err = client.Types(ctx, eventflowdb.TypesOptions{After: c.After, Limit: c.Limit})
	default:
		return c.carryOutForConsumer(client)
	}
	return err
}

func (c call) carryOutForConsumer(client *eventflowdb.Client) error {
	ctx := context.Background()
	wait := time.Duration(c.WaitMS) * time.Millisecond
	member := client.Consumer(c.Consumer, eventflowdb.MemberOptions{Member: c.Member, Limit: c.Limit, Wait: wait})
	events := make([]eventflowdb.FetchedEvent, len(c.IDs))
	for i, id := range c.IDs {
		events[i] = eventflowdb.FetchedEvent{Event: eventflowdb.Event{ID: id}, Member: c.Member}
	}
	var err error
	switch c.Method {
	case "create_consumer":
		_, err = client.CreateConsumer(ctx, c.Consumer, eventflowdb.ConsumerOptions{
			Query: c.Query, After: c.After, Timeout: durationOf(c.TimeoutMS), Retry: durationOf(c.RetryMS),
			TriesMax: triesOf(c.TriesMax),
		})
	case "delete_consumer":
		err = client.DeleteConsumer(ctx, c.Consumer)
	case "reset_consumer":
		_, err = client.ResetConsumer(ctx, c.Consumer, c.After)
	case "consumers":
		_, err = client.Consumers(ctx)
	case "parked":
		_, err = client.Parked(ctx, c.Consumer, eventflowdb.ParkedOptions{After: c.After, Limit: c.Limit})
	case "replay":
		_, err = client.Replay(ctx, c.Consumer, c.IDs...)
	case "replay_all":
		_, err = client.ReplayAll(ctx, c.Consumer)
	case "fetch":
		_, err = member.Fetch(ctx)
	case "ack":
		_, err = member.Ack(ctx, events...)
	case "extend":
		err = member.Extend(ctx, events...)
	case "nack":
		options := eventflowdb.NackOptions{Delay: durationOf(c.DelayMS), Reason: c.Reason, Park: c.Park}
		_, err = member.Nack(ctx, options, events...)
	case "release":
		_, err = member.Release(ctx, events...)
	default:
		err = errors.New("there is no method " + c.Method)
	}
	member.Close()
	return err
}

func (c call) appendOptions() eventflowdb.AppendOptions {
	options := eventflowdb.AppendOptions{Unless: c.Unless, Checkpoint: c.Checkpoint}
	options.WithoutRequestID = string(c.RequestID) == "null"
	_ = json.Unmarshal(c.RequestID, &options.RequestID)
	return options
}

func durationOf(milliseconds *int64) time.Duration {
	switch {
	case milliseconds == nil:
		return 0
	case *milliseconds == 0:
		return eventflowdb.NoDelay
	}
	return time.Duration(*milliseconds) * time.Millisecond
}

func triesOf(tries *int64) int64 {
	switch {
	case tries == nil:
		return 0
	case *tries == 0:
		return eventflowdb.AnyTries
	}
	return *tries
}

func TestConsumersAreReadAsTheVectorsSay(t *testing.T) {
	for _, vector := range readVectors(t).Consumers {
		t.Run(vector.Name, func(t *testing.T) {
			server := newFakeServer(t, func(words []string) string {
				switch {
				case words[0] != "CONSUMER":
					return ""
				case words[1] == "LIST":
					return bulks(vector.JSON)
				}
				return strings.TrimPrefix(bulks(vector.JSON), "*1\r\n")
			})
			client := newClient(t, server)
			listed, err := client.Consumers(context.Background())
			if err != nil || len(listed) != 1 || !reflect.DeepEqual(consumerFields(t, listed[0]), vector.Consumer) {
				t.Errorf("got  %+v, %v\nwant %v", listed, err, vector.Consumer)
			}
			made, err := client.CreateConsumer(context.Background(), "c", eventflowdb.ConsumerOptions{})
			if err != nil || !reflect.DeepEqual(made, listed[0].ConsumerSummary) {
				t.Errorf("got  %+v, %v", made, err)
			}
		})
	}
}

func TestParkedEventsAreReadAsTheVectorsSay(t *testing.T) {
	for _, vector := range readVectors(t).Parked {
		t.Run(vector.Name, func(t *testing.T) {
			client := newClient(t, newFakeServer(t, answering("CONSUMER", bulks(vector.JSON))))
			parked, err := client.Parked(context.Background(), "c", eventflowdb.ParkedOptions{})
			if err != nil || len(parked) != 1 {
				t.Fatalf("%+v, %v", parked, err)
			}
			got := map[string]any{
				"event": fieldsOf(t, parked[0].Event), "tries": float64(parked[0].Tries), "reason": parked[0].Reason,
				"parked_at": parked[0].ParkedAt.Format(addedAtLayout),
			}
			if !reflect.DeepEqual(got, vector.Parked) {
				t.Errorf("got  %v\nwant %v", got, vector.Parked)
			}
		})
	}
}

// consumerFields is a consumer as JSON has it, with numbers as JSON's.
func consumerFields(t *testing.T, status eventflowdb.ConsumerStatus) map[string]any {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"consumer": status.Name, "query": status.Query, "timeout_ms": status.Timeout.Milliseconds(),
		"retry_ms": status.Retry.Milliseconds(), "tries_max": status.TriesMax, "checkpoint": status.Checkpoint,
		"lag": status.Lag, "lag_is_whole": status.LagIsWhole, "lag_ms": status.LagTime.Milliseconds(),
		"in_flight": status.InFlight, "members": status.Members, "parked": status.Parked,
	})
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	return fields
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
