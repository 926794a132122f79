package eventflowdb

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

// Expected versions that are no number of events. They are far from what a wrong subtraction gives.
const (
	// AnyVersion appends whatever the stream holds.
	AnyVersion int64 = math.MinInt64
	// StreamExists appends if the stream holds at least one event.
	StreamExists int64 = math.MinInt64 + 1
)

// pausesBeforeAttempts are those before each attempt at an append after the first; together, about what a restart of
// the server takes.
var pausesBeforeAttempts = []time.Duration{0, 500 * time.Millisecond, 1500 * time.Millisecond}

// tryAgainPauseMin is for a server that has just said that it can take no more.
const tryAgainPauseMin = 200 * time.Millisecond

// Unless says what must not be in the log: an event of one of Types, if given, that carries all of Tags, if given. At
// least a type or a tag is given.
type Unless struct {
	Types []string `json:"types,omitempty"`
	Tags  []string `json:"tags,omitempty"`
	// After is the id of the last event you had seen when you decided; only events past it count. Empty: the whole
	// log.
	After string `json:"after,omitempty"`
}

// StreamAppend is one stream's part of [Client.AddMany]. Without events it is a check alone.
type StreamAppend struct {
	// Stream is a UUID.
	Stream string
	// Version is the number of events that the stream holds already, AnyVersion or StreamExists.
	Version int64
	Events  []NewEvent
}

// AppendOptions are conditions of an append beyond versions, and how it may be repeated. The zero value has none, and
// a fresh request id.
type AppendOptions struct {
	// Unless refuses the append if an event in the log matches any of them.
	Unless []Unless
	// RequestID is 1 to 128 bytes: the server stores an append with it once, and answers it the same for ever. Empty:
	// a fresh ULID.
	RequestID string
	// WithoutRequestID sends none: then the append is not repeated when its connection breaks.
	WithoutRequestID bool
	// Checkpoint is an event of a consumer that the append acks, in the same step; nil: none. See
	// [Consumer.Checkpoint].
	Checkpoint *Checkpoint
}

// LostAppendError is an append that may or may not have been stored, after some attempts; it wraps ErrConnectionLost.
// Repeated with the same RequestID it is stored once.
type LostAppendError struct {
	// RequestID is for [AppendOptions].
	RequestID string
	cause     error
}

// Error returns why the connection was lost.
func (e *LostAppendError) Error() string {
	return fmt.Sprintf("%v (RequestID %s)", e.cause, e.RequestID)
}

// Unwrap returns an error that is ErrConnectionLost.
func (e *LostAppendError) Unwrap() error {
	return e.cause
}

// versionArgument is a version as JSON has it.
type versionArgument int64

// MarshalJSON returns a number, or a word.
func (v versionArgument) MarshalJSON() ([]byte, error) {
	switch int64(v) {
	case AnyVersion:
		return []byte(`"any"`), nil
	case StreamExists:
		return []byte(`"exists"`), nil
	}
	return json.Marshal(int64(v))
}

type streamAppendArgument struct {
	Stream  string          `json:"stream"`
	Version versionArgument `json:"version"`
	Events  []NewEvent      `json:"events"`
}

type conditionsArgument struct {
	Unless     []Unless    `json:"unless,omitempty"`
	RequestID  string      `json:"request_id,omitempty"`
	Checkpoint *Checkpoint `json:"checkpoint,omitempty"`
}

type addArgument struct {
	streamAppendArgument
	conditionsArgument
}

type addManyArgument struct {
	Appends []streamAppendArgument `json:"appends"`
	conditionsArgument
}

func appendArgumentOf(path string, given StreamAppend) (streamAppendArgument, error) {
	if err := checkText(path+"stream", given.Stream); err != nil {
		return streamAppendArgument{}, err
	}
	for i := range given.Events {
		if err := checkEvent(fmt.Sprintf("%sevents[%d]", path, i), &given.Events[i]); err != nil {
			return streamAppendArgument{}, err
		}
	}
	events := given.Events
	if events == nil {
		events = []NewEvent{} // null would be no array: let the server say what is wrong
	}
	return streamAppendArgument{given.Stream, versionArgument(given.Version), events}, nil
}

