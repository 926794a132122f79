package eventflowdb_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	eventflowdb "github.com/eventflowdb/eventflowdb/clients/go"
	"github.com/redis/go-redis/v9"
)

// said is what a member told the server, but for the consumer's name.
type said struct {
	Command  string
	Consumer string
	Member   string
	IDs      []string
	Extend   []string
	DelayMS  *int64 `json:"delay_ms"`
	Reason   string
	Park     bool
	Release  bool
	Limit    int64
	WaitMS   int64 `json:"wait_ms"`
}

// memberServer answers each FETCH with the next of some replies, then with silence; of what became of events it takes
// note, and answers 1 unless settle says otherwise.
type memberServer struct {
	settle func(said said) string

	mutex   sync.Mutex
	replies []string
	heard   []said
}

func newMemberServer(replies ...string) *memberServer {
	return &memberServer{replies: replies, settle: func(said) string { return ":1\r\n" }}
}

func (s *memberServer) answer(words []string) string {
	if words[0] != "FETCH" && words[0] != "ACK" && words[0] != "NACK" {
		return ""
	}
	said := said{Command: words[0]}
	if err := json.Unmarshal([]byte(words[1]), &said); err != nil {
		return "-ERR " + err.Error() + "\r\n"
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.heard = append(s.heard, said)
	if said.Command != "FETCH" {
		return s.settle(said)
	}
	if len(s.replies) == 0 {
		return silence
	}
	reply := s.replies[0]
	s.replies = s.replies[1:]
	return reply
}

// heardOf are the requests of a command so far.
func (s *memberServer) heardOf(command string) []said {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var found []said
	for _, said := range s.heard {
		if said.Command == command {
			found = append(found, said)
		}
	}
	return found
}

// fetchedBy waits until so many FETCHs have come.
func (s *memberServer) fetchedBy(t *testing.T, count int) {
	t.Helper()
	for range 3000 {
		if len(s.heardOf("FETCH")) >= count {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%d requests did not come", count)
}

// pageOf is a reply with some events; each third is of another stream.
func pageOf(numbers ...int) string {
	records := make([]string, len(numbers))
	for i, number := range numbers {
		records[i] = numbered(number)
		if number%3 == 0 {
			records[i] = strings.Replace(records[i], `"stream":"c3b07384`, `"stream":"00000000`, 1)
		}
	}
	return bulks(records...)
}

// idsOf are those of such events.
func idsOf(numbers ...int) []string {
	ids := make([]string, len(numbers))
	for i, number := range numbers {
		ids[i] = fmt.Sprintf("01KARS6Z4P000000000000%04d", number)
	}
	return ids
}

func positionsOf(events []eventflowdb.FetchedEvent) []int {
	var positions []int
	for _, event := range events {
		positions = append(positions, int(event.Position))
	}
	return positions
}

// fetch takes so many events, and leaves the loop only then.
func fetch(t *testing.T, consumer *eventflowdb.Consumer, count int) []eventflowdb.FetchedEvent {
	t.Helper()
	var events []eventflowdb.FetchedEvent
	for event, err := range consumer.Events(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if events = append(events, event); len(events) == count {
			break
		}
	}
	return events
}

func checkHeard(t *testing.T, got []said, want ...said) {
	t.Helper()
	for i := range want {
		want[i].Consumer = "c"
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("heard %+v\nwant  %+v", got, want)
	}
}

var released = said{Command: "NACK", Member: "m", Release: true}

func TestMemberGetsEventsPageByPageAndSaysWhatBecameOfThem(t *testing.T) {
	script := newMemberServer(pageOf(1, 2), bulks(), pageOf(3))
	client := newClient(t, newFakeServer(t, script.answer))
	consumer := client.Consumer("c", eventflowdb.MemberOptions{Member: "m", Limit: 2, Wait: 1234 * time.Millisecond})
	ctx, delay := context.Background(), int64(1500)
	var events []eventflowdb.FetchedEvent
	for event, err := range consumer.Events(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if events = append(events, event); len(events) < 3 {
			continue
		}
		if count, err := consumer.Ack(ctx, events[0]); count != 1 || err != nil {
			t.Errorf("%d, %v", count, err)
		}
		_, acked := consumer.Ack(ctx, events[1:]...)
		extended := consumer.Extend(ctx, event)
		_, releasedOne := consumer.Release(ctx, event)
		_, failed := consumer.Nack(ctx, eventflowdb.NackOptions{Reason: "r", Delay: 1500 * time.Millisecond}, event)
		_, failedAtOnce := consumer.Nack(ctx, eventflowdb.NackOptions{Delay: eventflowdb.NoDelay}, event)
		_, parked := consumer.Nack(ctx, eventflowdb.NackOptions{Park: true}, event)
		count, none := consumer.Ack(ctx)
		if err := errors.Join(acked, extended, releasedOne, failed, failedAtOnce, parked, none); err != nil || count != 0 {
			t.Errorf("%d, %v", count, err)
		}
		break
	}
	if positions := positionsOf(events); !slices.Equal(positions, []int{1, 2, 3}) {
		t.Errorf("got %v", positions)
	}
	request := said{Command: "FETCH", Member: "m", Limit: 2, WaitMS: 1234}
	checkHeard(t, script.heardOf("FETCH"), request, request, request)
	checkHeard(t, script.heardOf("ACK"),
		said{Command: "ACK", Member: "m", IDs: idsOf(1)},
		said{Command: "ACK", Member: "m", IDs: idsOf(2, 3)},
		said{Command: "ACK", Member: "m", Extend: idsOf(3)},
	)
	checkHeard(t, script.heardOf("NACK"),
		said{Command: "NACK", Member: "m", IDs: idsOf(3), Release: true},
		said{Command: "NACK", Member: "m", IDs: idsOf(3), DelayMS: &delay, Reason: "r"},
		said{Command: "NACK", Member: "m", IDs: idsOf(3), DelayMS: new(int64(0))},
		said{Command: "NACK", Member: "m", IDs: idsOf(3), Park: true},
		released,
	)
	want := eventflowdb.Checkpoint{Consumer: "c", Member: "m", ID: idsOf(1)[0]}
	if got := *consumer.Checkpoint(events[0]); got != want {
		t.Errorf("got %+v", got)
	}
}

func TestMemberHasANameOfItsOwnWhereNoneIsGiven(t *testing.T) {
	client := newClient(t, newFakeServer(t, newMemberServer().answer))
	one, other := client.Consumer("c", eventflowdb.MemberOptions{}), client.Consumer("c", eventflowdb.MemberOptions{})
	if one.Member() == other.Member() || !ulidPattern.MatchString(one.Member()) || one.Name() != "c" {
		t.Errorf("%s and %s of %s", one.Member(), other.Member(), one.Name())
	}
}

func TestMemberTakesAnotherNameWhereAnAnswerMayBeLost(t *testing.T) {
	for _, member := range []string{"m", strings.Repeat("m", 64)} {
		for _, broken := range []string{hangUp, "*1\r\n$500\r\n{\"id\"" + hangUp} {
			script := newMemberServer(pageOf(1, 2), broken, pageOf(3))
			client := newClient(t, newFakeServer(t, script.answer))
			consumer := client.Consumer("c", eventflowdb.MemberOptions{Member: member})
			events := fetch(t, consumer, 3)
			other := consumer.Member()
			if other == member || len(other) > 64 || !regexp.MustCompile(`^m+:[0-9A-Z]{26}$`).MatchString(other) {
				t.Errorf("%s became %s", member, other)
			}
			if _, err := consumer.Ack(context.Background(), events[0], events[2], events[1]); err != nil {
				t.Error(err)
			}
			checkHeard(t, script.heardOf("ACK"),
				said{Command: "ACK", Member: member, IDs: idsOf(1, 2)},
				said{Command: "ACK", Member: other, IDs: idsOf(3)},
			)
			wait := int64(eventflowdb.FetchWaitDefault / time.Millisecond)
			checkHeard(t, script.heardOf("FETCH"),
				said{Command: "FETCH", Member: member, WaitMS: wait}, said{Command: "FETCH", Member: member, WaitMS: wait},
				said{Command: "FETCH", Member: other, WaitMS: wait},
			)
			checkHeard(t, script.heardOf("NACK"),
				said{Command: "NACK", Member: other, Release: true}, said{Command: "NACK", Member: member, Release: true})
			if got := consumer.Checkpoint(events[1]).Member; got != member {
				t.Errorf("the second was got by %s", got)
			}
		}
	}
}

func TestMemberKeepsItsNameWhereNothingWasGivenOutAndAsksAgain(t *testing.T) {
	script := newMemberServer("-TRYAGAIN the server is shutting down\r\n", pageOf(1))
	client := newClient(t, newFakeServer(t, script.answer))
	consumer := client.Consumer("c", eventflowdb.MemberOptions{Member: "m"})
	if positions := positionsOf(fetch(t, consumer, 1)); !slices.Equal(positions, []int{1}) || consumer.Member() != "m" {
		t.Errorf("%s got %v", consumer.Member(), positions)
	}
}

func TestFetchIsSentOnceAndSaysWhatIsWrong(t *testing.T) {
	for reply, want := range map[string]error{
		hangUp:                            eventflowdb.ErrConnectionLost,
		"-NOCONSUMER there is none\r\n":   eventflowdb.ErrNoSuchConsumer,
		"-TRYAGAIN shutting down\r\n":     eventflowdb.ErrTryAgain,
		"-LOADING soon\r\n":               nil,
		"*1\r\n:1\r\n":                    eventflowdb.ErrUnexpectedReply,
		"-CORRUPT a flipped bit\r\n":      eventflowdb.ErrCorruptRecord,
		"-INVALIDARG limit: too many\r\n": eventflowdb.ErrInvalidArgument,
	} {
		script := newMemberServer(reply, pageOf(1))
		client := newClient(t, newFakeServer(t, script.answer))
		consumer := client.Consumer("c", eventflowdb.MemberOptions{Member: "m", Wait: -1})
		events, err := consumer.Fetch(context.Background())
		if len(events) != 0 || err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%q: %d events, %v", reply, len(events), err)
		}
		isUnknown := errors.Is(err, eventflowdb.ErrConnectionLost) || errors.Is(err, eventflowdb.ErrUnexpectedReply)
		if hasOther := consumer.Member() != "m"; hasOther != isUnknown {
			t.Errorf("%q: the name is %s", reply, consumer.Member())
		}
		checkHeard(t, script.heardOf("FETCH"), said{Command: "FETCH", Member: "m"})
		consumer.Close()
	}
}

func TestContextThatIsOverEndsALoopThatWaitsAndGivesBack(t *testing.T) {
	script := newMemberServer(pageOf(1))
	client := newClient(t, newFakeServer(t, script.answer))
	consumer := client.Consumer("c", eventflowdb.MemberOptions{Member: "m", Wait: time.Hour})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		script.fetchedBy(t, 2)
		cancel()
	}()
	var events []eventflowdb.FetchedEvent
	for event, err := range consumer.Events(ctx) {
		if err != nil {
			t.Error(err)
		}
		events = append(events, event)
	}
	if len(events) != 1 {
		t.Errorf("got %d events", len(events))
	}
	// The second request may have been answered: what it gave is held under the old name.
	other := consumer.Member()
	if other == "m" {
		t.Error("the name is the same")
	}
	checkHeard(t, script.heardOf("NACK"), said{Command: "NACK", Member: other, Release: true}, released)
	consumer.Close()
	if again := script.heardOf("NACK"); len(again) != 2 {
		t.Errorf("heard %+v", again)
	}
}

func TestContextThatIsOverEndsALoopInTheMiddleOfAPage(t *testing.T) {
	script := newMemberServer(pageOf(1, 2, 3))
	client := newClient(t, newFakeServer(t, script.answer))
	consumer := client.Consumer("c", eventflowdb.MemberOptions{Member: "m"})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	count := 0
	for _, err := range consumer.Events(ctx) {
		if err != nil {
			t.Error(err)
		}
		count++
		cancel()
	}
	if count != 1 {
		t.Errorf("got %d events", count)
	}
	checkHeard(t, script.heardOf("NACK"), released)
	for range consumer.Events(ctx) {
		t.Error("there was an event after the end")
	}
	checkHeard(t, script.heardOf("FETCH"), said{Command: "FETCH", Member: "m", WaitMS: 20_000})
}

func TestRefusalEndsALoop(t *testing.T) {
	for reply, want := range map[string]error{
		"-NOCONSUMER there is no consumer c\r\n": eventflowdb.ErrNoSuchConsumer,
		"*1\r\n$2\r\n{}\r\n":                     eventflowdb.ErrUnexpectedReply,
	} {
		client := newClient(t, newFakeServer(t, newMemberServer(pageOf(1), reply).answer))
		var errs []error
		for _, err := range client.Consumer("c", eventflowdb.MemberOptions{}).Events(context.Background()) {
			errs = append(errs, err)
		}
		if len(errs) != 2 || errs[0] != nil || !errors.Is(errs[1], want) {
			t.Errorf("%q: %v", reply, errs)
		}
	}
}

func TestServerThatIsNotThereAtFirstEndsALoop(t *testing.T) {
	client := eventflowdb.New(eventflowdb.Options{Addr: "127.0.0.1:1", DialTimeout: time.Second})
	defer func() { _ = client.Close() }()
	count := 0
	for _, err := range client.Consumer("c", eventflowdb.MemberOptions{}).Events(context.Background()) {
		if count++; !errors.Is(err, eventflowdb.ErrNotConnected) {
			t.Error(err)
		}
	}
	if count != 1 {
		t.Errorf("%d turns", count)
	}
}

func TestLoopThatDoesNotWaitIsRefused(t *testing.T) {
	client := newClient(t, newFakeServer(t, newMemberServer().answer))
	for _, err := range client.Consumer("c", eventflowdb.MemberOptions{Wait: -1}).Pages(context.Background()) {
		if !errors.Is(err, eventflowdb.ErrInvalidArgument) {
			t.Error(err)
		}
	}
}

func TestPagesAreGivenAsTheyAreGot(t *testing.T) {
	client := newClient(t, newFakeServer(t, newMemberServer(pageOf(1, 2), bulks(), pageOf(3)).answer))
	var pages [][]int
	for page, err := range client.Consumer("c", eventflowdb.MemberOptions{}).Pages(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if pages = append(pages, positionsOf(page)); len(pages) == 2 {
			break
		}
	}
	if want := [][]int{{1, 2}, {3}}; !reflect.DeepEqual(pages, want) {
		t.Errorf("got %v", pages)
	}
}

func TestNothingComesBehindAnEventOfItsStreamThatFailedUntilItCameAgain(t *testing.T) {
	for name, fail := range map[string]func(*eventflowdb.Consumer, eventflowdb.FetchedEvent) error{
		"Nack": func(consumer *eventflowdb.Consumer, event eventflowdb.FetchedEvent) error {
			_, err := consumer.Nack(context.Background(), eventflowdb.NackOptions{}, event)
			return err
		},
		"Release": func(consumer *eventflowdb.Consumer, event eventflowdb.FetchedEvent) error {
			_, err := consumer.Release(context.Background(), event)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			// 3 and 6 are of another stream.
			script := newMemberServer(pageOf(1, 2, 3, 4, 5, 6), pageOf(2, 4, 5))
			client := newClient(t, newFakeServer(t, script.answer))
			consumer := client.Consumer("c", eventflowdb.MemberOptions{Member: "m"})
			var got []int
			for event, err := range consumer.Events(context.Background()) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, int(event.Position))
				if event.Position == 2 && len(got) == 2 {
					if err := fail(consumer, event); err != nil {
						t.Fatal(err)
					}
				}
				if event.Position == 5 {
					break
				}
			}
			if want := []int{1, 2, 3, 6, 2, 4, 5}; !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			// Had the second been parked, the server would not have taken them back.
			passedOver := said{Command: "NACK", Consumer: "c", Member: "m", IDs: idsOf(4, 5), Release: true}
			if heard := script.heardOf("NACK"); len(heard) != 3 || !reflect.DeepEqual(heard[1], passedOver) {
				t.Errorf("heard %+v", heard)
			}
		})
	}
}

