package eventflowdb

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"
)

const (
	// FetchWaitDefault is how long the server keeps a request for events when there are none.
	FetchWaitDefault = 20 * time.Second

	// lastWordTimeout is for what is said when the context is over already. What the server does not hear comes again
	// after its time.
	lastWordTimeout   = 5 * time.Second
	memberLengthMax   = 64
	reasonBytesMax    = 1024
	reasonReplacement = "\uFFFD"
)

// MemberOptions say who is given events, and how many at a time.
type MemberOptions struct {
	// Member is a name that nobody else uses at the same time: 1 to 64 letters, digits and ._:- Default: a fresh one.
	Member string
	// Limit is the largest number of events to get at a time; 0 means 100, and there may be 1,000.
	Limit int64
	// Wait is how long the server keeps a request when there are no events: at most an hour. It comes on top of the
	// client's ReplyTimeout. Default: FetchWaitDefault; negative: not at all, which is for Fetch alone.
	Wait time.Duration
}

// FetchedEvent is an event that a member of a consumer was given.
type FetchedEvent struct {
	Event
	// Member is the name under which it was given: an ack has to name it.
	Member string
}

// NackOptions say what is to become of events that failed; the zero value means that they are tried again after the
// consumer's Retry.
type NackOptions struct {
	// Delay is after how long they are tried again; it may be NoDelay. Default: the consumer's Retry.
	Delay time.Duration
	// Reason is for the list of parked events: up to 1,024 bytes.
	Reason string
	// Park: do not try them again; park them at once.
	Park bool
}

// Consumer is a member of a consumer, who is given events and says what became of them. [Client.Consumer] makes one.
//
// What became of events may be said by any goroutine; but only one at a time may Fetch, or go through Events, Pages or
// Each. Events are asked for over a connection of its own, on which the server may keep the request.
//
// A request for events whose connection breaks may have been answered with events that the server now counts as held.
// So it is not repeated under the same name, which would be given the events behind those: the member takes another
// name, and the lost events come again when their time is over, before those behind them. Every [FetchedEvent] is
// answered for under the name that it was got by.
type Consumer struct {
	client  *Client
	name    string
	options MemberOptions

	mutex sync.Mutex // for what follows
	// member is the name for the next request; former is the one before, which may hold what was lost.
	member, former string
	// hasAsked: there was a request for events, so that it may hold some.
	hasAsked   bool
	connection *redis.Client
	// takenBack has, by stream, an event that was given back: the server has taken back those behind it, too.
	takenBack map[string]string
}

// Consumer returns a member of a consumer, which has to be there: see [Client.CreateConsumer].
func (c *Client) Consumer(name string, options MemberOptions) *Consumer {
	member := options.Member
	if member == "" {
		member = freshULID()
	}
	return &Consumer{client: c, name: name, options: options, member: member, takenBack: map[string]string{}}
}

// Name is the consumer's.
func (c *Consumer) Name() string {
	return c.name
}

// Member is the name of this member. It changes when it is not known whether a request for events was answered.
func (c *Consumer) Member() string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.member
}

// Events gives the events that the consumer gives to this member, one by one, and waits for more. Say of each Ack or
// Nack, or it comes again. Leave the loop, or cancel ctx, to end it: what is not settled is then given back, as if it
// had not been given out, so Nack before what failed. When ctx is over the sequence ends without an error.
//
// A connection that is lost is made anew, for as long as that takes; an event may then come once more. An error ends
// the sequence: the server cannot be reached at first, or refuses, such as with [ErrNoSuchConsumer]. Of a stream
// nothing comes behind an event that was given to Nack or Release until that event has come again or is parked.
func (c *Consumer) Events(ctx context.Context) iter.Seq2[FetchedEvent, error] {
	return func(yield func(FetchedEvent, error) bool) {
		for page, err := range c.Pages(ctx) {
			if err != nil {
				yield(FetchedEvent{}, err)
				return
			}
			if !c.giveOneByOne(ctx, page, yield) {
				return
			}
		}
	}
}

