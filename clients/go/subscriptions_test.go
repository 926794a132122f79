package eventflowdb_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	eventflowdb "github.com/eventflowdb/eventflowdb/clients/go"
)

const confirmed = "*3\r\n$9\r\nsubscribe\r\n$2\r\n{}\r\n:1\r\n"

// numbered is the JSON of one of many events, whose id ends in its number.
func numbered(number int) string {
	return fmt.Sprintf(`{"id":"01KARS6Z4P000000000000%04d","stream":"c3b07384-d9a0-4c9b-8f3e-5a1f0e2d4b6c","version":0,`+
		`"position":%d,"type":"Opened","data":"","metadata":null,"causation_id":"01KARS6Z4P0000000000000001",`+
		`"correlation_id":"01KARS6Z4P0000000000000001","added_at":"2025-11-23T19:23:14.123456Z"}`, number, number)
}

// messages are what a subscriber gets of some of them.
func messages(numbers ...int) string {
	var text strings.Builder
	for _, number := range numbers {
		payload := numbered(number)
		fmt.Fprintf(&text, "*3\r\n$7\r\nmessage\r\n$2\r\n{}\r\n$%d\r\n%s\r\n", len(payload), payload)
	}
	return text.String()
}

// subscriptionServer answers SUBSCRIBE, and remembers the queries. go-redis may subscribe once more by itself when a
// connection breaks, on one that is closed at once: so an answer goes by the query and how often it came.
type subscriptionServer struct {
	reply func(query string, count int) string

	mutex   sync.Mutex
	queries []string
	counts  map[string]int
}

func newSubscriptionServer(reply func(query string, count int) string) *subscriptionServer {
	return &subscriptionServer{reply: reply, counts: map[string]int{}}
}

func (s *subscriptionServer) answer(words []string) string {
	switch words[0] {
	case "SUBSCRIBE":
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.queries = append(s.queries, words[1])
		s.counts[words[1]]++
		return s.reply(words[1], s.counts[words[1]])
	case "CHECKSUM":
		return bulks("01KARS6Z4P0000000000000007", strings.Repeat("0", 64))
	}
	return ""
}

func (s *subscriptionServer) asked() map[string]int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.counts
}

// always gives the same answer.
func always(reply string) *subscriptionServer {
	return newSubscriptionServer(func(string, int) string { return reply })
}

// take receives so many events.
func take(t *testing.T, subscription *eventflowdb.Subscription, count int) []eventflowdb.Event {
	t.Helper()
	var events []eventflowdb.Event
	for range count {
		select {
		case event, ok := <-subscription.Events():
			if !ok {
				t.Fatalf("it has ended after %d events: %v", len(events), subscription.Err())
			}
			events = append(events, event)
		case <-time.After(30 * time.Second):
			t.Fatalf("there were only %d events", len(events))
		}
	}
	return events
}

func TestSubscriptionGoesOnBehindTheLastEventWhenItsConnectionBreaks(t *testing.T) {
	first := fmt.Sprintf(`{"offset":"%s","types":["Opened"]}`, eventflowdb.Beginning)
	second := `{"after":"01KARS6Z4P0000000000000002","types":["Opened"]}`
	script := newSubscriptionServer(func(query string, count int) string {
		switch {
		case query == first:
			return confirmed + messages(1, 2) + hangUp
		case count < 3:
			return "-TRYAGAIN shutting down\r\n"
		case count < 6:
			return confirmed + hangUp
		}
		return confirmed + messages(3)
	})
	client := newClient(t, newFakeServer(t, script.answer))
	subscription := client.Subscribe(context.Background(), eventflowdb.SubscribeOptions{
		Offset: eventflowdb.Beginning, Filter: eventflowdb.Filter{Types: []string{"Opened"}},
	})
	for i, event := range take(t, subscription, 3) {
		if event.Position != int64(i+1) {
			t.Errorf("event %d has position %d", i+1, event.Position)
		}
	}
	subscription.Close()
	if err := subscription.Err(); err != nil {
		t.Error(err)
	}
	if asked := script.asked(); len(asked) != 2 || asked[first] == 0 || asked[second] == 0 {
		t.Errorf("it asked for %v", asked)
	}
}

func TestFromNowOnIsAPlaceThatABrokenConnectionDoesNotMove(t *testing.T) {
	script := newSubscriptionServer(func(_ string, count int) string {
		if count < 4 {
			return confirmed + hangUp
		}
		return confirmed + messages(8)
	})
	client := newClient(t, newFakeServer(t, script.answer))
	subscription := client.Subscribe(context.Background(), eventflowdb.SubscribeOptions{})
	take(t, subscription, 1)
	subscription.Close()
	if asked := script.asked(); len(asked) != 1 || asked[`{"after":"01KARS6Z4P0000000000000007"}`] == 0 {
		t.Errorf("it asked for %v", asked)
	}
}

func TestWhatTheServerRefusesEndsASubscription(t *testing.T) {
	for reply, want := range map[string]error{
		"-INVALIDARG types[0]: expected a string\r\n":                 eventflowdb.ErrInvalidArgument,
		confirmed + messages(1) + "-CORRUPT a flipped bit\r\n":        eventflowdb.ErrCorruptRecord,
		confirmed + "*3\r\n$7\r\nmessage\r\n$2\r\n{}\r\n$2\r\n{}\r\n": eventflowdb.ErrUnexpectedReply,
	} {
		client := newClient(t, newFakeServer(t, always(reply).answer))
		subscription := client.Subscribe(context.Background(), eventflowdb.SubscribeOptions{After: eventflowdb.Beginning})
		for range subscription.Events() {
		}
		if err := subscription.Err(); !errors.Is(err, want) {
			t.Errorf("%q: %v", reply, err)
		}
	}
}

func TestServerThatIsNotThereAtFirstEndsASubscription(t *testing.T) {
	client := eventflowdb.New(eventflowdb.Options{Addr: "127.0.0.1:1", DialTimeout: time.Second})
	defer func() { _ = client.Close() }()
	subscription := client.Subscribe(context.Background(), eventflowdb.SubscribeOptions{After: eventflowdb.Beginning})
	if event, ok := <-subscription.Events(); ok {
		t.Errorf("%+v", event)
	}
	if err := subscription.Err(); !errors.Is(err, eventflowdb.ErrNotConnected) {
		t.Error(err)
	}
}

func TestContextEndsASubscriptionThatWaits(t *testing.T) {
	client := newClient(t, newFakeServer(t, always(confirmed).answer))
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	subscription := client.Subscribe(ctx, eventflowdb.SubscribeOptions{After: eventflowdb.Beginning})
	for range subscription.Events() {
	}
	if err := subscription.Err(); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestEventThatNobodyReceivedIsNotPassedOver(t *testing.T) {
	client := newClient(t, newFakeServer(t, always(confirmed+messages(1, 2, 3)).answer))
	subscription := client.Subscribe(context.Background(), eventflowdb.SubscribeOptions{After: eventflowdb.Beginning})
	take(t, subscription, 1)
	time.Sleep(10 * time.Millisecond)
	if event := take(t, subscription, 1)[0]; event.Position != 2 {
		t.Errorf("position %d", event.Position)
	}
	subscription.Close()
}