func TestEventsBehindOneThatFailedForTheLastTimeComeAgain(t *testing.T) {
	// The server has parked the first one, and does not give it out again.
	client := newClient(t, newFakeServer(t, newMemberServer(pageOf(1, 2), pageOf(2)).answer))
	consumer := client.Consumer("c", eventflowdb.MemberOptions{})
	var got []int
	for event, err := range consumer.Events(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, int(event.Position)); len(got) == 2 {
			break
		}
		if _, err := consumer.Nack(context.Background(), eventflowdb.NackOptions{}, event); err != nil {
			t.Error(err)
		}
	}
	if !slices.Equal(got, []int{1, 2}) {
		t.Errorf("got %v", got)
	}
}

func TestEventsBehindOneThatIsParkedComeOn(t *testing.T) {
	client := newClient(t, newFakeServer(t, newMemberServer(pageOf(1, 2)).answer))
	consumer := client.Consumer("c", eventflowdb.MemberOptions{})
	var got []int
	for event, err := range consumer.Events(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, int(event.Position)); len(got) == 2 {
			break
		}
		if _, err := consumer.Nack(context.Background(), eventflowdb.NackOptions{Park: true}, event); err != nil {
			t.Error(err)
		}
	}
	if !slices.Equal(got, []int{1, 2}) {
		t.Errorf("got %v", got)
	}
}

