//go:build live

package eventflowdb_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	eventflowdb "github.com/eventflowdb/eventflowdb/clients/go"
)

// cuttingProxy stands between a client and the server, and cuts all connections when a test says so.
type cuttingProxy struct {
	addr  string
	mutex sync.Mutex
	open  []net.Conn
}

func newCuttingProxy(t *testing.T, server string) *cuttingProxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := &cuttingProxy{addr: listener.Addr().String()}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			here, err := listener.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", server)
			if err != nil {
				_ = here.Close()
				continue
			}
			proxy.mutex.Lock()
			proxy.open = append(proxy.open, here, there)
			proxy.mutex.Unlock()
			go pass(here, there)
			go pass(there, here)
		}
	}()
	return proxy
}

func pass(from net.Conn, to net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.Close()
}

func (p *cuttingProxy) cut() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, connection := range p.open {
		_ = connection.Close()
	}
	p.open = nil
}

func collect(t *testing.T, client *eventflowdb.Client, options eventflowdb.ReadOptions) []eventflowdb.Event {
	t.Helper()
	events := []eventflowdb.Event{}
	for event, err := range client.Read(context.Background(), options) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, event)
	}
	return events
}

func TestLiveFiltersSelectAndPagesFollowEachOther(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, client *eventflowdb.Client) {
		ctx, stream := context.Background(), newStream()
		mark := "test:" + newStream()
		var given []eventflowdb.NewEvent
		for i := range 20 {
			given = append(given, eventflowdb.NewEvent{
				Type: []string{"Odd", "Even"}[i%2], Tags: []string{mark, fmt.Sprint(i % 3)},
			})
		}
		all := add(t, client, stream, 0, given...)
		var wanted []eventflowdb.Event
		for i, event := range all {
			if i%2 == 0 && i%3 == 1 {
				wanted = append(wanted, event)
			}
		}
		filter := eventflowdb.Filter{Types: []string{"Odd"}, Tags: []string{mark, "1"}}
		got, err := client.GetAll(ctx, eventflowdb.GetAllOptions{Filter: filter})
		if err != nil || !reflect.DeepEqual(got, wanted) {
			t.Errorf("%d events, %v", len(got), err)
		}
		got, err = client.Get(ctx, stream, eventflowdb.GetOptions{Backwards: true, Limit: 2, After: all[3].ID})
		if err != nil || !reflect.DeepEqual(got, []eventflowdb.Event{all[19], all[18]}) {
			t.Errorf("%d events, %v", len(got), err)
		}
		backwards := slices.Clone(wanted)
		slices.Reverse(backwards)
		for _, page := range []int{1, 2, 0} {
			options := eventflowdb.ReadOptions{Filter: filter, PageEvents: page}
			if got := collect(t, client, options); !reflect.DeepEqual(got, wanted) {
				t.Errorf("pages of %d: %d events", page, len(got))
			}
			options.Backwards = true
			if got := collect(t, client, options); !reflect.DeepEqual(got, backwards) {
				t.Errorf("backwards, pages of %d: %d events", page, len(got))
			}
			options = eventflowdb.ReadOptions{Stream: stream, Version: 3, PageEvents: page}
			if got := collect(t, client, options); !reflect.DeepEqual(got, all[3:]) {
				t.Errorf("a stream, pages of %d: %d events", page, len(got))
			}
		}
		since := eventflowdb.Filter{Tags: []string{mark}, Since: all[0].AddedAt, Until: all[0].AddedAt.Add(time.Microsecond)}
		if got := collect(t, client, eventflowdb.ReadOptions{Filter: since}); !reflect.DeepEqual(got, all) {
			t.Errorf("by time: %d events", len(got))
		}
	})
}

func TestLiveEventsStreamsAndTypesAreLookedUp(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, client *eventflowdb.Client) {
		ctx, stream := context.Background(), newStream()
		mark := "test:" + stream
		added := add(t, client, stream, 0, eventflowdb.NewEvent{Type: mark, Tags: []string{mark}}, opened)
		if event, found, err := client.Event(ctx, added[0].ID); err != nil || !found || !reflect.DeepEqual(event, added[0]) {
			t.Errorf("%+v, %v, %v", event, found, err)
		}
		if _, found, err := client.Event(ctx, eventflowdb.Beginning); found || err != nil {
			t.Errorf("%v, %v", found, err)
		}
		want := eventflowdb.StreamSummary{
			Stream: stream, Version: 2, FirstID: added[0].ID, FirstAddedAt: added[0].AddedAt,
			LastID: added[1].ID, LastAddedAt: added[1].AddedAt,
		}
		if summary, found, err := client.Stream(ctx, stream); err != nil || !found || summary != want {
			t.Errorf("%+v, %v, %v", summary, found, err)
		}
		if _, found, err := client.Stream(ctx, newStream()); found || err != nil {
			t.Errorf("%v, %v", found, err)
		}
		options := eventflowdb.StreamsOptions{Filter: eventflowdb.Filter{Tags: []string{mark}}}
		if streams, err := client.Streams(ctx, options); err != nil || !slices.Equal(streams, []eventflowdb.StreamSummary{want}) {
			t.Errorf("%+v, %v", streams, err)
		}
		types, err := client.Types(ctx, eventflowdb.TypesOptions{After: mark[:len(mark)-1], Limit: 1})
		if err != nil || !slices.Equal(types, []eventflowdb.TypeSummary{{Type: mark, Count: 1}}) {
			t.Errorf("%+v, %v", types, err)
		}
	})
}

func TestLiveNothingIsMissingAndNothingComesTwiceWhenConnectionsBreak(t *testing.T) {
	options := liveOptions(t)
	writer := eventflowdb.New(options)
	defer func() { _ = writer.Close() }()
	proxy := newCuttingProxy(t, options.Addr)
	options.Addr = proxy.addr
	client := eventflowdb.New(options)
	defer func() { _ = client.Close() }()
	const count = 3000
	mark := "test:" + newStream()
	whole := client.Subscribe(context.Background(), eventflowdb.SubscribeOptions{
		After: eventflowdb.Beginning, Filter: eventflowdb.Filter{Tags: []string{mark}},
	})
	odd := client.Subscribe(context.Background(), eventflowdb.SubscribeOptions{
		After: eventflowdb.Beginning, Filter: eventflowdb.Filter{Tags: []string{mark}, Types: []string{"Odd"}},
	})
	var stored []eventflowdb.Event
	done := make(chan error)
	go func() {
		for i := range count / 10 {
			var events []eventflowdb.NewEvent
			for range 10 {
				events = append(events, eventflowdb.NewEvent{Type: []string{"Odd", "Even"}[i%2], Tags: []string{mark}})
			}
			added, err := writer.Add(context.Background(), newStream(), 0, events...)
			if err != nil {
				done <- err
				return
			}
			stored = append(stored, added...)
			if i%50 == 25 {
				proxy.cut()
			}
		}
		done <- nil
	}()
	got := take(t, whole, count)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, stored) {
		t.Error("what came is not what was stored")
	}
	stored = slices.DeleteFunc(stored, func(event eventflowdb.Event) bool { return event.Type != "Odd" })
	if got := take(t, odd, count/2); !reflect.DeepEqual(got, stored) {
		t.Error("what came of a type is not what was stored")
	}
	whole.Close()
	odd.Close()
}
