//go:build live

package eventflowdb_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	eventflowdb "github.com/eventflowdb/eventflowdb/clients/go"
)

// newConsumer makes a consumer that ends with the test, and returns its name.
func newConsumer(t *testing.T, client *eventflowdb.Client, options eventflowdb.ConsumerOptions) string {
	t.Helper()
	name := "live-" + newStream()
	if _, err := client.CreateConsumer(context.Background(), name, options); err != nil {
		t.Fatal(err)
	}
	return name
}

// deleteConsumer is for the end of a test, when its client is still there.
func deleteConsumer(t *testing.T, client *eventflowdb.Client, name string) {
	t.Helper()
	if err := client.DeleteConsumer(context.Background(), name); err != nil {
		t.Error(err)
	}
}

// counted are new events whose data is their number.
func counted(count int, tags ...string) []eventflowdb.NewEvent {
	events := make([]eventflowdb.NewEvent, count)
	for i := range events {
		events[i] = eventflowdb.NewEvent{Type: "A", Data: fmt.Sprint(i), Tags: tags}
	}
	return events
}

func statusOf(t *testing.T, client *eventflowdb.Client, name string) (eventflowdb.ConsumerStatus, bool) {
	t.Helper()
	consumers, err := client.Consumers(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(consumers, func(status eventflowdb.ConsumerStatus) bool { return status.Name == name })
	if at < 0 {
		return eventflowdb.ConsumerStatus{}, false
	}
	return consumers[at], true
}

func TestLiveConsumerIsMadeListedAndGoneWhenItIsDeleted(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, client *eventflowdb.Client) {
		ctx, name := context.Background(), "live-"+newStream()
		query := eventflowdb.ConsumerQuery{Stream: newStream(), Types: []string{"A"}, Tags: []string{"a"}}
		options := eventflowdb.ConsumerOptions{
			Query: query, After: eventflowdb.End, Timeout: 5 * time.Second, Retry: eventflowdb.NoDelay,
			TriesMax: eventflowdb.AnyTries,
		}
		made, err := client.CreateConsumer(ctx, name, options)
		want := eventflowdb.ConsumerSummary{Name: name, Query: query, Timeout: 5 * time.Second, Checkpoint: made.Checkpoint}
		if err != nil || !reflect.DeepEqual(made, want) || len(made.Checkpoint) != 26 {
			t.Fatalf("%+v, %v", made, err)
		}
		if again, err := client.CreateConsumer(ctx, name, options); err != nil || !reflect.DeepEqual(again, made) {
			t.Errorf("%+v, %v", again, err)
		}
		options.TriesMax = 4
		if _, err := client.CreateConsumer(ctx, name, options); !errors.Is(err, eventflowdb.ErrInvalidArgument) {
			t.Error(err)
		}
		status, found := statusOf(t, client, name)
		if !found || !reflect.DeepEqual(status, eventflowdb.ConsumerStatus{ConsumerSummary: made, LagIsWhole: true}) {
			t.Errorf("%+v, %v", status, found)
		}
		deleteConsumer(t, client, name)
		if _, found := statusOf(t, client, name); found {
			t.Error("it is still there")
		}
		if err := client.DeleteConsumer(ctx, name); !errors.Is(err, eventflowdb.ErrNoSuchConsumer) {
			t.Error(err)
		}
		for _, err := range client.Consumer(name, eventflowdb.MemberOptions{}).Events(ctx) {
			if !errors.Is(err, eventflowdb.ErrNoSuchConsumer) {
				t.Error(err)
			}
		}
	})
}