func TestEventWhoseWorkFailedIsNotAcked(t *testing.T) {
	script := newMemberServer(pageOf(1, 3, 5))
	client := newClient(t, newFakeServer(t, script.answer))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	long := strings.Repeat("x", 1023) + "ö\xff"
	err := client.Consumer("c", eventflowdb.MemberOptions{Member: "m"}).Each(ctx,
		func(_ context.Context, event eventflowdb.FetchedEvent) error {
			switch event.Position {
			case 1:
				return errors.New(long)
			case 3:
				cancel() // what was done by then is said nonetheless
				return nil
			}
			t.Errorf("%d was given out", event.Position)
			return nil
		})
	if err != nil {
		t.Error(err)
	}
	checkHeard(t, script.heardOf("ACK"), said{Command: "ACK", Member: "m", IDs: idsOf(3)})
	checkHeard(t, script.heardOf("NACK"),
		said{Command: "NACK", Member: "m", IDs: idsOf(1), Reason: strings.Repeat("x", 1023)}, released)
}

func TestWorkThatFailsSinceItsContextIsOverDoesNotCountAsFailed(t *testing.T) {
	script := newMemberServer(pageOf(1))
	client := newClient(t, newFakeServer(t, script.answer))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err := client.Consumer("c", eventflowdb.MemberOptions{Member: "m"}).Each(ctx,
		func(ctx context.Context, _ eventflowdb.FetchedEvent) error {
			cancel()
			return ctx.Err()
		})
	if err != nil || len(script.heardOf("ACK")) != 0 {
		t.Errorf("%v, heard %+v", err, script.heardOf("ACK"))
	}
	checkHeard(t, script.heardOf("NACK"), released)
}

