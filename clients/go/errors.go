package eventflowdb

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// What the server refused, for errors.Is. The error itself is a [*RefusalError].
var (
	// ErrConditionFailed: a condition of an append does not hold; it is one of the next three as well.
	ErrConditionFailed = errors.New("eventflowdb: condition failed")
	// ErrWrongExpectedVersion: the stream does not hold as many events as the append expected. errors.As to a
	// [*WrongExpectedVersionError] says how many it holds.
	ErrWrongExpectedVersion = errors.New("eventflowdb: wrong expected version")
	// ErrUnlessMatched: the log holds an event that the append's Unless rules out. errors.As to an
	// [*UnlessMatchedError] says which.
	ErrUnlessMatched = errors.New("eventflowdb: unless matched")
	// ErrNotHeld: the member of a consumer does not hold the event that it would ack, or not any more; nothing was
	// stored. errors.As to a [*NotHeldError] says which.
	ErrNotHeld = errors.New("eventflowdb: not held")
	// ErrNoSuchConsumer: there is no consumer of this name.
	ErrNoSuchConsumer = errors.New("eventflowdb: no such consumer")
	// ErrRequestConflict: the request id was used before, for an append with other content; nothing was stored.
	ErrRequestConflict = errors.New("eventflowdb: request conflict")
	// ErrInvalidArgument: an argument is wrong; the text names the field.
	ErrInvalidArgument = errors.New("eventflowdb: invalid argument")
	// ErrNotAuthenticated: the server asks for a password, and the client has none.
	ErrNotAuthenticated = errors.New("eventflowdb: not authenticated")
	// ErrWrongPassword: the password is wrong, or the user unknown.
	ErrWrongPassword = errors.New("eventflowdb: wrong password")
	// ErrNotPermitted: the user may not run this command.
	ErrNotPermitted = errors.New("eventflowdb: not permitted")
	// ErrTryAgain: shutting down or overloaded. Nothing was stored, and a retry is safe.
	ErrTryAgain = errors.New("eventflowdb: try again")
	// ErrStoreFull: the disk or the map is full. Nothing was stored; reads go on.
	ErrStoreFull = errors.New("eventflowdb: store full")
	// ErrCorruptRecord: stored bytes do not match their checksum.
	ErrCorruptRecord = errors.New("eventflowdb: corrupt record")
	// ErrCommandRefused: the server does not know the command, or not with these arguments: it is another version.
	ErrCommandRefused = errors.New("eventflowdb: command refused")
)

// What went wrong between client and server, for errors.Is. The cause is wrapped: also a context's error.
var (
	// ErrConnectionLost: the request was sent, wholly or in part, and no reply came. It may or may not have been
	// carried out. An append is safe to repeat with the same request id, which the [*LostAppendError] tells. Without
	// one, read its stream first and see whether it was stored; after a timeout it can still be stored behind that
	// read.
	ErrConnectionLost = errors.New("eventflowdb: connection lost; the request may or may not have been carried out")
	// ErrNotConnected: nothing was sent, and repeating the request is safe.
	ErrNotConnected = errors.New("eventflowdb: not connected; nothing was sent")
	// ErrUnexpectedReply: the server answered, but not what the command answers: another server, or another version.
	// An append may have been stored.
	ErrUnexpectedReply = errors.New("eventflowdb: unexpected reply")
)

const (
	codeError           = "ERR"
	codeConcurrency     = "CONCURRENCY"
	codeInvalidArgument = "INVALIDARG"
)

var (
	refusalByCode = map[string]error{
		codeConcurrency:     ErrConditionFailed,
		"CONFLICT":          ErrRequestConflict,
		codeInvalidArgument: ErrInvalidArgument,
		"NOAUTH":            ErrNotAuthenticated,
		"WRONGPASS":         ErrWrongPassword,
		"NOPERM":            ErrNotPermitted,
		"TRYAGAIN":          ErrTryAgain,
		"OOM":               ErrStoreFull,
		"CORRUPT":           ErrCorruptRecord,
		"NOCONSUMER":        ErrNoSuchConsumer,
	}
	// How Redis's own sentences begin, which have no code of their own.
	refusalBySentence = []struct {
		beginning string
		refusal   error
	}{
		{"unknown command", ErrCommandRefused},
		{"unknown subcommand", ErrCommandRefused},
		{"wrong number of arguments", ErrCommandRefused},
		{"syntax error", ErrCommandRefused},
		{"max number of clients reached", ErrTryAgain},
	}
	codePattern = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
)

// RefusalError is an error reply of the server. errors.Is tells which one it is, if its code is one that this client
// knows; Code is there for others.
type RefusalError struct {
	// Code is the reply's first word, in upper case; ERR if it has none.
	Code string
	// Text is the sentence after the code.
	Text string
}

// Error returns the reply.
func (e *RefusalError) Error() string {
	return strings.TrimSuffix("eventflowdb: "+e.Code+" "+e.Text, " ")
}

// Is tells errors.Is which of the refusals above this one is.
func (e *RefusalError) Is(target error) bool {
	if e.Code != codeError {
		return refusalByCode[e.Code] == target
	}
	for _, known := range refusalBySentence {
		if strings.HasPrefix(e.Text, known.beginning) {
			return known.refusal == target
		}
	}
	return false
}