func TestLiveEventsThatAreAckedDoNotComeAgainAndTheOthersDo(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, client *eventflowdb.Client) {
		ctx, stream := context.Background(), newStream()
		query := eventflowdb.ConsumerQuery{Stream: stream}
		name := newConsumer(t, client, eventflowdb.ConsumerOptions{Query: query})
		stored := add(t, client, stream, 0, counted(5)...)
		consumer := client.Consumer(name, eventflowdb.MemberOptions{})
		for event, err := range consumer.Events(ctx) {
			if err != nil || !reflect.DeepEqual(event.Event, stored[event.Version]) {
				t.Fatalf("%+v, %v", event, err)
			}
			if event.Version == 2 {
				break
			}
			if count, err := consumer.Ack(ctx, event); count != 1 || err != nil {
				t.Errorf("%d, %v", count, err)
			}
		}
		var versions []int64
		other := client.Consumer(name, eventflowdb.MemberOptions{Limit: 2})
		for page, err := range other.Pages(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			for _, event := range page {
				versions = append(versions, event.Version)
			}
			first, err := other.Ack(ctx, page...)
			again, errAgain := other.Ack(ctx, page...)
			if first != int64(len(page)) || again != 0 || err != nil || errAgain != nil {
				t.Errorf("%d, then %d, %v, %v", first, again, err, errAgain)
			}
			if page[len(page)-1].Version == 4 {
				break
			}
		}
		if !slices.Equal(versions, []int64{2, 3, 4}) {
			t.Errorf("got %v", versions)
		}
		if status, _ := statusOf(t, client, name); status.Lag != 0 || status.Checkpoint != stored[4].ID || status.Members != 0 {
			t.Errorf("%+v", status)
		}
		reset, err := client.ResetConsumer(ctx, name, stored[1].ID)
		if err != nil || reset.Checkpoint != stored[1].ID {
			t.Errorf("%+v, %v", reset, err)
		}
		reset, err = client.ResetConsumer(ctx, name, eventflowdb.Beginning)
		if err != nil || reset.Checkpoint != eventflowdb.Beginning {
			t.Errorf("%+v, %v", reset, err)
		}
		deleteConsumer(t, client, name)
	})
}

func TestLiveWhatFailsComesAgainIsParkedWithItsReasonAndIsReplayed(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, client *eventflowdb.Client) {
		ctx, stream := context.Background(), newStream()
		query := eventflowdb.ConsumerQuery{Stream: stream}
		name := newConsumer(t, client, eventflowdb.ConsumerOptions{Query: query, TriesMax: 2})
		stored := add(t, client, stream, 0, counted(3)...)
		consumer := client.Consumer(name, eventflowdb.MemberOptions{})
		var versions []int64
		for event, err := range consumer.Events(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			versions = append(versions, event.Version)
			if err := consumer.Extend(ctx, event); err != nil {
				t.Error(err)
			}
			options := eventflowdb.NackOptions{Delay: eventflowdb.NoDelay, Reason: "cannot"}
			if event.Version == 1 {
				options = eventflowdb.NackOptions{Park: true}
			}
			if event.Version == 2 {
				break
			}
			if count, err := consumer.Nack(ctx, options, event); count != 1 || err != nil {
				t.Errorf("%d, %v", count, err)
			}
		}
		if !slices.Equal(versions, []int64{0, 0, 1, 2}) {
			t.Errorf("got %v", versions)
		}
		parked, err := client.Parked(ctx, name, eventflowdb.ParkedOptions{})
		if err != nil || len(parked) != 2 || !reflect.DeepEqual(parked[0].Event, stored[0]) || parked[0].Tries != 2 ||
			parked[0].Reason != "cannot" || parked[1].Tries != 1 || parked[1].Reason != "" ||
			parked[1].ParkedAt.Before(stored[1].AddedAt.Add(-time.Second)) {
			t.Fatalf("%+v, %v", parked, err)
		}
		page, err := client.Parked(ctx, name, eventflowdb.ParkedOptions{After: stored[0].ID, Limit: 1})
		if err != nil || !reflect.DeepEqual(page, parked[1:]) {
			t.Errorf("%+v, %v", page, err)
		}
		none, errNone := client.Replay(ctx, name)
		one, errOne := client.Replay(ctx, name, stored[0].ID)
		rest, errRest := client.ReplayAll(ctx, name)
		if err := errors.Join(errNone, errOne, errRest); none != 0 || one != 1 || rest != 1 || err != nil {
			t.Errorf("%d, %d, %d, %v", none, one, rest, err)
		}
		events := fetchAndAck(t, client.Consumer(name, eventflowdb.MemberOptions{}), 3)
		if !reflect.DeepEqual(events, stored) {
			t.Errorf("got %+v", events)
		}
		deleteConsumer(t, client, name)
	})
}

