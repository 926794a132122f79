//go:build live

package eventflowdb_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	eventflowdb "github.com/eventflowdb/eventflowdb/clients/go"
)

// largeBytes is more than any buffer on the way, and less than the smallest request that a server is run with.
const largeBytes = 700_000

var uptimePattern = regexp.MustCompile(`\d (second|minute|hour|day)`)

// liveOptions are those of the server that the environment names. Whoever asks for these tests wants them run.
func liveOptions(t *testing.T) eventflowdb.Options {
	t.Helper()
	addr := os.Getenv("EVENTFLOWDB_ADDR")
	if addr == "" {
		t.Fatal("EVENTFLOWDB_ADDR has to name a server, host:port")
	}
	return eventflowdb.Options{Addr: addr, Password: os.Getenv("EVENTFLOWDB_PASSWORD")}
}

// forEachProtocol runs a test over both versions of RESP.
func forEachProtocol(t *testing.T, test func(t *testing.T, client *eventflowdb.Client)) {
	t.Helper()
	for _, protocol := range []int{2, 3} {
		t.Run(fmt.Sprintf("RESP%d", protocol), func(t *testing.T) {
			options := liveOptions(t)
			options.Protocol = protocol
			client := eventflowdb.New(options)
			defer func() { _ = client.Close() }()
			test(t, client)
		})
	}
}

// newStream is a random UUID of version 4.
func newStream() string {
	var id [16]byte
	_, _ = rand.Read(id[:])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

func add(
	t *testing.T, client *eventflowdb.Client, stream string, version int64, events ...eventflowdb.NewEvent,
) []eventflowdb.Event {
	t.Helper()
	added, err := client.Add(context.Background(), stream, version, events...)
	if err != nil {
		t.Fatal(err)
	}
	return added
}

func TestLiveAppendIsReadAsItWasGiven(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, client *eventflowdb.Client) {
		metadata, empty, stream := "naïve ☃\x00", "", newStream()
		given := []eventflowdb.NewEvent{
			{
				Type: "Geöffnet", Metadata: &metadata,
				Data: "Zoë 北京 😀𝄞\U0010ffff \u2028\u2029\ufeff\ufffe \x00\x1f\x7f\"\\\r\n\t <a&b>",
			},
			{Type: "A", Data: "", Metadata: &empty, CausationID: "01KARS6Z4P0000000000000001"},
			{
				Type: strings.Repeat("x", 255), Data: strings.Repeat("ö", largeBytes/2),
				CorrelationID: "01KARS6Z4P0000000000000002",
			},
		}
		began := time.Now()
		added := add(t, client, stream, 0, given...)
		for i, event := range added {
			if event.Stream != stream || event.Version != int64(i) || event.Type != given[i].Type ||
				event.Data != given[i].Data || !reflect.DeepEqual(event.Metadata, given[i].Metadata) {
				t.Errorf("event %d differs from what was given", i)
			}
			if event.Position != added[0].Position+int64(i) || !event.AddedAt.Equal(added[0].AddedAt) {
				t.Errorf("event %d: position %d, added at %v", i, event.Position, event.AddedAt)
			}
		}
		if skew := added[0].AddedAt.Sub(began).Abs(); skew > time.Minute {
			t.Errorf("added %v from now", skew)
		}
		if first := added[0]; first.CausationID != first.ID || first.CorrelationID != first.ID {
			t.Errorf("%+v", first)
		}
		if added[1].CausationID != given[1].CausationID || added[2].CorrelationID != given[2].CorrelationID {
			t.Errorf("%s, %s", added[1].CausationID, added[2].CorrelationID)
		}
		for _, read := range []struct {
			options eventflowdb.GetOptions
			want    []eventflowdb.Event
		}{
			{eventflowdb.GetOptions{}, added},
			{eventflowdb.GetOptions{Version: 1}, added[1:]},
			{eventflowdb.GetOptions{Limit: 2}, added[:2]},
			{eventflowdb.GetOptions{Version: 1, Limit: 1}, added[1:2]},
			{eventflowdb.GetOptions{Version: 3}, []eventflowdb.Event{}},
		} {
			got, err := client.Get(context.Background(), stream, read.options)
			if err != nil || !reflect.DeepEqual(got, read.want) {
				t.Errorf("%+v: %d events, %v", read.options, len(got), err)
			}
		}
		none, err := client.Get(context.Background(), newStream(), eventflowdb.GetOptions{})
		if err != nil || len(none) != 0 {
			t.Errorf("a stream that does not exist: %v, %v", none, err)
		}
	})
}