// Pages is [Consumer.Events] with the events as they are got, at least one and up to the Limit at a time: to be settled
// by one Ack. It does not know of a Nack in the middle of a page: stop there with the events of its stream.
func (c *Consumer) Pages(ctx context.Context) iter.Seq2[[]FetchedEvent, error] {
	return func(yield func([]FetchedEvent, error) bool) {
		if c.options.Wait < 0 {
			yield(nil, invalidArgument("Wait: a loop that does not wait would ask without a pause"))
			return
		}
		defer c.Close()
		var pauses reconnectPauses
		wasThere := false
		for ctx.Err() == nil {
			page, err := c.Fetch(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				wasThere = true
				pauses.reset()
				if len(page) > 0 && !yield(page, nil) {
					return
				}
			case !mayPass(err) || !wasThere && errors.Is(err, ErrNotConnected):
				yield(nil, err)
				return
			default:
				wasThere = true
				pauses.wait(ctx)
			}
		}
	}
}

// Each works through [Consumer.Events] until ctx is over, when it returns nil: it calls work for one after another, and
// acks an event for which work returned nil. One for which it returned an error is not acked but given to Nack, with
// the error as the reason; if ctx is over by then it is given back.
//
// An ack that does not reach the server, or comes too late, is no error: the event comes again, to this member or to
// another. An append with a [Consumer.Checkpoint] in it does it exactly once.
func (c *Consumer) Each(ctx context.Context, work func(context.Context, FetchedEvent) error) error {
	for event, err := range c.Events(ctx) {
		if err != nil {
			return err
		}
		if err := c.conclude(ctx, event, work(ctx, event)); err != nil {
			return err
		}
	}
	return nil
}

// Fetch asks for the next events once: there may be none. [Consumer.Events] does so again and again. If the error is
// [ErrConnectionLost] the member has another name now. Close, when you are done.
func (c *Consumer) Fetch(ctx context.Context) ([]FetchedEvent, error) {
	argument := fetchArgument{Consumer: c.name, Limit: c.options.Limit, WaitMS: milliseconds(c.wait())}
	connection := c.begin(&argument)
	if err := checkMember(argument.Consumer, argument.Member); err != nil {
		return nil, err
	}
	request, err := requestWithJSON(ctx, "FETCH", argument)
	if err != nil {
		return nil, err
	}
	request.isOnce = true
	// go-redis does not interrupt a reply for the sake of a context.
	stop := context.AfterFunc(ctx, func() { c.disconnect(connection) })
	defer stop()
	events, err := exchange(ctx, connection, request, decodeEvents)
	if err != nil {
		if errors.Is(err, ErrConnectionLost) || errors.Is(err, ErrUnexpectedReply) {
			c.takeAnotherName(argument.Member)
		}
		return nil, err
	}
	fetched := make([]FetchedEvent, len(events))
	for i, event := range events {
		fetched[i] = FetchedEvent{event, argument.Member}
	}
	return fetched, nil
}

// Ack says that these are done, and returns how many had not been acked; [ErrNotHeld] if another member holds one.
func (c *Consumer) Ack(ctx context.Context, events ...FetchedEvent) (int64, error) {
	return c.say(ctx, "ACK", events, func(ids []string) settleArgument { return settleArgument{IDs: &ids} })
}

// Nack says that these failed, and returns how many this member held. They come again after a delay, and those behind
// them in their streams only then; after so many failures they are parked.
func (c *Consumer) Nack(ctx context.Context, options NackOptions, events ...FetchedEvent) (int64, error) {
	if err := checkText("reason", options.Reason); err != nil {
		return 0, err
	}
	if !options.Park {
		c.noteTakenBack(events)
	}
	return c.say(ctx, "NACK", events, func(ids []string) settleArgument {
		return settleArgument{
			IDs: &ids, DelayMS: durationArgument(options.Delay), Reason: options.Reason, Park: options.Park,
		}
	})
}