func fetchAndAck(t *testing.T, consumer *eventflowdb.Consumer, count int) []eventflowdb.Event {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var events []eventflowdb.Event
	err := consumer.Each(ctx, func(_ context.Context, event eventflowdb.FetchedEvent) error {
		if events = append(events, event.Event); len(events) == count {
			cancel()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func TestLiveStreamWaitsBehindAnEventThatFails(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, client *eventflowdb.Client) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		tag, failing, other := "tag:"+newStream(), newStream(), newStream()
		query := eventflowdb.ConsumerQuery{Tags: []string{tag}}
		// It is parked after the third time: what the member was given behind it is then still to come.
		options := eventflowdb.ConsumerOptions{Query: query, Retry: time.Millisecond, TriesMax: 3}
		name := newConsumer(t, client, options)
		add(t, client, failing, 0, counted(3, tag)...)
		add(t, client, other, 0, counted(3, tag)...)
		versions := map[string][]int64{}
		err := client.Consumer(name, eventflowdb.MemberOptions{}).Each(ctx,
			func(_ context.Context, event eventflowdb.FetchedEvent) error {
				versions[event.Stream] = append(versions[event.Stream], event.Version)
				if len(versions[failing]) == 5 && len(versions[other]) == 3 {
					cancel()
				}
				if event.Stream == failing && event.Version == 0 {
					return errors.New("cannot")
				}
				return nil
			})
		want := map[string][]int64{failing: {0, 0, 0, 1, 2}, other: {0, 1, 2}}
		if err != nil || !reflect.DeepEqual(versions, want) {
			t.Errorf("%v, %v", versions, err)
		}
		if status, _ := statusOf(t, client, name); status.Lag != 0 || status.Parked != 1 {
			t.Errorf("%+v", status)
		}
		deleteConsumer(t, client, name)
	})
}

func TestLiveWhatALoopHoldsIsGivenBackWhenItsContextIsOver(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, client *eventflowdb.Client) {
		stream := newStream()
		query := eventflowdb.ConsumerQuery{Stream: stream}
		name := newConsumer(t, client, eventflowdb.ConsumerOptions{Query: query, Timeout: time.Hour})
		stored := add(t, client, stream, 0, counted(2)...)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		consumer := client.Consumer(name, eventflowdb.MemberOptions{Member: "m", Limit: 2, Wait: time.Hour})
		count := 0
		for _, err := range consumer.Events(ctx) {
			if err != nil {
				t.Error(err)
			}
			if count++; count == 2 {
				// Now it waits for a third, and holds both.
				go func() {
					for status, _ := statusOf(t, client, name); status.InFlight < 2; status, _ = statusOf(t, client, name) {
					}
					time.Sleep(50 * time.Millisecond)
					cancel()
				}()
			}
		}
		// They are there at once, though their time is an hour, and none of them counts as failed.
		if events := fetchAndAck(t, client.Consumer(name, eventflowdb.MemberOptions{}), 2); !reflect.DeepEqual(events, stored) {
			t.Errorf("got %+v", events)
		}
		deleteConsumer(t, client, name)
	})
}

func TestLiveAppendAcksTheEventThatItIsMadeOfIfItsMemberStillHoldsIt(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, client *eventflowdb.Client) {
		ctx, stream, results := context.Background(), newStream(), newStream()
		query := eventflowdb.ConsumerQuery{Stream: stream}
		name := newConsumer(t, client, eventflowdb.ConsumerOptions{Query: query})
		add(t, client, stream, 0, counted(2)...)
		consumer := client.Consumer(name, eventflowdb.MemberOptions{})
		for event, err := range consumer.Events(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			options := eventflowdb.AppendOptions{Checkpoint: consumer.Checkpoint(event)}
			done := eventflowdb.NewEvent{Type: "Done", Data: event.Data}
			if event.Version == 0 {
				_, err = client.AddWith(ctx, options, results, eventflowdb.AnyVersion, done)
			} else {
				part := eventflowdb.StreamAppend{Stream: results, Version: 1, Events: []eventflowdb.NewEvent{done}}
				_, err = client.AddMany(ctx, options, part)
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.AddWith(ctx, options, results, eventflowdb.AnyVersion, done)
			var notHeld *eventflowdb.NotHeldError
			if !errors.As(err, &notHeld) || notHeld.Event != event.ID || notHeld.Consumer != name {
				t.Errorf("got %v", err)
			}
			if err := consumer.Extend(ctx, event); !errors.Is(err, eventflowdb.ErrNotHeld) {
				t.Errorf("got %v", err)
			}
			if event.Version == 1 {
				break
			}
		}
		events, err := client.Get(ctx, results, eventflowdb.GetOptions{})
		if err != nil || len(events) != 2 || events[0].Data != "0" || events[1].Data != "1" {
			t.Errorf("%+v, %v", events, err)
		}
		if status, _ := statusOf(t, client, name); status.Lag != 0 {
			t.Errorf("%+v", status)
		}
		deleteConsumer(t, client, name)
	})
}

