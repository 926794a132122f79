package eventflowdb_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	eventflowdb "github.com/eventflowdb/eventflowdb/clients/go"
	"github.com/redis/go-redis/v9"
)

const (
	stream = "c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6c"
	record = `{"id":"%s","stream":"` + stream + `","version":0,"position":1,"type":"Opened","data":"","metadata":null,` +
		`"causation_id":"%[1]s","correlation_id":"%[1]s","added_at":"2025-11-23T19:23:14.123456Z"}`
)

var opened = eventflowdb.NewEvent{Type: "Opened", Data: "{}"}

func newClient(t *testing.T, server *fakeServer) *eventflowdb.Client {
	t.Helper()
	client := eventflowdb.New(eventflowdb.Options{Addr: server.addr, ReplyTimeout: 5 * time.Second})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// answering answers one command and leaves the others to the fake.
func answering(command string, reply string) func([]string) string {
	return func(words []string) string {
		if words[0] == command {
			return reply
		}
		return ""
	}
}

func TestAppendIsSentAgainOnlyWhereThatCanDoNoHarm(t *testing.T) {
	for _, outcome := range []struct {
		name, reply        string
		want               error
		times, timesWithID int
	}{
		{"the connection breaks before the reply", hangUp, eventflowdb.ErrConnectionLost, 1, 4},
		{"the connection breaks in the reply", "*1\r\n$500\r\n{\"id\"" + hangUp, eventflowdb.ErrConnectionLost, 1, 4},
		{"no reply comes", silence, eventflowdb.ErrConnectionLost, 1, 1},
		{"the reply is no RESP", "HTTP/1.1 400 Bad Request\r\n", eventflowdb.ErrConnectionLost, 1, 4},
		{"the server asks to try again", "-TRYAGAIN overloaded\r\n", eventflowdb.ErrTryAgain, 4, 4},
		{"the server loads", "-LOADING soon\r\n", nil, 1, 1},
		{"the server has too many clients", "-ERR max number of clients reached\r\n", eventflowdb.ErrTryAgain, 4, 4},
		{"the reply is null", "$-1\r\n", eventflowdb.ErrUnexpectedReply, 1, 1},
		{"the reply is another command's", ":5\r\n", eventflowdb.ErrUnexpectedReply, 1, 1},
	} {
		for options, times := range map[*eventflowdb.AppendOptions]int{
			{}: outcome.timesWithID, {WithoutRequestID: true}: outcome.times,
		} {
			t.Run(outcome.name, func(t *testing.T) {
				t.Parallel()
				server := newFakeServer(t, answering("ADD", outcome.reply))
				client := eventflowdb.New(eventflowdb.Options{Addr: server.addr, ReplyTimeout: 300 * time.Millisecond})
				checkSent(t, server, client, *options, outcome.want, times)
				if err := client.Close(); err != nil {
					t.Error(err)
				}
			})
			t.Run(outcome.name+", over a client that was given", func(t *testing.T) {
				t.Parallel()
				server := newFakeServer(t, answering("ADD", outcome.reply))
				given := redis.NewClient(&redis.Options{Addr: server.addr, ReadTimeout: 300 * time.Millisecond})
				defer func() { _ = given.Close() }()
				checkSent(t, server, eventflowdb.NewWith(given), *options, outcome.want, times)
			})
		}
	}
}

func checkSent(
	t *testing.T, server *fakeServer, client *eventflowdb.Client, options eventflowdb.AppendOptions, want error, times int,
) {
	t.Helper()
	_, err := client.AddWith(context.Background(), options, stream, 0, opened)
	if err == nil || want != nil && !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	if errors.Is(err, eventflowdb.ErrNotConnected) {
		t.Errorf("%v: it was sent", err)
	}
	if errors.Is(err, eventflowdb.ErrConnectionLost) && eventflowdb.RetryCanHelp(err) {
		t.Errorf("%v: a retry may not be safe", err)
	}
	var lost *eventflowdb.LostAppendError
	if isLost := errors.Is(err, eventflowdb.ErrConnectionLost); errors.As(err, &lost) != (isLost && !options.WithoutRequestID) {
		t.Errorf("%v is %T", err, err)
	}
	if lost != nil && !strings.Contains(server.lastWords()[1], `"request_id":"`+lost.RequestID+`"`) {
		t.Errorf("%q was sent for %s", server.lastWords(), lost.RequestID)
	}
	if count := server.count("ADD"); count != times {
		t.Errorf("ADD was sent %d times", count)
	}
}

func TestAppendWhoseAnswerIsLostIsSentAgainAsItWasAndStoredOnce(t *testing.T) {
	for _, command := range []string{"ADD", "ADDMANY"} {
		for losses := 1; losses <= 2; losses++ {
			stored, sent := map[string]string{}, []string{}
			server := newFakeServer(t, func(words []string) string {
				if words[0] != command {
					return ""
				}
				sent = append(sent, words[1])
				var argument struct {
					RequestID string `json:"request_id"`
				}
				_ = json.Unmarshal([]byte(words[1]), &argument)
				if stored[argument.RequestID] == "" {
					stored[argument.RequestID] = bulks(fmt.Sprintf(record, fmt.Sprintf("01KARS6Z4P%016d", len(stored)+1)))
				}
				if len(sent) <= losses {
					return hangUp
				}
				return stored[argument.RequestID]
			})
			client, ctx := newClient(t, server), context.Background()
			for number := 1; number <= 2; number++ {
				var events []eventflowdb.Event
				var err error
				if command == "ADD" {
					events, err = client.Add(ctx, stream, 0, opened)
				} else {
					part := eventflowdb.StreamAppend{Stream: stream, Events: []eventflowdb.NewEvent{opened}}
					events, err = client.AddMany(ctx, eventflowdb.AppendOptions{}, part)
				}
				if err != nil || len(events) != 1 || events[0].ID != fmt.Sprintf("01KARS6Z4P%016d", number) {
					t.Errorf("%s %d: got %v, %v", command, number, events, err)
				}
			}
			if len(stored) != 2 || len(sent) != losses+2 || sent[0] != sent[losses] {
				t.Errorf("%s: %d stored of %q", command, len(stored), sent)
			}
		}
	}
}

func TestAppendThatMayHaveBeenStoredDoesNotEndAsOneThatWasNot(t *testing.T) {
	for _, second := range []struct {
		reply   string
		settles error
	}{
		{"-TRYAGAIN shutting down\r\n", nil},
		{"-OOM full\r\n", nil},
		{"-CONFLICT used\r\n", eventflowdb.ErrRequestConflict},
		{"-CONCURRENCY expected=0 actual=1: x\r\n", eventflowdb.ErrWrongExpectedVersion},
	} {
		t.Run(second.reply, func(t *testing.T) {
			t.Parallel()
			var server *fakeServer
			server = newFakeServer(t, func(words []string) string {
				switch {
				case words[0] != "ADD":
					return ""
				case server.count("ADD") == 1:
					return hangUp
				}
				return second.reply
			})
			_, err := newClient(t, server).Add(context.Background(), stream, 0, opened)
			if want := second.settles; want != nil && !errors.Is(err, want) ||
				errors.Is(err, eventflowdb.ErrConnectionLost) != (want == nil) || errors.Is(err, eventflowdb.ErrTryAgain) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestContextEndsThePauseBetweenAttempts(t *testing.T) {
	server := newFakeServer(t, answering("ADD", "-TRYAGAIN overloaded\r\n"))
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := newClient(t, server).Add(ctx, stream, 0, opened); !errors.Is(err, eventflowdb.ErrTryAgain) {
		t.Errorf("got %v", err)
	}
	if count := server.count("ADD"); count != 1 {
		t.Errorf("ADD was sent %d times", count)
	}
}

func TestReadThatWaitsMayTakeLongerThanAReply(t *testing.T) {
	server := newFakeServer(t, func(words []string) string {
		if words[0] != "GETALL" && words[0] != "GET" {
			return ""
		}
		time.Sleep(500 * time.Millisecond)
		return bulks(fmt.Sprintf(record, "01KARS6Z4P0000000000000001"))
	})
	client := eventflowdb.New(eventflowdb.Options{Addr: server.addr, ReplyTimeout: 200 * time.Millisecond})
	defer func() { _ = client.Close() }()
	ctx := context.Background()
	if events, err := client.GetAll(ctx, eventflowdb.GetAllOptions{Wait: time.Minute}); err != nil || len(events) != 1 {
		t.Errorf("got %v, %v", events, err)
	}
	if events, err := client.Get(ctx, stream, eventflowdb.GetOptions{Wait: time.Minute}); err != nil || len(events) != 1 {
		t.Errorf("got %v, %v", events, err)
	}
	if _, err := client.Get(ctx, stream, eventflowdb.GetOptions{}); !errors.Is(err, eventflowdb.ErrConnectionLost) {
		t.Errorf("got %v", err)
	}
}

func TestWhoFollowsTheLogGetsWhatComes(t *testing.T) {
	ids := []string{"01KARS6Z4P0000000000000001", "01KARS6Z4P0000000000000002"}
	asked := []string{}
	server := newFakeServer(t, func(words []string) string {
		if words[0] != "GETALL" {
			return ""
		}
		switch asked = append(asked, words[1]); len(asked) {
		case 1:
			return bulks(fmt.Sprintf(record, ids[0]))
		case 2:
			return bulks()
		case 3:
			return bulks(fmt.Sprintf(record, ids[1]))
		}
		return "-CORRUPT record 3\r\n"
	})
	var read []string
	for event, err := range newClient(t, server).Follow(context.Background(), "") {
		if err != nil {
			if !errors.Is(err, eventflowdb.ErrCorruptRecord) {
				t.Error(err)
			}
			continue
		}
		read = append(read, event.ID)
	}
	if strings.Join(read, " ") != strings.Join(ids, " ") || len(asked) != 4 {
		t.Errorf("read %v by %v", read, asked)
	}
	if !strings.Contains(asked[2], ids[0]) || !strings.Contains(asked[2], `"wait_ms":4000`) {
		t.Errorf("asked %s", asked[2])
	}
}

func TestReadIsRepeatedWhenTheConnectionBreaks(t *testing.T) {
	var server *fakeServer
	server = newFakeServer(t, func(words []string) string {
		if words[0] != "GET" {
			return ""
		}
		if server.count("GET") < 3 {
			return hangUp
		}
		return bulks(fmt.Sprintf(record, "01KARS6Z4P0000000000000001"))
	})
	events, err := newClient(t, server).Get(context.Background(), stream, eventflowdb.GetOptions{})
	if err != nil || len(events) != 1 {
		t.Errorf("got %v, %v", events, err)
	}
}

func TestReadThatGetsNoReplyFailsWithConnectionLost(t *testing.T) {
	server := newFakeServer(t, answering("EVENTCOUNT", hangUp))
	_, err := newClient(t, server).EventCount(context.Background())
	if !errors.Is(err, eventflowdb.ErrConnectionLost) {
		t.Errorf("got %v", err)
	}
}

func TestAppendThatCannotBeSentSaysSo(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := listener.Addr().String()
	_ = listener.Close()
	breaking := newFakeServer(t, answering("HELLO", hangUp))
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, condition := range []struct {
		name, addr string
		ctx        context.Context
		cause      error
	}{
		{"nobody listens", nobody, context.Background(), nil},
		{"the connection breaks while it is made", breaking.addr, context.Background(), nil},
		{"the context is over", breaking.addr, cancelled, context.Canceled},
	} {
		t.Run(condition.name, func(t *testing.T) {
			client := eventflowdb.New(eventflowdb.Options{Addr: condition.addr})
			defer func() { _ = client.Close() }()
			_, err := client.Add(condition.ctx, stream, 0, opened)
			if !errors.Is(err, eventflowdb.ErrNotConnected) || errors.Is(err, eventflowdb.ErrConnectionLost) {
				t.Errorf("got %v", err)
			}
			if !eventflowdb.RetryCanHelp(err) {
				t.Errorf("%v: a retry is safe", err)
			}
			if condition.cause != nil && !errors.Is(err, condition.cause) {
				t.Errorf("%v: where is %v?", err, condition.cause)
			}
		})
	}
	if count := breaking.count("ADD"); count != 0 {
		t.Errorf("ADD was sent %d times", count)
	}
}

func TestClosedClientSendsNothing(t *testing.T) {
	server := newFakeServer(t, answering("ADD", bulks()))
	client := newClient(t, server)
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Add(context.Background(), stream, 0, opened); !errors.Is(err, eventflowdb.ErrNotConnected) {
		t.Errorf("got %v", err)
	}
}

func TestClientThatWasGivenStaysOpen(t *testing.T) {
	server := newFakeServer(t, answering("PING", "+PONG\r\n"))
	given := redis.NewClient(&redis.Options{Addr: server.addr})
	defer func() { _ = given.Close() }()
	if err := eventflowdb.NewWith(given).Close(); err != nil {
		t.Error(err)
	}
	if err := given.Ping(context.Background()).Err(); err != nil {
		t.Error(err)
	}
}

func TestDeadlineOfTheContextEndsTheWait(t *testing.T) {
	server := newFakeServer(t, answering("ADD", silence))
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := newClient(t, server).Add(ctx, stream, 0, opened)
	if !errors.Is(err, eventflowdb.ErrConnectionLost) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if waited := time.Since(began); waited > 3*time.Second {
		t.Errorf("it took %v", waited)
	}
	if count := server.count("ADD"); count != 1 {
		t.Errorf("ADD was sent %d times", count)
	}
}

func TestAppendAfterTheConnectionWasClosedWhileIdleGoesThrough(t *testing.T) {
	server := newFakeServer(t, func(words []string) string {
		switch words[0] {
		case "PING":
			return "+PONG\r\n" + hangUp
		case "ADD":
			return bulks(fmt.Sprintf(record, "01KARS6Z4P0000000000000001"))
		}
		return ""
	})
	client := newClient(t, server)
	if err := client.Ping(context.Background()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // for the end of the stream to arrive; nothing tells when
	if _, err := client.Add(context.Background(), stream, 0, opened); err != nil {
		t.Error(err)
	}
}

func TestPasswordThatTheServerRefusesIsTold(t *testing.T) {
	server := newFakeServer(t, answering("AUTH", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"))
	client := eventflowdb.New(eventflowdb.Options{Addr: server.addr, Password: "wrong"})
	defer func() { _ = client.Close() }()
	if _, err := client.Add(context.Background(), stream, 0, opened); !errors.Is(err, eventflowdb.ErrWrongPassword) {
		t.Errorf("got %v", err)
	}
	if count := server.count("ADD"); count != 0 {
		t.Errorf("ADD was sent %d times", count)
	}
}

func TestRepliesOfRESP3AreRead(t *testing.T) {
	for reply, want := range map[string]error{
		bulks(fmt.Sprintf(record, "01KARS6Z4P0000000000000001")): nil,
		"_\r\n":                           eventflowdb.ErrUnexpectedReply,
		"!20\r\nCORRUPT it is broken\r\n": eventflowdb.ErrCorruptRecord,
	} {
		server := newFakeServer(t, func(words []string) string {
			switch words[0] {
			case "HELLO":
				return "%2\r\n$6\r\nserver\r\n$11\r\neventflowdb\r\n$5\r\nproto\r\n:3\r\n"
			case "GETALL":
				return reply
			}
			return ""
		})
		client := eventflowdb.New(eventflowdb.Options{Addr: server.addr, Protocol: 3})
		defer func() { _ = client.Close() }()
		if _, err := client.GetAll(context.Background(), eventflowdb.GetAllOptions{}); !errors.Is(err, want) {
			t.Errorf("%q gave %v", reply, err)
		}
	}
}

func TestRepliesAreReadByTheirCommand(t *testing.T) {
	server := newFakeServer(t, func(words []string) string {
		switch words[0] {
		case "PING":
			return "+PONG\r\n"
		case "VERSION":
			return "$5\r\n1.2.3\r\n"
		case "UPTIME":
			return "$8\r\n1 second\r\n"
		case "SIZE":
			return "*2\r\n:12288\r\n$7\r\n12.3 kB\r\n"
		case "EVENTCOUNT":
			return ":1\r\n"
		case "STREAMCOUNT":
			return ":2\r\n"
		case "EVENTCOUNTEST":
			return ":3\r\n"
		case "STREAMCOUNTEST":
			return ":4\r\n"
		case "CHECKSUM":
			return bulks(strings.Repeat("0", 26), strings.Repeat("a", 64))
		}
		return ""
	})
	client, ctx := newClient(t, server), context.Background()
	if err := client.Ping(ctx); err != nil {
		t.Error(err)
	}
	checkReply(t, client.Version, "1.2.3")
	checkReply(t, client.Uptime, "1 second")
	checkReply(t, client.Size, eventflowdb.Size{Bytes: 12288, Words: "12.3 kB"})
	checkReply(t, client.EventCount, 1)
	checkReply(t, client.StreamCount, 2)
	checkReply(t, client.EventCountEstimate, 3)
	checkReply(t, client.StreamCountEstimate, 4)
	checkReply(t, client.Checksum, eventflowdb.Checksum{
		EventID: strings.Repeat("0", 26), Checksum: strings.Repeat("a", 64),
	})
}

func checkReply[T comparable](t *testing.T, call func(context.Context) (T, error), want T) {
	t.Helper()
	if got, err := call(context.Background()); err != nil || got != want {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

func TestReplyOfAnotherKindIsUnexpected(t *testing.T) {
	id := "01KARS6Z4P0000000000000001"
	for _, reply := range []string{
		":5\r\n", "$-1\r\n", "+OK\r\n", "*1\r\n:5\r\n", "*1\r\n$-1\r\n", bulks("{"), bulks("{}"), bulks("5"),
		bulks(strings.Replace(fmt.Sprintf(record, id), `"version":0`, `"version":"0"`, 1)),
		bulks(strings.Replace(fmt.Sprintf(record, id), `2025-11-23T`, `yesterday`, 1)),
	} {
		server := newFakeServer(t, answering("GETALL", reply))
		_, err := newClient(t, server).GetAll(context.Background(), eventflowdb.GetAllOptions{})
		if !errors.Is(err, eventflowdb.ErrUnexpectedReply) {
			t.Errorf("%q gave %v", reply, err)
		}
	}
}

func TestTextThatIsNotUTF8IsRefusedBeforeItIsSent(t *testing.T) {
	bad := "a\xff"
	server := newFakeServer(t, func([]string) string { return "" })
	client, ctx := newClient(t, server), context.Background()
	for path, call := range map[string]func() error{
		"stream": func() error { _, err := client.Add(ctx, bad, 0, opened); return err },
		"events[1].type": func() error {
			_, err := client.Add(ctx, stream, 0, opened, eventflowdb.NewEvent{Type: bad})
			return err
		},
		"events[0].data": func() error {
			_, err := client.Add(ctx, stream, 0, eventflowdb.NewEvent{Type: "A", Data: bad})
			return err
		},
		"events[0].metadata": func() error {
			_, err := client.Add(ctx, stream, 0, eventflowdb.NewEvent{Type: "A", Metadata: &bad})
			return err
		},
		"events[0].tags[1]": func() error {
			_, err := client.Add(ctx, stream, 0, eventflowdb.NewEvent{Type: "A", Tags: []string{"a", bad}})
			return err
		},
		"appends[1].events[0].data": func() error {
			events := []eventflowdb.NewEvent{{Type: "A", Data: bad}}
			_, err := client.AddMany(ctx, eventflowdb.AppendOptions{},
				eventflowdb.StreamAppend{Stream: stream}, eventflowdb.StreamAppend{Stream: stream, Events: events})
			return err
		},
		"unless[0].tags[0]": func() error {
			unless := []eventflowdb.Unless{{Tags: []string{bad}}}
			_, err := client.AddWith(ctx, eventflowdb.AppendOptions{Unless: unless}, stream, 0, opened)
			return err
		},
		"request_id": func() error {
			_, err := client.AddWith(ctx, eventflowdb.AppendOptions{RequestID: bad}, stream, 0, opened)
			return err
		},
		"after": func() error {
			_, err := client.GetAll(ctx, eventflowdb.GetAllOptions{After: bad})
			return err
		},
	} {
		err := call()
		if !errors.Is(err, eventflowdb.ErrInvalidArgument) || !strings.Contains(err.Error(), path+": ") {
			t.Errorf("%s: got %v", path, err)
		}
	}
	if count := server.count("ADD"); count != 0 {
		t.Errorf("ADD was sent %d times", count)
	}
}

func TestAppendOfNoEventsIsForTheServerToRefuse(t *testing.T) {
	server := newFakeServer(t, answering("ADD", "-INVALIDARG events: expected at least one\r\n"))
	_, err := newClient(t, server).Add(context.Background(), stream, 0)
	if !errors.Is(err, eventflowdb.ErrInvalidArgument) {
		t.Errorf("got %v", err)
	}
	if sent := server.lastWords()[1]; !strings.Contains(sent, `"events":[]`) {
		t.Errorf("sent %s", sent)
	}
}

func TestMarkupInDataIsSentAsItIs(t *testing.T) {
	server := newFakeServer(t, answering("ADD", bulks()))
	_, err := newClient(t, server).Add(context.Background(), stream, 0, eventflowdb.NewEvent{Type: "A", Data: "<a&b>"})
	if err != nil {
		t.Fatal(err)
	}
	if sent := server.lastWords()[1]; !strings.Contains(sent, "<a&b>") {
		t.Errorf("sent %s", sent)
	}
}

func TestLogIsReadInPages(t *testing.T) {
	ids := []string{"01KARS6Z4P0000000000000001", "01KARS6Z4P0000000000000002", "01KARS6Z4P0000000000000003"}
	server := newFakeServer(t, func(words []string) string {
		if words[0] != "GETALL" {
			return ""
		}
		if strings.Contains(words[1], ids[1]) {
			return bulks(fmt.Sprintf(record, ids[2]))
		}
		return bulks(fmt.Sprintf(record, ids[0]), fmt.Sprintf(record, ids[1]))
	})
	client := newClient(t, server)
	var read []string
	for event, err := range client.ReadAllInPages(context.Background(), "", 2) {
		if err != nil {
			t.Fatal(err)
		}
		read = append(read, event.ID)
	}
	if strings.Join(read, " ") != strings.Join(ids, " ") {
		t.Errorf("read %v", read)
	}
	for range client.ReadAllInPages(context.Background(), "", 2) {
		break
	}
	if count := server.count("GETALL"); count != 3 {
		t.Errorf("asked for %d pages", count)
	}
}

func TestErrorEndsTheReadingOfTheLog(t *testing.T) {
	server := newFakeServer(t, answering("GETALL", "-CORRUPT record 7 does not match its checksum\r\n"))
	client := newClient(t, server)
	for pageEvents, want := range map[int]error{
		1: eventflowdb.ErrCorruptRecord,
		0: eventflowdb.ErrInvalidArgument,
	} {
		count := 0
		for _, err := range client.ReadAllInPages(context.Background(), "", pageEvents) {
			count++
			if !errors.Is(err, want) {
				t.Errorf("got %v", err)
			}
		}
		if count != 1 {
			t.Errorf("went on for %d", count)
		}
	}
}