// Extend says that these are still worked at: their time begins anew. [ErrNotHeld] if this member does not hold one.
func (c *Consumer) Extend(ctx context.Context, events ...FetchedEvent) error {
	_, err := c.say(ctx, "ACK", events, func(ids []string) settleArgument { return settleArgument{Extend: &ids} })
	return err
}

// Release gives these back, as if they had not been given out, and those behind them in their streams; it returns how
// many of them this member held.
func (c *Consumer) Release(ctx context.Context, events ...FetchedEvent) (int64, error) {
	c.noteTakenBack(events)
	return c.say(ctx, "NACK", events, func(ids []string) settleArgument {
		return settleArgument{IDs: &ids, Release: true}
	})
}

// Checkpoint is for [AppendOptions]: the append acks the event in the same step, or is refused with [ErrNotHeld].
func (c *Consumer) Checkpoint(event FetchedEvent) *Checkpoint {
	return &Checkpoint{Consumer: c.name, Member: event.Member, ID: event.ID}
}

// Close gives back all that this member holds, and closes its connection; loops do so when they end. A request for
// events that is under way fails. It does no harm when the server cannot be reached, which is given 5 s: what is held
// comes again after its time.
func (c *Consumer) Close() {
	c.mutex.Lock()
	connection, names, hadAsked := c.connection, []string{c.member}, c.hasAsked
	if c.former != "" {
		names = append(names, c.former)
	}
	c.former, c.hasAsked = "", false
	c.mutex.Unlock()
	c.disconnect(connection)
	if !hadAsked {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastWordTimeout)
	defer cancel()
	for _, name := range names {
		_, _ = c.settle(ctx, "NACK", settleArgument{Member: name, Release: true})
	}
}

// giveOneByOne gives the events of a page, but for those that the server has taken back meanwhile. It returns false if
// there are to be no more.
func (c *Consumer) giveOneByOne(
	ctx context.Context, page []FetchedEvent, yield func(FetchedEvent, error) bool,
) bool {
	passedOver := map[string][]FetchedEvent{}
	for _, event := range page {
		if ctx.Err() != nil {
			return false
		}
		if c.isTakenBack(event) {
			passedOver[event.Stream] = append(passedOver[event.Stream], event)
		} else if !yield(event, nil) {
			return false
		}
	}
	for _, events := range passedOver {
		// Where the one ahead of them was parked they are still held, and go on so; else others may hold them.
		_, _ = c.Release(ctx, events...)
	}
	return true
}

// conclude says what became of an event. Its error is one that does not pass.
func (c *Consumer) conclude(ctx context.Context, event FetchedEvent, failure error) error {
	var err error
	switch {
	case failure == nil:
		ctx, cancel := lastWord(ctx)
		defer cancel()
		_, err = c.Ack(ctx, event)
	case ctx.Err() == nil:
		_, err = c.Nack(ctx, NackOptions{Reason: reasonOf(failure)}, event)
	}
	switch {
	case errors.Is(err, redis.ErrClosed):
		return err // or events would be worked at again and again, and never acked
	case err == nil, errors.Is(err, ErrNotHeld), ctx.Err() != nil, mayPass(err):
		return nil
	}
	return err
}

// lastWord is a context for saying that something is done, be the other one over.
func lastWord(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Err() == nil {
		return ctx, func() {}
	}
	return context.WithTimeout(context.WithoutCancel(ctx), lastWordTimeout)
}

// reasonOf is an error as Nack takes it.
func reasonOf(failure error) string {
	reason := strings.ToValidUTF8(failure.Error(), reasonReplacement)
	end := min(len(reason), reasonBytesMax)
	for end < len(reason) && !utf8.RuneStart(reason[end]) {
		end--
	}
	return reason[:end]
}

func (c *Consumer) wait() time.Duration {
	switch {
	case c.options.Wait == 0:
		return FetchWaitDefault
	case c.options.Wait < 0:
		return 0
	}
	return c.options.Wait
}

// begin names the member in a request, and returns the connection for it.
func (c *Consumer) begin(argument *fetchArgument) *redis.Client {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	argument.Member, c.hasAsked = c.member, true
	clear(c.takenBack)
	if c.connection == nil {
		c.connection = c.client.fetching(c.wait())
	}
	return c.connection
}