func TestLiveMembersShareTheWorkOverConnectionsThatBreakAndEachStreamStaysInOrder(t *testing.T) {
	const streams, count, workers = 10, 100, 3
	options := liveOptions(t)
	client := eventflowdb.New(options)
	defer func() { _ = client.Close() }()
	tag := "tag:" + newStream()
	name := newConsumer(t, client, eventflowdb.ConsumerOptions{
		Query: eventflowdb.ConsumerQuery{Tags: []string{tag}}, Timeout: time.Second, Retry: time.Millisecond,
	})
	for range streams {
		add(t, client, newStream(), 0, counted(count, tag)...)
	}
	proxy := newCuttingProxy(t, options.Addr)
	options.Addr = proxy.addr
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var mutex sync.Mutex
	worked := map[string][]int64{}
	var group sync.WaitGroup
	for range workers {
		worker := eventflowdb.New(options)
		defer func() { _ = worker.Close() }()
		group.Go(func() {
			member := worker.Consumer(name, eventflowdb.MemberOptions{Limit: 5, Wait: 500 * time.Millisecond})
			err := member.Each(ctx, func(_ context.Context, event eventflowdb.FetchedEvent) error {
				mutex.Lock()
				worked[event.Stream] = append(worked[event.Stream], event.Version)
				mutex.Unlock()
				time.Sleep(time.Millisecond)
				if rand.N(20) == 0 {
					return errors.New("now and then")
				}
				return nil
			})
			// A member is told that it is to end where its first connection breaks before it is made.
			if err != nil && !errors.Is(err, eventflowdb.ErrNotConnected) {
				t.Error(err)
			}
		})
	}
	for status, _ := statusOf(t, client, name); status.Lag > 0; status, _ = statusOf(t, client, name) {
		time.Sleep(rand.N(60 * time.Millisecond))
		proxy.cut()
	}
	cancel()
	group.Wait()
	if parked, err := client.Parked(context.Background(), name, eventflowdb.ParkedOptions{}); err != nil || len(parked) != 0 {
		t.Errorf("%+v, %v", parked, err)
	}
	for stream, versions := range worked {
		// An event may come once more, but none before the one ahead of it came.
		var next int64
		for _, version := range versions {
			if version == next {
				next++
			} else if version > next {
				t.Errorf("%s: %d came when %d had not: %v", stream, version, next, strings.Trim(fmt.Sprint(versions), "[]"))
				break
			}
		}
		if next != count {
			t.Errorf("%s: only %d came", stream, next)
		}
	}
	if len(worked) != streams {
		t.Errorf("there were %d streams", len(worked))
	}
	deleteConsumer(t, client, name)
}

func TestLiveExampleOfTheReadmeWritesAnInvoice(t *testing.T) {
	client := eventflowdb.New(liveOptions(t))
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var group sync.WaitGroup
	group.Go(func() {
		if err := writeInvoices(ctx, client); err != nil {
			t.Error(err)
		}
	})
	stream := newStream()
	order := add(t, client, stream, 0, eventflowdb.NewEvent{Type: "OrderPlaced", Data: "1"})
	options := eventflowdb.GetOptions{Version: 1, Wait: 30 * time.Second}
	invoices, err := client.Get(context.Background(), stream, options)
	if err != nil || len(invoices) != 1 || invoices[0].Data != "1" || invoices[0].CausationID != order[0].ID {
		t.Errorf("%+v, %v", invoices, err)
	}
	// The reply to the append may be under way, which is acked.
	for status, _ := statusOf(t, client, "write-invoices"); status.Lag > 0; status, _ = statusOf(t, client, "write-invoices") {
	}
	cancel()
	group.Wait()
	deleteConsumer(t, client, "write-invoices")
}
