package eventflowdb

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

const (
	// End is the end of the log: [ConsumerOptions.After] it come only the events that are stored from then on.
	End = "end"
	// NoDelay is a delay of nothing, where a Duration of 0 means the default.
	NoDelay time.Duration = -1
	// AnyTries lets events fail for ever; they are never parked.
	AnyTries int64 = -1
)

// ConsumerQuery says which events a consumer is for: those that meet all that is given. The zero value means every
// event.
type ConsumerQuery struct {
	// Stream is a UUID; empty: all streams.
	Stream string `json:"stream,omitempty"`
	// Types: the event is of one of these.
	Types []string `json:"types,omitempty"`
	// Tags: the event carries all of these.
	Tags []string `json:"tags,omitempty"`
	// CorrelationID: the event names this id, a ULID.
	CorrelationID string `json:"correlation_id,omitempty"`
	// CausationID: the event names this id, a ULID.
	CausationID string `json:"causation_id,omitempty"`
}

// ConsumerOptions say what a consumer is for, where it begins, and how its events are tried; the zero value means
// every event of the log.
type ConsumerOptions struct {
	// Query says which events it is for.
	Query ConsumerQuery
	// After is the id of the last event not wanted, Beginning or End. Default: Beginning.
	After string
	// Timeout is how long a member may hold events without a word. Default: 30 s.
	Timeout time.Duration
	// Retry is after how long an event that failed is tried again; it may be NoDelay. Default: 1 s.
	Retry time.Duration
	// TriesMax is after how many failures an event is parked; it may be AnyTries. Default: 10.
	TriesMax int64
}

// ConsumerSummary is a consumer as it was made, and how far it has come.
type ConsumerSummary struct {
	Name  string
	Query ConsumerQuery
	// Timeout and Retry are to the millisecond.
	Timeout, Retry time.Duration
	// TriesMax is 0 where events are never parked.
	TriesMax int64
	// Checkpoint is the id of the last event with nothing unsettled before it; Beginning if there is none.
	Checkpoint string
}

// ConsumerStatus is a consumer, and how it is getting on.
type ConsumerStatus struct {
	ConsumerSummary
	// Lag is how many events are not settled; where not LagIsWhole, at least so many.
	Lag        int64
	LagIsWhole bool
	// LagTime is for how long the oldest of them has been waiting.
	LagTime time.Duration
	// InFlight is how many events are given out, Members to how many.
	InFlight, Members int64
	// Parked is how many events failed too often.
	Parked int64
}

// ParkedEvent is an event that failed too often.
type ParkedEvent struct {
	Event Event
	// Tries is how often it failed.
	Tries int64
	// ParkedAt is UTC.
	ParkedAt time.Time
	// Reason is what the last Nack said; empty if nothing.
	Reason string
}

// ParkedOptions say which parked events; the zero value means the first 100.
type ParkedOptions struct {
	// After is the id of the last event of the page before.
	After string
	// Limit is the largest number of events wanted; 0 means 100, and there may be 1,000.
	Limit int64
}

// Checkpoint is an event that an append acks, and who holds it.
type Checkpoint struct {
	Consumer string `json:"consumer"`
	Member   string `json:"member"`
	// ID is the event's, a ULID.
	ID string `json:"id"`
}

func (c *Checkpoint) check() error {
	return checkFields([]textField{
		{"checkpoint.consumer", c.Consumer}, {"checkpoint.member", c.Member}, {"checkpoint.id", c.ID},
	})
}

// CreateConsumer makes a consumer, of which the server remembers how far it has come. name is 1 to 64 letters, digits
// and ._:- The same once more changes nothing; with another query or other options the error is [ErrInvalidArgument].
func (c *Client) CreateConsumer(ctx context.Context, name string, options ConsumerOptions) (ConsumerSummary, error) {
	return askConsumer(ctx, c, consumerArgument{
		Create: name, Query: options.Query, After: options.After,
		TimeoutMS: durationArgument(options.Timeout), RetryMS: durationArgument(options.Retry),
		TriesMax: triesArgument(options.TriesMax),
	}, decodeConsumer)
}