// WrongExpectedVersionError is the refusal of an append whose stream does not hold as many events as it expected.
// It wraps a [*RefusalError].
type WrongExpectedVersionError struct {
	// Stream is a UUID in lower case; empty where the reply did not say.
	Stream string
	// Expected is the number of events that the append expected, or StreamExists; -1 where the reply did not say.
	Expected int64
	// Actual is the number of events that the stream holds; -1 where the reply did not say.
	Actual int64
	// Text is the reply without its code.
	Text string
}

// Error returns the reply.
func (e *WrongExpectedVersionError) Error() string {
	return e.Unwrap().Error()
}

// Unwrap returns the same as a *RefusalError.
func (e *WrongExpectedVersionError) Unwrap() error {
	return &RefusalError{Code: codeConcurrency, Text: e.Text}
}

// Is tells errors.Is that this is ErrWrongExpectedVersion.
func (e *WrongExpectedVersionError) Is(target error) bool {
	return target == ErrWrongExpectedVersion
}

// UnlessMatchedError is the refusal of an append because of an event that is in the log. It wraps a [*RefusalError].
type UnlessMatchedError struct {
	// Unless is the index of the item that matches; -1 where the reply did not say.
	Unless int64
	// Event is the id of the first such event; empty where the reply did not say.
	Event string
	// Text is the reply without its code.
	Text string
}

// Error returns the reply.
func (e *UnlessMatchedError) Error() string {
	return e.Unwrap().Error()
}

// Unwrap returns the same as a *RefusalError.
func (e *UnlessMatchedError) Unwrap() error {
	return &RefusalError{Code: codeConcurrency, Text: e.Text}
}

// Is tells errors.Is that this is ErrUnlessMatched.
func (e *UnlessMatchedError) Is(target error) bool {
	return target == ErrUnlessMatched
}

// NotHeldError is the refusal of an ack, by itself or by an append, since the member does not hold the event: its time
// was over, another holds it, or it was acked. It wraps a [*RefusalError].
type NotHeldError struct {
	// Consumer is its name.
	Consumer string
	// Event is the event's id; empty where the reply did not say.
	Event string
	// Text is the reply without its code.
	Text string
}

// Error returns the reply.
func (e *NotHeldError) Error() string {
	return e.Unwrap().Error()
}

// Unwrap returns the same as a *RefusalError.
func (e *NotHeldError) Unwrap() error {
	return &RefusalError{Code: codeConcurrency, Text: e.Text}
}

// Is tells errors.Is that this is ErrNotHeld.
func (e *NotHeldError) Is(target error) bool {
	return target == ErrNotHeld
}

// RetryCanHelp says whether the very same request is safe to repeat, an append too, and may then go through: nothing
// was stored, and the reason can pass.
func RetryCanHelp(err error) bool {
	return errors.Is(err, ErrTryAgain) || errors.Is(err, ErrNotConnected)
}

// refusalOf returns the error for an error reply, given without the leading "-".
func refusalOf(reply string) error {
	code, text, _ := strings.Cut(reply, " ")
	if !codePattern.MatchString(code) {
		return &RefusalError{Code: codeError, Text: reply}
	}
	if code == codeConcurrency {
		return conditionFailed(text)
	}
	return &RefusalError{Code: code, Text: text}
}

// conditionFailed reads `key=value ...: sentence`. A value that is not understood, and a key that is not known here,
// stay in the text alone.
func conditionFailed(text string) error {
	head, _, _ := strings.Cut(text, ": ")
	pairs := map[string]string{}
	for _, pair := range strings.Fields(head) {
		key, value, _ := strings.Cut(pair, "=")
		pairs[key] = value
	}
	if item := pairs["unless"]; item != "" {
		return &UnlessMatchedError{Unless: numberOf(item), Event: pairs["event"], Text: text}
	}
	if consumer := pairs["consumer"]; consumer != "" {
		return &NotHeldError{Consumer: consumer, Event: pairs["event"], Text: text}
	}
	expected := numberOf(pairs["expected"])
	if pairs["expected"] == "exists" {
		expected = StreamExists
	}
	return &WrongExpectedVersionError{
		Stream: pairs["stream"], Expected: expected, Actual: numberOf(pairs["actual"]), Text: text,
	}
}

func numberOf(text string) int64 {
	number, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return -1
	}
	return int64(number)
}

func invalidArgument(text string) error {
	return &RefusalError{Code: codeInvalidArgument, Text: text}
}

// errorOf returns this package's error for what go-redis returned for a request.
func errorOf(ctx context.Context, request *request, err error) error {
	if errors.Is(err, redis.Nil) {
		return unexpected("a value", nil)
	}
	var refusal redis.Error
	if errors.As(err, &refusal) {
		return refusalOf(refusal.Error())
	}
	condition := ErrNotConnected
	if request.wasSent() {
		condition = ErrConnectionLost
	}
	if expiry := expiryOf(ctx); expiry != nil && !errors.Is(err, expiry) {
		return fmt.Errorf("%w: %w: %w", condition, expiry, err)
	}
	return fmt.Errorf("%w: %w", condition, err)
}

// expiryOf returns why a context is over, if it is. A connection's deadline can come a moment before its context's
// own timer.
func expiryOf(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return nil
}