func conditionsOf(options AppendOptions) (conditionsArgument, error) {
	for i, item := range options.Unless {
		path := fmt.Sprintf("unless[%d]", i)
		if err := checkTexts(path+".types", item.Types); err != nil {
			return conditionsArgument{}, err
		}
		if err := checkTexts(path+".tags", item.Tags); err != nil {
			return conditionsArgument{}, err
		}
		if err := checkText(path+".after", item.After); err != nil {
			return conditionsArgument{}, err
		}
	}
	if err := checkText("request_id", options.RequestID); err != nil {
		return conditionsArgument{}, err
	}
	if options.Checkpoint != nil {
		if err := options.Checkpoint.check(); err != nil {
			return conditionsArgument{}, err
		}
	}
	return conditionsArgument{options.Unless, requestIDOf(options), options.Checkpoint}, nil
}

func requestIDOf(options AppendOptions) string {
	switch {
	case options.WithoutRequestID:
		return ""
	case options.RequestID == "":
		return freshULID()
	}
	return options.RequestID
}

// store carries out an append.
func (c *Client) store(ctx context.Context, name string, argument any, requestID string) ([]Event, error) {
	return exchangeOnce(ctx, c, name, argument, requestID, decodeEvents)
}

// exchangeOnce carries out what must not be done twice: it is sent again only where that can do no harm. requestID:
// by which the server knows an append again; empty: it does not.
func exchangeOnce[T any](
	ctx context.Context, c *Client, name string, argument any, requestID string, decode func(any) (T, error),
) (T, error) {
	var none T
	var lost error
	for attempt := 0; ; attempt++ {
		request, err := requestWithJSON(ctx, name, argument)
		if err != nil {
			return none, err
		}
		request.isOnce = true
		reply, err := exchange(ctx, c.redis, request, decode)
		if err == nil {
			return reply, nil
		}
		if errors.Is(err, ErrConnectionLost) {
			lost = err
		}
		if attempt == len(pausesBeforeAttempts) || !mayBeRepeated(err, requestID, attempt) ||
			!pause(ctx, pauseAfter(err, attempt)) {
			return none, appendError(err, lost, requestID)
		}
	}
}

// mayBeRepeated says whether what failed can do no harm when it is sent again, and may fare better.
func mayBeRepeated(err error, requestID string, attempt int) bool {
	var network net.Error
	switch {
	case errors.Is(err, ErrTryAgain):
		return true
	case errors.Is(err, ErrNotConnected):
		// A server that was there and is not is waited for; one that was not is told of at once.
		return attempt > 0 && !errors.Is(err, redis.ErrClosed)
	case errors.Is(err, ErrConnectionLost):
		isOverdue := errors.As(err, &network) && network.Timeout()
		return requestID != "" && !isOverdue
	}
	return false
}

func pauseAfter(err error, attempt int) time.Duration {
	if errors.Is(err, ErrTryAgain) {
		return max(pausesBeforeAttempts[attempt], tryAgainPauseMin)
	}
	return pausesBeforeAttempts[attempt]
}

// pause returns false if the context is over before.
func pause(ctx context.Context, duration time.Duration) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// appendError is what an append fails with. One that may have been stored by an earlier attempt is not said not to
// be, unless by a refusal that comes only after the server has looked for its request id.
func appendError(err error, lost error, requestID string) error {
	if lost == nil || requestID == "" {
		return err
	}
	for _, settles := range []error{
		ErrConditionFailed, ErrRequestConflict, ErrNoSuchConsumer, ErrInvalidArgument, ErrCommandRefused,
	} {
		if errors.Is(err, settles) {
			return err
		}
	}
	return &LostAppendError{requestID, lost}
}

// freshULID returns a ULID of now, github.com/ulid/spec: ids that grow make the server's index grow at its end.
func freshULID() string {
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	var id [16]byte
	binary.BigEndian.PutUint64(id[:], uint64(time.Now().UnixMilli())<<16)
	_, _ = rand.Read(id[6:])
	high, low := binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
	var text [26]byte
	for i := len(text) - 1; i >= 0; i-- {
		text[i] = alphabet[low&31]
		low = low>>5 | high<<59
		high >>= 5
	}
	return string(text[:])
}