// DeleteConsumer forgets a consumer; [ErrNoSuchConsumer] if there is none. It is not repeated when its connection
// breaks: the second time there would be none.
func (c *Client) DeleteConsumer(ctx context.Context, name string) error {
	_, err := changeConsumer(ctx, c, consumerArgument{Delete: name}, decodeInteger)
	return err
}

// ResetConsumer has a consumer begin anew, behind the event with the id after, at the Beginning or at the End. It is
// not repeated when its connection breaks: what was done meanwhile would be forgotten.
func (c *Client) ResetConsumer(ctx context.Context, name string, after string) (ConsumerSummary, error) {
	return changeConsumer(ctx, c, consumerArgument{Reset: name, After: after}, decodeConsumer)
}

// Consumers lists all consumers, and how they are getting on.
func (c *Client) Consumers(ctx context.Context) ([]ConsumerStatus, error) {
	return exchange(ctx, c.redis, readRequest(ctx, "CONSUMER", "LIST"), func(reply any) ([]ConsumerStatus, error) {
		return decodeAll(reply, decodeStatus)
	})
}

// Parked lists the events of a consumer that failed too often, in the order of the log. Fewer than the limit mean that
// there were no more.
func (c *Client) Parked(ctx context.Context, name string, options ParkedOptions) ([]ParkedEvent, error) {
	argument := consumerArgument{Parked: name, After: options.After, Limit: options.Limit}
	return askConsumer(ctx, c, argument, func(reply any) ([]ParkedEvent, error) { return decodeAll(reply, decodeParked) })
}

// Replay has the parked events of these ids given out again, and returns how many were parked.
func (c *Client) Replay(ctx context.Context, name string, ids ...string) (int64, error) {
	if ids == nil {
		ids = []string{} // without any the server would take all
	}
	return askConsumer(ctx, c, consumerArgument{Replay: name, IDs: &ids}, decodeInteger)
}

// ReplayAll has all parked events of a consumer given out again, and returns how many there were.
func (c *Client) ReplayAll(ctx context.Context, name string) (int64, error) {
	return askConsumer(ctx, c, consumerArgument{Replay: name}, decodeInteger)
}

// consumerArgument is what CONSUMER takes: one of the first five, and what goes with it.
type consumerArgument struct {
	Create    string        `json:"create,omitempty"`
	Delete    string        `json:"delete,omitempty"`
	Reset     string        `json:"reset,omitempty"`
	Parked    string        `json:"parked,omitempty"`
	Replay    string        `json:"replay,omitempty"`
	Query     ConsumerQuery `json:"query,omitzero"`
	After     string        `json:"after,omitempty"`
	TimeoutMS *int64        `json:"timeout_ms,omitempty"`
	RetryMS   *int64        `json:"retry_ms,omitempty"`
	TriesMax  *int64        `json:"tries_max,omitempty"`
	Limit     int64         `json:"limit,omitempty"`
	IDs       *[]string     `json:"ids,omitempty"`
}

func (a consumerArgument) check() error {
	fields := []textField{
		{"create", a.Create},
		{"delete", a.Delete},
		{"reset", a.Reset},
		{"parked", a.Parked},
		{"replay", a.Replay},
		{"after", a.After},
		{"query.stream", a.Query.Stream},
		{"query.correlation_id", a.Query.CorrelationID},
		{"query.causation_id", a.Query.CausationID},
	}
	if err := checkTexts("query.types", a.Query.Types); err != nil {
		return err
	}
	if err := checkTexts("query.tags", a.Query.Tags); err != nil {
		return err
	}
	if a.IDs != nil {
		if err := checkTexts("ids", *a.IDs); err != nil {
			return err
		}
	}
	return checkFields(fields)
}

// durationArgument is in milliseconds, rounded up; nil for the default.
func durationArgument(duration time.Duration) *int64 {
	switch duration {
	case 0:
		return nil
	case NoDelay:
		return new(int64(0))
	}
	return new(milliseconds(duration))
}

func triesArgument(tries int64) *int64 {
	switch tries {
	case 0:
		return nil
	case AnyTries:
		return new(int64(0))
	}
	return &tries
}