func TestAckThatComesTooLateDoesNotEndTheWorkAndARefusalDoes(t *testing.T) {
	script := newMemberServer(pageOf(1, 2, 4))
	script.settle = func(said said) string {
		switch {
		case slices.Equal(said.IDs, idsOf(1)):
			return "-CONCURRENCY consumer=c event=" + said.IDs[0] + ": this member does not hold the event\r\n"
		case slices.Equal(said.IDs, idsOf(2)):
			return "-NOCONSUMER there is no consumer c\r\n"
		}
		return ":1\r\n"
	}
	client := newClient(t, newFakeServer(t, script.answer))
	var worked []int64
	err := client.Consumer("c", eventflowdb.MemberOptions{}).Each(context.Background(),
		func(_ context.Context, event eventflowdb.FetchedEvent) error {
			worked = append(worked, event.Position)
			return nil
		})
	if !errors.Is(err, eventflowdb.ErrNoSuchConsumer) || !slices.Equal(worked, []int64{1, 2}) {
		t.Errorf("%v, after %v", err, worked)
	}
}

func TestClosedClientEndsTheWork(t *testing.T) {
	client := newClient(t, newFakeServer(t, newMemberServer(pageOf(1, 2)).answer))
	count := 0
	err := client.Consumer("c", eventflowdb.MemberOptions{}).Each(context.Background(),
		func(context.Context, eventflowdb.FetchedEvent) error {
			count++
			return client.Close()
		})
	if !errors.Is(err, redis.ErrClosed) || count != 1 {
		t.Errorf("%v, after %d", err, count)
	}
}

