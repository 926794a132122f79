package eventflowdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Filter says which events are wanted: those that meet all that is given. The zero value means every event.
type Filter struct {
	// Types: the event is of one of these.
	Types []string
	// Tags: the event carries all of these.
	Tags []string
	// CorrelationID and CausationID: the event names this id, a ULID.
	CorrelationID, CausationID string
	// Since and Until: the event was added then or later, and before then.
	Since, Until time.Time
	// Before: the event comes before this id.
	Before string
}

// StreamSummary is a stream from outside.
type StreamSummary struct {
	Stream string `json:"stream"`
	// Version is the number of its events, which the next append expects.
	Version      int64     `json:"version"`
	FirstID      string    `json:"first_id"`
	FirstAddedAt time.Time `json:"first_added_at"`
	LastID       string    `json:"last_id"`
	LastAddedAt  time.Time `json:"last_added_at"`
}

// TypeSummary is an event type and how many events there are of it.
type TypeSummary struct {
	Type  string `json:"type"`
	Count int64  `json:"count"`
}

// ReadOptions say what [Client.Read] goes through; the zero value means the whole log.
type ReadOptions struct {
	// Stream is the stream to read; empty: the log.
	Stream string
	// Version is the number of the stream's events to skip.
	Version int64
	// After is the id of the last event not wanted.
	After string
	// Backwards: the last one first.
	Backwards bool
	// Filter says which events are wanted.
	Filter Filter
	// PageEvents are asked for, and held in memory, at a time. Default: PageEventsDefault.
	PageEvents int
}

// StreamsOptions say which streams to list; the zero value means the first 100.
type StreamsOptions struct {
	// After is the last stream of the page before.
	After string
	// Limit is the largest number of streams wanted; 0 means 100, and there may be 1,000.
	Limit int64
	// Filter: those that hold such an event, in the order of the first ones. Since, Until and Before are not for it.
	Filter Filter
}

// TypesOptions say which event types to list; the zero value means the first 1,000.
type TypesOptions struct {
	// After is the last type of the page before.
	After string
	// Limit is the largest number of types wanted; 0 means 1,000, and there may be 10,000.
	Limit int64
}

// Event looks an event up by its id; found is false where there is none.
func (c *Client) Event(ctx context.Context, id string) (event Event, found bool, err error) {
	return lookUp(ctx, c, "EVENT", filterArgument{ID: id}, decodeEvent)
}

// Stream tells a stream's version, and its first and last events; found is false where it holds none.
func (c *Client) Stream(ctx context.Context, stream string) (summary StreamSummary, found bool, err error) {
	return lookUp(ctx, c, "STREAM", filterArgument{Stream: stream}, decodeSummary[StreamSummary])
}

// Streams lists streams in the order of their first events. Fewer than the limit mean that there were no more.
func (c *Client) Streams(ctx context.Context, options StreamsOptions) ([]StreamSummary, error) {
	argument := options.Filter.argument()
	argument.After, argument.Limit = options.After, options.Limit
	return list(ctx, c, "STREAMS", argument, decodeSummary[StreamSummary])
}

// Types lists the event types in the order of their names. Fewer than the limit mean that there were no more.
func (c *Client) Types(ctx context.Context, options TypesOptions) ([]TypeSummary, error) {
	argument := filterArgument{After: options.After, Limit: options.Limit}
	return list(ctx, c, "TYPES", argument, decodeSummary[TypeSummary])
}

// Read goes through a whole read, page by page: up to where the log ends when it gets there, or, backwards, to its
// beginning. An error ends the sequence. To go on later, keep the id of the last event you are done with.
func (c *Client) Read(ctx context.Context, options ReadOptions) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if options.PageEvents < 0 {
			yield(Event{}, invalidArgument("PageEvents: expected at least 1, got "+strconv.Itoa(options.PageEvents)))
			return
		}
		argument := options.Filter.argument()
		argument.Stream, argument.Version, argument.After = options.Stream, options.Version, options.After
		argument.Backwards, argument.Cursor, argument.Limit = options.Backwards, true, int64(options.PageEvents)
		if argument.Limit == 0 {
			argument.Limit = PageEventsDefault
		}
		for {
			page, err := c.page(ctx, argument)
			if err != nil {
				yield(Event{}, err)
				return
			}
			for _, event := range page.events {
				if !yield(event, nil) {
					return
				}
			}
			if page.cursor == "" {
				return
			}
			if options.Backwards {
				argument.Before = page.cursor
			} else {
				argument.After = page.cursor
			}
		}
	}
}