// askConsumer carries out a CONSUMER that comes to the same when it is done twice.
func askConsumer[T any](
	ctx context.Context, c *Client, argument consumerArgument, decode func(any) (T, error),
) (T, error) {
	var none T
	if err := argument.check(); err != nil {
		return none, err
	}
	request, err := requestWithJSON(ctx, "CONSUMER", argument)
	if err != nil {
		return none, err
	}
	return exchange(ctx, c.redis, request, decode)
}

// changeConsumer carries out a CONSUMER that must not be done twice.
func changeConsumer[T any](
	ctx context.Context, c *Client, argument consumerArgument, decode func(any) (T, error),
) (T, error) {
	if err := argument.check(); err != nil {
		var none T
		return none, err
	}
	return exchangeOnce(ctx, c, "CONSUMER", argument, "", decode)
}

// consumerReply is a consumer as the server describes it; the figures are in CONSUMER LIST alone.
type consumerReply struct {
	Consumer   string         `json:"consumer"`
	Query      *ConsumerQuery `json:"query"`
	TimeoutMS  int64          `json:"timeout_ms"`
	RetryMS    int64          `json:"retry_ms"`
	TriesMax   int64          `json:"tries_max"`
	Checkpoint string         `json:"checkpoint"`
	Lag        *int64         `json:"lag"`
	LagIsWhole bool           `json:"lag_is_whole"`
	LagMS      int64          `json:"lag_ms"`
	InFlight   int64          `json:"in_flight"`
	Members    int64          `json:"members"`
	Parked     int64          `json:"parked"`
}

func (r consumerReply) summary() ConsumerSummary {
	return ConsumerSummary{
		Name: r.Consumer, Query: *r.Query,
		Timeout: time.Duration(r.TimeoutMS) * time.Millisecond, Retry: time.Duration(r.RetryMS) * time.Millisecond,
		TriesMax: r.TriesMax, Checkpoint: r.Checkpoint,
	}
}

func decodeConsumer(reply any) (ConsumerSummary, error) {
	text, err := decodeText(reply)
	if err != nil {
		return ConsumerSummary{}, err
	}
	consumer, err := readConsumer(text)
	if err != nil {
		return ConsumerSummary{}, err
	}
	return consumer.summary(), nil
}

func decodeStatus(text string) (ConsumerStatus, error) {
	consumer, err := readConsumer(text)
	if err != nil {
		return ConsumerStatus{}, err
	}
	if consumer.Lag == nil {
		return ConsumerStatus{}, unexpected("a consumer with its lag", text)
	}
	return ConsumerStatus{
		ConsumerSummary: consumer.summary(), Lag: *consumer.Lag, LagIsWhole: consumer.LagIsWhole,
		LagTime: time.Duration(consumer.LagMS) * time.Millisecond, InFlight: consumer.InFlight,
		Members: consumer.Members, Parked: consumer.Parked,
	}, nil
}

// readConsumer requires what every consumer has, which encoding/json would not miss.
func readConsumer(text string) (consumerReply, error) {
	var consumer consumerReply
	if err := json.Unmarshal([]byte(text), &consumer); err != nil {
		return consumer, fmt.Errorf("%w: expected a consumer: %w", ErrUnexpectedReply, err)
	}
	if consumer.Consumer == "" || consumer.Checkpoint == "" || consumer.Query == nil {
		return consumer, unexpected("a consumer", text)
	}
	return consumer, nil
}

func decodeParked(text string) (ParkedEvent, error) {
	var parked struct {
		Event    json.RawMessage `json:"event"`
		Tries    int64           `json:"tries"`
		ParkedAt time.Time       `json:"parked_at"`
		Reason   string          `json:"reason"`
	}
	if err := json.Unmarshal([]byte(text), &parked); err != nil {
		return ParkedEvent{}, fmt.Errorf("%w: expected a parked event: %w", ErrUnexpectedReply, err)
	}
	if parked.Event == nil || parked.ParkedAt.IsZero() {
		return ParkedEvent{}, unexpected("a parked event", text)
	}
	event, err := decodeEvent(string(parked.Event))
	return ParkedEvent{Event: event, Tries: parked.Tries, ParkedAt: parked.ParkedAt, Reason: parked.Reason}, err
}