func TestWhatBecameOfAnEventIsSaidAgainWhenTheConnectionBreaks(t *testing.T) {
	script := newMemberServer(pageOf(1, 2))
	counts := map[string]int{}
	script.settle = func(said said) string {
		if counts[said.Command]++; counts[said.Command] == 1 {
			return hangUp
		}
		return ":1\r\n"
	}
	client := newClient(t, newFakeServer(t, script.answer))
	consumer := client.Consumer("c", eventflowdb.MemberOptions{Member: "m", Wait: -1})
	ctx := context.Background()
	events, err := consumer.Fetch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	acked, ackError := consumer.Ack(ctx, events[0])
	failed, nackError := consumer.Nack(ctx, eventflowdb.NackOptions{}, events[1])
	if acked != 1 || failed != 1 || ackError != nil || nackError != nil {
		t.Errorf("%d, %v, %d, %v", acked, ackError, failed, nackError)
	}
	consumer.Close()
}

func TestConsumerIsDeletedAndResetOnce(t *testing.T) {
	for reply, times := range map[string]int{hangUp: 1, "-TRYAGAIN it is just being opened\r\n": 4} {
		for name, call := range map[string]func(*eventflowdb.Client) error{
			"delete": func(client *eventflowdb.Client) error {
				return client.DeleteConsumer(context.Background(), "c")
			},
			"reset": func(client *eventflowdb.Client) error {
				_, err := client.ResetConsumer(context.Background(), "c", "")
				return err
			},
		} {
			server := newFakeServer(t, answering("CONSUMER", reply))
			if err := call(newClient(t, server)); err == nil || server.count("CONSUMER") != times {
				t.Errorf("%s, %q: %v, sent %d times", name, reply, err, server.count("CONSUMER"))
			}
		}
	}
}

