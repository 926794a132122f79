package eventflowdb_test

import (
	"context"
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

func TestAppendIsSentOnceWhateverHappensToTheReply(t *testing.T) {
	for _, outcome := range []struct {
		name, reply string
		want        error
	}{
		{"the connection breaks before the reply", hangUp, eventflowdb.ErrConnectionLost},
		{"the connection breaks in the reply", "*1\r\n$500\r\n{\"id\"" + hangUp, eventflowdb.ErrConnectionLost},
		{"no reply comes", silence, eventflowdb.ErrConnectionLost},
		{"the reply is no RESP", "HTTP/1.1 400 Bad Request\r\n", eventflowdb.ErrConnectionLost},
		{"the server asks to try again", "-TRYAGAIN overloaded\r\n", eventflowdb.ErrTryAgain},
		{"the server loads", "-LOADING soon\r\n", nil},
		{"the server has too many clients", "-ERR max number of clients reached\r\n", eventflowdb.ErrTryAgain},
		{"the reply is null", "$-1\r\n", eventflowdb.ErrUnexpectedReply},
		{"the reply is another command's", ":5\r\n", eventflowdb.ErrUnexpectedReply},
	} {
		t.Run(outcome.name, func(t *testing.T) {
			server := newFakeServer(t, answering("ADD", outcome.reply))
			client := eventflowdb.New(eventflowdb.Options{Addr: server.addr, ReplyTimeout: 300 * time.Millisecond})
			checkSentOnce(t, server, client, outcome.want)
			if err := client.Close(); err != nil {
				t.Error(err)
			}
			server = newFakeServer(t, answering("ADD", outcome.reply))
			given := redis.NewClient(&redis.Options{Addr: server.addr, ReadTimeout: 300 * time.Millisecond})
			defer func() { _ = given.Close() }()
			checkSentOnce(t, server, eventflowdb.NewWith(given), outcome.want)
		})
	}
}

func checkSentOnce(t *testing.T, server *fakeServer, client *eventflowdb.Client, want error) {
	t.Helper()
	_, err := client.Add(context.Background(), stream, 0, opened)
	if err == nil || want != nil && !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	if errors.Is(err, eventflowdb.ErrNotConnected) {
		t.Errorf("%v: it was sent", err)
	}
	if errors.Is(err, eventflowdb.ErrConnectionLost) && eventflowdb.RetryCanHelp(err) {
		t.Errorf("%v: a retry may not be safe", err)
	}
	if count := server.count("ADD"); count != 1 {
		t.Errorf("ADD was sent %d times", count)
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