// disconnect closes a connection; the next request makes another.
func (c *Consumer) disconnect(connection *redis.Client) {
	c.mutex.Lock()
	if c.connection == connection {
		c.connection = nil
	}
	c.mutex.Unlock()
	if connection != nil {
		_ = connection.Close()
	}
}

func (c *Consumer) takeAnotherName(member string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	fresh := freshULID()
	c.former = member
	c.member = member[:min(len(member), memberLengthMax-len(fresh)-1)] + ":" + fresh
}

// noteTakenBack remembers the first of these in each stream.
func (c *Consumer) noteTakenBack(events []FetchedEvent) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, event := range events {
		if first, found := c.takenBack[event.Stream]; !found || event.ID < first {
			c.takenBack[event.Stream] = event.ID
		}
	}
}

// isTakenBack says whether an event is behind one of its stream that was given back and has not come again.
func (c *Consumer) isTakenBack(event FetchedEvent) bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	first, found := c.takenBack[event.Stream]
	if found && event.ID <= first {
		delete(c.takenBack, event.Stream)
		return false
	}
	return found
}

// say settles events, each under the name it was got by, and returns the sum of the replies.
func (c *Consumer) say(
	ctx context.Context, command string, events []FetchedEvent, with func(ids []string) settleArgument,
) (int64, error) {
	var members []string
	idsOf := map[string][]string{}
	for _, event := range events {
		if !slices.Contains(members, event.Member) {
			members = append(members, event.Member)
		}
		idsOf[event.Member] = append(idsOf[event.Member], event.ID)
	}
	var sum int64
	var failures []error
	for _, member := range members {
		argument := with(idsOf[member])
		argument.Member = member
		count, err := c.settle(ctx, command, argument)
		sum += count
		failures = append(failures, err)
	}
	return sum, errors.Join(failures...)
}

// settle says what became of events; said twice it comes to the same.
func (c *Consumer) settle(ctx context.Context, command string, argument settleArgument) (int64, error) {
	argument.Consumer = c.name
	if err := checkMember(argument.Consumer, argument.Member); err != nil {
		return 0, err
	}
	for _, ids := range []*[]string{argument.IDs, argument.Extend} {
		if ids != nil {
			if err := checkTexts("ids", *ids); err != nil {
				return 0, err
			}
		}
	}
	request, err := requestWithJSON(ctx, command, argument)
	if err != nil {
		return 0, err
	}
	return exchange(ctx, c.client.redis, request, decodeInteger)
}

// fetchArgument is what FETCH takes.
type fetchArgument struct {
	Consumer string `json:"consumer"`
	Member   string `json:"member"`
	Limit    int64  `json:"limit,omitempty"`
	WaitMS   int64  `json:"wait_ms,omitempty"`
}

// settleArgument is what ACK and NACK take.
type settleArgument struct {
	Consumer string    `json:"consumer"`
	Member   string    `json:"member"`
	IDs      *[]string `json:"ids,omitempty"`
	Extend   *[]string `json:"extend,omitempty"`
	DelayMS  *int64    `json:"delay_ms,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Park     bool      `json:"park,omitempty"`
	Release  bool      `json:"release,omitempty"`
}

func checkMember(consumer string, member string) error {
	return checkFields([]textField{{"consumer", consumer}, {"member", member}})
}

// fetching is a client of go-redis with one connection, on which the server may keep a request so long.
func (c *Client) fetching(wait time.Duration) *redis.Client {
	options := *c.redis.Options()
	options.PoolSize, options.MinIdleConns, options.MaxIdleConns = 1, 0, 0
	if options.ReadTimeout > 0 {
		options.ReadTimeout += wait
	} else {
		options.ReadTimeout = -1 // go-redis's word for none, which it forgets
	}
	if options.WriteTimeout <= 0 {
		options.WriteTimeout = -1
	}
	return redis.NewClient(&options)
}