func TestLiveLogIsReadFromAnEventOnAndPastIt(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, client *eventflowdb.Client) {
		added := add(t, client, newStream(), 0, opened, opened, opened)
		from, err := client.GetAll(context.Background(), eventflowdb.GetAllOptions{Offset: added[0].ID, Limit: 3})
		if err != nil || !reflect.DeepEqual(from, added) {
			t.Errorf("offset: %v, %v", from, err)
		}
		past, err := client.GetAll(context.Background(), eventflowdb.GetAllOptions{After: added[0].ID, Limit: 2})
		if err != nil || !reflect.DeepEqual(past, added[1:]) {
			t.Errorf("after: %v, %v", past, err)
		}
		_, err = client.GetAll(context.Background(), eventflowdb.GetAllOptions{Offset: added[0].ID, After: added[0].ID})
		if !errors.Is(err, eventflowdb.ErrInvalidArgument) {
			t.Errorf("both: %v", err)
		}
		first, err := client.GetAll(context.Background(), eventflowdb.GetAllOptions{})
		if err != nil || len(first) == 0 || len(first) > 100 || first[0].Position != 1 {
			t.Errorf("from the beginning: %d events, %v", len(first), err)
		}
	})
}

func TestLiveWholeLogIsReadInPages(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, client *eventflowdb.Client) {
		given := make([]eventflowdb.NewEvent, 25)
		for i := range given {
			given[i] = opened
		}
		added := add(t, client, newStream(), 0, given...)
		var position int64
		var met []eventflowdb.Event
		for event, err := range client.ReadAllInPages(context.Background(), "", 10) {
			if err != nil {
				t.Fatal(err)
			}
			if position++; event.Position != position {
				t.Fatalf("position %d follows %d", event.Position, position-1)
			}
			if event.Stream == added[0].Stream {
				met = append(met, event)
			}
		}
		if !reflect.DeepEqual(met, added) {
			t.Errorf("met %d of the 25 events", len(met))
		}
		count := 0
		for _, err := range client.ReadAll(context.Background(), added[0].ID) {
			if err != nil {
				t.Fatal(err)
			}
			count++
		}
		if count < 24 {
			t.Errorf("%d events follow the first", count)
		}
	})
}

func TestLiveRefusalsAreToldApart(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, client *eventflowdb.Client) {
		ctx, stream := context.Background(), newStream()
		add(t, client, stream, 0, opened, opened)
		_, err := client.Add(ctx, strings.ToUpper(stream), 5, opened)
		var wrong *eventflowdb.WrongExpectedVersionError
		if !errors.As(err, &wrong) || wrong.Stream != stream || wrong.Expected != 5 || wrong.Actual != 2 {
			t.Errorf("got %#v", err)
		}
		_, noEvents := client.Add(ctx, stream, 2)
		_, noType := client.Add(ctx, stream, 2, eventflowdb.NewEvent{})
		_, badStream := client.Add(ctx, "x", 2, opened)
		_, nilStream := client.Add(ctx, "00000000-0000-0000-0000-000000000000", 0, opened)
		_, negativeVersion := client.Add(ctx, stream, -1, opened)
		_, negativeLimit := client.Get(ctx, stream, eventflowdb.GetOptions{Limit: -1})
		_, badID := client.GetAll(ctx, eventflowdb.GetAllOptions{After: "x"})
		for _, err := range []error{noEvents, noType, badStream, nilStream, negativeVersion, negativeLimit, badID} {
			checkKind(t, err, "invalid_argument")
		}
		if events, err := client.Get(ctx, stream, eventflowdb.GetOptions{}); err != nil || len(events) != 2 {
			t.Errorf("the stream holds %d events, %v", len(events), err)
		}
	})
}