func TestReplayOfNoEventsIsNotThatOfAll(t *testing.T) {
	server := newFakeServer(t, answering("CONSUMER", ":0\r\n"))
	client := newClient(t, server)
	if _, err := client.Replay(context.Background(), "c"); err != nil {
		t.Error(err)
	}
	if words := server.lastWords(); words[1] != `{"replay":"c","ids":[]}` {
		t.Errorf("sent %q", words)
	}
}

func TestAppendThatAcksAnEventIsNotSaidToBeLostWhereItsConsumerIsGone(t *testing.T) {
	lost := true
	server := newFakeServer(t, func(words []string) string {
		if words[0] != "ADD" {
			return ""
		}
		if lost {
			lost = false
			return hangUp
		}
		return "-NOCONSUMER there is no consumer c\r\n"
	})
	options := eventflowdb.AppendOptions{Checkpoint: &eventflowdb.Checkpoint{Consumer: "c", Member: "m", ID: idsOf(1)[0]}}
	_, err := newClient(t, server).AddWith(context.Background(), options, stream, 0, opened)
	var lostAppend *eventflowdb.LostAppendError
	if !errors.Is(err, eventflowdb.ErrNoSuchConsumer) || errors.As(err, &lostAppend) {
		t.Errorf("got %v", err)
	}
}

