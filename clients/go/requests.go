package eventflowdb

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"
)

// request is one command on its way through go-redis.
type request struct {
	*redis.Cmd
	// isOnce: sent a second time, it would do something else than once.
	isOnce bool
	last   *word
}

// NoRetry is what go-redis asks before it sends a request for the second time.
func (r *request) NoRetry() bool {
	return r.isOnce
}

// Clone is overridden since the embedded one would forget what NoRetry says.
func (r *request) Clone() redis.Cmder {
	return &request{Cmd: r.Cmd.Clone().(*redis.Cmd), isOnce: r.isOnce, last: r.last}
}

// wasSent is false only if not even the beginning of the last word, and so no whole request, left this process.
func (r *request) wasSent() bool {
	return r.last.wasWritten
}

// word is a word of a request that knows whether go-redis has begun to write it to a connection.
type word struct {
	text       []byte
	wasWritten bool
}

// MarshalBinary is called by go-redis when it writes the word.
func (w *word) MarshalBinary() ([]byte, error) {
	w.wasWritten = true
	return w.text, nil
}

// String is called by go-redis, and by hooks that log or trace, to show the word.
func (w *word) String() string {
	return string(w.text)
}

// readRequest returns a command that may be sent again, since it changes nothing.
func readRequest(ctx context.Context, words ...string) *request {
	end := len(words) - 1
	last := &word{text: []byte(words[end])}
	arguments := make([]any, 0, len(words))
	for _, text := range words[:end] {
		arguments = append(arguments, text)
	}
	return &request{Cmd: redis.NewCmd(ctx, append(arguments, last)...), last: last}
}

func getRequest(ctx context.Context, stream string, options GetOptions) (*request, error) {
	argument := options.Filter.argument()
	argument.Stream, argument.Version, argument.After = stream, options.Version, options.After
	argument.Backwards, argument.Limit = options.Backwards, options.Limit
	argument.WaitMS = milliseconds(options.Wait)
	return filterRequest(ctx, "GET", argument)
}

func getAllRequest(ctx context.Context, options GetAllOptions) (*request, error) {
	argument := options.Filter.argument()
	argument.Offset, argument.After = options.Offset, options.After
	argument.Backwards, argument.Limit = options.Backwards, options.Limit
	argument.WaitMS = milliseconds(options.Wait)
	return filterRequest(ctx, "GETALL", argument)
}

// milliseconds rounds up, so that a wait is not none.
func milliseconds(wait time.Duration) int64 {
	return int64((wait + time.Millisecond - 1) / time.Millisecond)
}

func requestWithJSON(ctx context.Context, name string, argument any) (*request, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // three bytes become eighteen, and the data of events is often HTML or XML
	if err := encoder.Encode(argument); err != nil {
		return nil, fmt.Errorf("eventflowdb: %w", err)
	}
	last := &word{text: bytes.TrimSuffix(text.Bytes(), []byte("\n"))}
	return &request{Cmd: redis.NewCmd(ctx, name, last), last: last}, nil
}

func checkEvent(path string, event *NewEvent) error {
	for _, field := range []struct{ name, text string }{
		{"type", event.Type},
		{"data", event.Data},
		{"causation_id", event.CausationID},
		{"correlation_id", event.CorrelationID},
	} {
		if !utf8.ValidString(field.text) {
			return checkText(path+"."+field.name, field.text)
		}
	}
	if event.Metadata != nil && !utf8.ValidString(*event.Metadata) {
		return checkText(path+".metadata", *event.Metadata)
	}
	return checkTexts(path+".tags", event.Tags)
}

// textField is a field of an argument.
type textField struct{ path, text string }

func checkFields(fields []textField) error {
	for _, field := range fields {
		if err := checkText(field.path, field.text); err != nil {
			return err
		}
	}
	return nil
}

func checkTexts(path string, texts []string) error {
	for i, text := range texts {
		if err := checkText(fmt.Sprintf("%s[%d]", path, i), text); err != nil {
			return err
		}
	}
	return nil
}

// checkText refuses what encoding/json would silently replace: what is stored is to be what was given.
func checkText(path string, text string) error {
	for at := 0; at < len(text); {
		character, size := utf8.DecodeRuneInString(text[at:])
		if character == utf8.RuneError && size == 1 {
			return invalidArgument(fmt.Sprintf("%s: is not valid UTF-8 (byte %d)", path, at))
		}
		at += size
	}
	return nil
}