func TestLiveConditionsHoldOrNothingIsStored(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, client *eventflowdb.Client) {
		ctx, first, second, tag := context.Background(), newStream(), newStream(), "name:"+newStream()
		tagged := eventflowdb.NewEvent{Type: "Registered", Tags: []string{tag, "b"}}
		_, err := client.Add(ctx, first, eventflowdb.StreamExists, tagged)
		var wrong *eventflowdb.WrongExpectedVersionError
		if !errors.As(err, &wrong) || wrong.Expected != eventflowdb.StreamExists || wrong.Actual != 0 {
			t.Errorf("got %#v", err)
		}
		unless := []eventflowdb.Unless{{Types: []string{"Other"}, Tags: []string{tag}}, {Tags: []string{tag}}}
		options := eventflowdb.AppendOptions{Unless: unless, RequestID: newStream()}
		stored, err := client.AddWith(ctx, options, first, eventflowdb.AnyVersion, tagged)
		if err != nil || !reflect.DeepEqual(stored[0].Tags, tagged.Tags) {
			t.Fatalf("got %v, %v", stored, err)
		}
		again, err := client.AddWith(ctx, options, first, eventflowdb.AnyVersion, tagged)
		if err != nil || !reflect.DeepEqual(again, stored) {
			t.Errorf("got %v, %v", again, err)
		}
		if _, err := client.AddWith(ctx, options, first, 1, opened); !errors.Is(err, eventflowdb.ErrRequestConflict) {
			t.Errorf("got %v", err)
		}
		options.RequestID = ""
		_, err = client.AddWith(ctx, options, second, 0, opened)
		var matched *eventflowdb.UnlessMatchedError
		if !errors.As(err, &matched) || matched.Unless != 1 || matched.Event != stored[0].ID {
			t.Errorf("got %#v", err)
		}
		options.Unless[1].After = stored[0].ID
		many, err := client.AddMany(ctx, options,
			eventflowdb.StreamAppend{Stream: second, Events: []eventflowdb.NewEvent{opened, opened}},
			eventflowdb.StreamAppend{Stream: first, Version: eventflowdb.StreamExists})
		if err != nil || len(many) != 2 || many[1].Version != 1 || many[1].Tags != nil {
			t.Errorf("got %v, %v", many, err)
		}
		_, err = client.AddMany(ctx, eventflowdb.AppendOptions{},
			eventflowdb.StreamAppend{Stream: first, Version: 1, Events: []eventflowdb.NewEvent{opened}},
			eventflowdb.StreamAppend{Stream: second, Version: 1})
		if !errors.As(err, &wrong) || wrong.Stream != second {
			t.Errorf("got %#v", err)
		}
	})
}

func TestLiveWhoFollowsTheLogGetsWhatOthersStore(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, client *eventflowdb.Client) {
		stream := newStream()
		first := add(t, client, stream, 0, opened)
		var group sync.WaitGroup
		group.Go(func() {
			for version := range int64(10) {
				if _, err := client.Add(context.Background(), stream, version+1, opened); err != nil {
					t.Error(err)
				}
			}
		})
		version := int64(0)
		for event, err := range client.Follow(context.Background(), first[0].ID) {
			if err != nil {
				t.Fatal(err)
			}
			if event.Stream != stream {
				continue
			}
			if version++; event.Version != version {
				t.Errorf("version %d instead of %d", event.Version, version)
			}
			if version == 10 {
				break
			}
		}
		group.Wait()
		options := eventflowdb.GetOptions{Version: 11, Wait: time.Millisecond}
		if none, err := client.Get(context.Background(), stream, options); err != nil || len(none) != 0 {
			t.Errorf("got %v, %v", none, err)
		}
	})
}