func TestInvalidTextAboutConsumersIsRefusedBeforeItIsSent(t *testing.T) {
	const bad = "a\xff"
	script := newMemberServer()
	client := newClient(t, newFakeServer(t, script.answer))
	ctx := context.Background()
	fetched := eventflowdb.FetchedEvent{Event: eventflowdb.Event{ID: bad}}
	for path, call := range map[string]func() error{
		"create": func() error { _, err := client.CreateConsumer(ctx, bad, eventflowdb.ConsumerOptions{}); return err },
		"query.tags[0]": func() error {
			query := eventflowdb.ConsumerQuery{Tags: []string{bad}}
			_, err := client.CreateConsumer(ctx, "c", eventflowdb.ConsumerOptions{Query: query})
			return err
		},
		"query.stream": func() error {
			query := eventflowdb.ConsumerQuery{Stream: bad}
			_, err := client.CreateConsumer(ctx, "c", eventflowdb.ConsumerOptions{Query: query})
			return err
		},
		"delete": func() error { return client.DeleteConsumer(ctx, bad) },
		"ids[1]": func() error { _, err := client.Replay(ctx, "c", "", bad); return err },
		"member": func() error {
			_, err := client.Consumer("c", eventflowdb.MemberOptions{Member: bad}).Fetch(ctx)
			return err
		},
		"ids[0]": func() error {
			_, err := client.Consumer("c", eventflowdb.MemberOptions{}).Ack(ctx, fetched)
			return err
		},
		"reason": func() error {
			_, err := client.Consumer("c", eventflowdb.MemberOptions{}).Nack(ctx, eventflowdb.NackOptions{Reason: bad}, fetched)
			return err
		},
		"checkpoint.member": func() error {
			options := eventflowdb.AppendOptions{Checkpoint: &eventflowdb.Checkpoint{Member: bad}}
			_, err := client.AddWith(ctx, options, stream, 0, opened)
			return err
		},
	} {
		if err := call(); !errors.Is(err, eventflowdb.ErrInvalidArgument) || !strings.Contains(err.Error(), path+": ") {
			t.Errorf("%s: got %v", path, err)
		}
	}
	if len(script.heard) != 0 {
		t.Errorf("heard %+v", script.heard)
	}
}

func TestAnotherReplyThanThatOfAConsumerIsRefused(t *testing.T) {
	ctx := context.Background()
	create := func(client *eventflowdb.Client) error {
		_, err := client.CreateConsumer(ctx, "c", eventflowdb.ConsumerOptions{})
		return err
	}
	list := func(client *eventflowdb.Client) error { _, err := client.Consumers(ctx); return err }
	parked := func(client *eventflowdb.Client) error {
		_, err := client.Parked(ctx, "c", eventflowdb.ParkedOptions{})
		return err
	}
	const consumer = `{"consumer":"c","query":{},"timeout_ms":1,"retry_ms":1,"tries_max":1,"checkpoint":"0"}`
	for _, refused := range []struct {
		text string
		call func(*eventflowdb.Client) error
	}{
		{"{}", create}, {"[]", create}, {strings.Replace(consumer, "{}", "null", 1), create},
		{consumer, list}, {"{}", parked}, {`{"parked_at":"2030-01-01T00:00:00Z","event":{}}`, parked},
	} {
		client := newClient(t, newFakeServer(t, func(words []string) string {
			if words[0] != "CONSUMER" {
				return ""
			}
			if reply := bulks(refused.text); !strings.Contains(words[1], "create") {
				return reply
			}
			return strings.TrimPrefix(bulks(refused.text), "*1\r\n")
		}))
		if err := refused.call(client); !errors.Is(err, eventflowdb.ErrUnexpectedReply) {
			t.Errorf("%s: %v", refused.text, err)
		}
	}
}
