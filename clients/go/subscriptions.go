package eventflowdb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// Beginning comes before the id of every event: [SubscribeOptions.After] it is the whole history.
	Beginning = "00000000000000000000000000"

	reconnectPauseFirst = 100 * time.Millisecond
	reconnectPauseMax   = 10 * time.Second
)

// silenceMax is after how long without a message the server is asked for a sign of life. It has as long again.
var silenceMax = 20 * time.Second

// SubscribeOptions say which events a subscription is for, and where it begins; the zero value means every event
// from now on.
type SubscribeOptions struct {
	// Stream is the stream wanted; empty: the log.
	Stream string
	// Version is the number of the stream's events to skip; 0: none, or, where nothing else says where to begin, all
	// that it holds now.
	Version int64
	// Offset is the id of the first event wanted.
	Offset string
	// After is the id of the last event not wanted; Beginning: the whole history is.
	After string
	// Filter says which events are wanted. Its Since is a place to begin.
	Filter Filter
}

// Subscription gives events as they are stored. Its methods may be called by any goroutine.
type Subscription struct {
	events chan Event
	cancel context.CancelCauseFunc
	err    error
}

var errClosed = errors.New("eventflowdb: the subscription was closed")

// Subscribe gives events as they are stored, in the order of the log, until its context is over or it is closed.
//
// When its connection breaks it is made anew, for as long as that takes, and goes on behind the last event that was
// given: nothing is missing, and nothing comes twice. It has a connection to itself, beside those of the pool, and
// reads from it no faster than events are received. It ends when the server cannot be reached at first, and when the
// server refuses it: the channel is closed, and [Subscription.Err] tells why.
func (c *Client) Subscribe(ctx context.Context, options SubscribeOptions) *Subscription {
	ctx, cancel := context.WithCancelCause(ctx)
	subscription := &Subscription{events: make(chan Event), cancel: cancel}
	go func() {
		if err := c.follow(ctx, options, subscription.events); !errors.Is(err, errClosed) {
			subscription.err = err
		}
		cancel(errClosed)
		close(subscription.events)
	}()
	return subscription
}

// Events is where the events come. It is closed when the subscription has ended.
func (s *Subscription) Events() <-chan Event {
	return s.events
}

// Err is why the subscription has ended, to be asked once Events is closed: nil after Close, the context's error when
// that was over.
func (s *Subscription) Err() error {
	return s.err
}

// Close ends the subscription. An event that nobody has received is dropped: the next subscription begins behind the
// last one that was.
func (s *Subscription) Close() {
	s.cancel(errClosed)
	for range s.events { // until it has ended
	}
}

// follow gives events until it is to end.
func (c *Client) follow(ctx context.Context, options SubscribeOptions, events chan<- Event) error {
	place, err := c.placeOf(ctx, options)
	if err != nil {
		return err
	}
	clients := c.subscribers()
	defer func() { _ = clients.Close() }()
	var pauses reconnectPauses
	wasThere := false
	for {
		isThere, err := place.receive(ctx, clients, events)
		if ctx.Err() != nil { // closing the connection was then an error, too
			return context.Cause(ctx)
		}
		if isThere {
			wasThere = true
			pauses.reset()
		}
		if !wasThere || !mayPass(err) {
			return err
		}
		if !pauses.wait(ctx) {
			return context.Cause(ctx)
		}
	}
}

// reconnectPauses are those before a connection is made anew; each is twice as long as the one before.
type reconnectPauses struct {
	next time.Duration
}

// reset is for when there was a connection.
func (p *reconnectPauses) reset() {
	p.next = 0
}

// wait returns false if the context is over before.
func (p *reconnectPauses) wait(ctx context.Context) bool {
	longest := max(p.next, reconnectPauseFirst)
	p.next = min(2*longest, reconnectPauseMax)
	return pause(ctx, longest/2+rand.N(longest/2)) // not all clients of a server at once
}

// subscribers is a client of go-redis for subscriptions. In RESP2 an error among the messages is an error to
// go-redis; in RESP3 it would hide which one.
func (c *Client) subscribers() *redis.Client {
	options := *c.redis.Options()
	options.Protocol = 2
	return redis.NewClient(&options)
}

// mayPass says whether another attempt may go better: not where the server refused, or is none.
func mayPass(err error) bool {
	var refusal *RefusalError
	return errors.Is(err, ErrTryAgain) || (!errors.As(err, &refusal) && !errors.Is(err, ErrUnexpectedReply))
}

// place is what a subscription sends when it connects: where it goes on.
type place struct {
	argument filterArgument
}

// placeOf returns where to begin. From now on is told by the last id of the log, or a broken connection would lose
// events.
func (c *Client) placeOf(ctx context.Context, options SubscribeOptions) (*place, error) {
	argument := options.Filter.argument()
	argument.Stream, argument.Version = options.Stream, options.Version
	argument.Offset, argument.After = options.Offset, options.After
	if err := argument.check(); err != nil {
		return nil, err
	}
	if argument.Version == 0 && argument.Offset == "" && argument.After == "" && argument.Since == "" {
		head, err := c.Checksum(ctx)
		if err != nil {
			return nil, err
		}
		argument.After = head.EventID
	}
	return &place{argument}, nil
}

func (p *place) query() (string, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(p.argument); err != nil {
		return "", fmt.Errorf("eventflowdb: %w", err)
	}
	return string(bytes.TrimSuffix(text.Bytes(), []byte("\n"))), nil
}

// receive subscribes on a connection of its own, and gives events until that breaks. isThere: the server has
// confirmed.
func (p *place) receive(ctx context.Context, client *redis.Client, events chan<- Event) (isThere bool, err error) {
	query, err := p.query()
	if err != nil {
		return false, err
	}
	messages := client.Subscribe(ctx)
	// go-redis heeds a context only while it connects.
	stop := context.AfterFunc(ctx, func() { _ = messages.Close() })
	defer func() {
		stop()
		_ = messages.Close()
	}()
	if err := messages.Subscribe(ctx, query); err != nil {
		return false, subscriptionError(ErrNotConnected, err)
	}
	for {
		message, err := receiveMessage(ctx, messages)
		if err != nil {
			return isThere, err
		}
		switch message := message.(type) {
		case *redis.Subscription:
			isThere = true
		case *redis.Message:
			event, err := decodeEvent(message.Payload)
			if err != nil {
				return isThere, err
			}
			select {
			case <-ctx.Done():
				return isThere, ctx.Err()
			case events <- event:
			}
			p.argument.After, p.argument.Offset, p.argument.Version = event.ID, "", 0
		}
	}
}

// receiveMessage returns the next message. A server that is silent is asked for a sign of life.
func receiveMessage(ctx context.Context, messages *redis.PubSub) (any, error) {
	message, err := messages.ReceiveTimeout(ctx, silenceMax)
	if isTimeout(err) {
		if err = messages.Ping(ctx); err == nil {
			message, err = messages.ReceiveTimeout(ctx, silenceMax)
		}
	}
	if err != nil {
		return nil, subscriptionError(ErrConnectionLost, err)
	}
	return message, nil
}

func isTimeout(err error) bool {
	var failure net.Error
	return errors.As(err, &failure) && failure.Timeout()
}

func subscriptionError(condition error, err error) error {
	var refusal redis.Error
	if errors.As(err, &refusal) {
		return refusalOf(refusal.Error())
	}
	return fmt.Errorf("%w: %w", condition, err)
}