func TestLiveWrongPasswordIsRefused(t *testing.T) {
	options := liveOptions(t)
	if options.Password == "" {
		return // nothing to refuse: the tests are run against a server with a password too
	}
	options.Password += "x"
	wrong := eventflowdb.New(options)
	defer func() { _ = wrong.Close() }()
	if _, err := wrong.EventCount(context.Background()); !errors.Is(err, eventflowdb.ErrWrongPassword) {
		t.Errorf("got %v", err)
	}
	options.Password = ""
	without := eventflowdb.New(options)
	defer func() { _ = without.Close() }()
	_, err := without.Add(context.Background(), newStream(), 0, opened)
	if !errors.Is(err, eventflowdb.ErrNotAuthenticated) {
		t.Errorf("got %v", err)
	}
}

func TestLiveCountsSizeAndChecksumFollowAnAppend(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, client *eventflowdb.Client) {
		ctx := context.Background()
		if err := client.Ping(ctx); err != nil {
			t.Error(err)
		}
		events, err := client.EventCount(ctx)
		if err != nil {
			t.Error(err)
		}
		streams, err := client.StreamCount(ctx)
		if err != nil {
			t.Error(err)
		}
		before, err := client.Checksum(ctx)
		if err != nil {
			t.Error(err)
		}
		added := add(t, client, newStream(), 0, opened)
		after, err := client.Checksum(ctx)
		if err != nil || after.EventID < added[0].ID || after.Checksum == before.Checksum || len(after.Checksum) != 64 {
			t.Errorf("the checksum went from %v to %v, %v", before, after, err)
		}
		if count, err := client.EventCount(ctx); err != nil || count <= events {
			t.Errorf("%d events, then %d, %v", events, count, err)
		}
		if count, err := client.StreamCount(ctx); err != nil || count <= streams {
			t.Errorf("%d streams, then %d, %v", streams, count, err)
		}
		if count, err := client.EventCountEstimate(ctx); err != nil || count < 0 {
			t.Errorf("about %d events, %v", count, err)
		}
		if count, err := client.StreamCountEstimate(ctx); err != nil || count < 0 {
			t.Errorf("about %d streams, %v", count, err)
		}
		if size, err := client.Size(ctx); err != nil || size.Bytes <= 0 || !strings.HasSuffix(size.Words, "B") {
			t.Errorf("%+v, %v", size, err)
		}
		if version, err := client.Version(ctx); err != nil || strings.Count(version, ".") < 2 {
			t.Errorf("version %q, %v", version, err)
		}
		if uptime, err := client.Uptime(ctx); err != nil || !uptimePattern.MatchString(uptime) {
			t.Errorf("uptime %q, %v", uptime, err)
		}
	})
}

func TestLiveOneOfManyWritersAtATimeWins(t *testing.T) {
	const writers, rounds = 8, 10
	client := eventflowdb.New(liveOptions(t))
	defer func() { _ = client.Close() }()
	stream := newStream()
	for round := range int64(rounds) {
		var wins, refusals int
		var mutex sync.Mutex
		var group sync.WaitGroup
		for range writers {
			group.Go(func() {
				_, err := client.Add(context.Background(), stream, round, opened)
				mutex.Lock()
				defer mutex.Unlock()
				switch {
				case err == nil:
					wins++
				case errors.Is(err, eventflowdb.ErrWrongExpectedVersion):
					refusals++
				default:
					t.Error(err)
				}
			})
		}
		group.Wait()
		if wins != 1 || refusals != writers-1 {
			t.Errorf("round %d: %d wins, %d refusals", round, wins, refusals)
		}
	}
	events, err := client.Get(context.Background(), stream, eventflowdb.GetOptions{})
	if err != nil || len(events) != rounds {
		t.Errorf("%d events, %v", len(events), err)
	}
}