// page is a part of a read; its cursor is empty at the end.
type page struct {
	events []Event
	cursor string
}

func (c *Client) page(ctx context.Context, argument filterArgument) (page, error) {
	name := "GETALL"
	if argument.Stream != "" {
		name = "GET"
	}
	request, err := filterRequest(ctx, name, argument)
	if err != nil {
		return page{}, err
	}
	return exchange(ctx, c.redis, request, decodePage)
}

// filterArgument is what reads, lists and subscriptions send.
type filterArgument struct {
	ID            string   `json:"id,omitempty"`
	Stream        string   `json:"stream,omitempty"`
	Version       int64    `json:"version,omitempty"`
	Offset        string   `json:"offset,omitempty"`
	After         string   `json:"after,omitempty"`
	Types         []string `json:"types,omitempty"`
	Tags          []string `json:"tags,omitempty"`
	CorrelationID string   `json:"correlation_id,omitempty"`
	CausationID   string   `json:"causation_id,omitempty"`
	Since         string   `json:"since,omitempty"`
	Until         string   `json:"until,omitempty"`
	Before        string   `json:"before,omitempty"`
	Limit         int64    `json:"limit,omitempty"`
	Backwards     bool     `json:"backwards,omitempty"`
	Cursor        bool     `json:"cursor,omitempty"`
	WaitMS        int64    `json:"wait_ms,omitempty"`
}

func (f Filter) argument() filterArgument {
	return filterArgument{
		Types:         f.Types,
		Tags:          f.Tags,
		CorrelationID: f.CorrelationID,
		CausationID:   f.CausationID,
		Since:         timeText(f.Since),
		Until:         timeText(f.Until),
		Before:        f.Before,
	}
}

// timeText is RFC 3339; empty for the zero time.
func timeText(moment time.Time) string {
	if moment.IsZero() {
		return ""
	}
	return moment.UTC().Format(time.RFC3339Nano)
}

func (a filterArgument) check() error {
	if err := checkFields([]textField{
		{"id", a.ID},
		{"stream", a.Stream},
		{"offset", a.Offset},
		{"after", a.After},
		{"correlation_id", a.CorrelationID},
		{"causation_id", a.CausationID},
		{"before", a.Before},
	}); err != nil {
		return err
	}
	if err := checkTexts("types", a.Types); err != nil {
		return err
	}
	return checkTexts("tags", a.Tags)
}

func filterRequest(ctx context.Context, name string, argument filterArgument) (*request, error) {
	if err := argument.check(); err != nil {
		return nil, err
	}
	request, err := requestWithJSON(ctx, name, argument)
	if err == nil && string(request.last.text) == "{}" {
		return readRequest(ctx, name), nil
	}
	return request, err
}

// lookUp carries out a command that may be answered null.
func lookUp[T any](
	ctx context.Context, c *Client, name string, argument filterArgument, decode func(string) (T, error),
) (T, bool, error) {
	var none T
	request, err := filterRequest(ctx, name, argument)
	if err != nil {
		return none, false, err
	}
	if err := c.redis.Process(ctx, request); errors.Is(err, redis.Nil) {
		return none, false, nil
	} else if err != nil {
		return none, false, errorOf(ctx, request, err)
	}
	text, err := decodeText(request.Val())
	if err != nil {
		return none, false, err
	}
	found, err := decode(text)
	return found, err == nil, err
}

// list carries out a command that is answered an array.
func list[T any](
	ctx context.Context, c *Client, name string, argument filterArgument, decode func(string) (T, error),
) ([]T, error) {
	request, err := filterRequest(ctx, name, argument)
	if err != nil {
		return nil, err
	}
	return exchange(ctx, c.redis, request, func(reply any) ([]T, error) { return decodeAll(reply, decode) })
}

func decodePage(reply any) (page, error) {
	items, err := decodePair(reply)
	if err != nil {
		return page{}, err
	}
	events, err := decodeEvents(items[0])
	if err != nil || items[1] == nil {
		return page{events: events}, err
	}
	cursor, err := decodeText(items[1])
	return page{events, cursor}, err
}

func decodeSummary[T any](text string) (T, error) {
	var summary T
	if err := json.Unmarshal([]byte(text), &summary); err != nil {
		return summary, fmt.Errorf("%w: %w", ErrUnexpectedReply, err)
	}
	return summary, nil
}
