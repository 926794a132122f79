package eventflowdb

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

const shownBytesMax = 60

func decodeText(reply any) (string, error) {
	text, ok := reply.(string)
	if !ok {
		return "", unexpected("a string", reply)
	}
	return text, nil
}

func decodeInteger(reply any) (int64, error) {
	number, ok := reply.(int64)
	if !ok {
		return 0, unexpected("an integer", reply)
	}
	return number, nil
}

func decodeSize(reply any) (Size, error) {
	items, err := decodePair(reply)
	if err != nil {
		return Size{}, err
	}
	bytes, err := decodeInteger(items[0])
	if err != nil {
		return Size{}, err
	}
	words, err := decodeText(items[1])
	if err != nil {
		return Size{}, err
	}
	return Size{Bytes: bytes, Words: words}, nil
}

func decodeChecksum(reply any) (Checksum, error) {
	items, err := decodePair(reply)
	if err != nil {
		return Checksum{}, err
	}
	eventID, err := decodeText(items[0])
	if err != nil {
		return Checksum{}, err
	}
	checksum, err := decodeText(items[1])
	if err != nil {
		return Checksum{}, err
	}
	return Checksum{EventID: eventID, Checksum: checksum}, nil
}

func decodeEvents(reply any) ([]Event, error) {
	return decodeAll(reply, decodeEvent)
}

// decodeAll reads an array of strings, each with what it holds.
func decodeAll[T any](reply any, decode func(string) (T, error)) ([]T, error) {
	items, err := decodeArray(reply)
	if err != nil {
		return nil, err
	}
	found := make([]T, len(items))
	for i, item := range items {
		text, err := decodeText(item)
		if err != nil {
			return nil, err
		}
		if found[i], err = decode(text); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func decodeEvent(text string) (Event, error) {
	var event Event
	if err := json.Unmarshal([]byte(text), &event); err != nil {
		return Event{}, fmt.Errorf("%w: expected an event: %w", ErrUnexpectedReply, err)
	}
	// Every event has these, and encoding/json does not miss them.
	if event.ID == "" || event.Stream == "" || event.Type == "" || event.Position == 0 || event.AddedAt.IsZero() {
		return Event{}, unexpected("an event", text)
	}
	return event, nil
}

func decodePair(reply any) ([]any, error) {
	items, err := decodeArray(reply)
	if err != nil {
		return nil, err
	}
	if len(items) != 2 {
		return nil, unexpected("an array of two", reply)
	}
	return items, nil
}

func decodeArray(reply any) ([]any, error) {
	items, ok := reply.([]any)
	if !ok {
		return nil, unexpected("an array", reply)
	}
	for _, item := range items {
		// go-redis leaves an error reply inside an array in its place.
		if err, ok := item.(error); ok {
			var refusal redis.Error
			if errors.As(err, &refusal) {
				return nil, refusalOf(refusal.Error())
			}
			return nil, unexpected("an item", err)
		}
	}
	return items, nil
}

func unexpected(wanted string, reply any) error {
	return fmt.Errorf("%w: expected %s from the server, got %s", ErrUnexpectedReply, wanted, shown(reply))
}

func shown(reply any) string {
	switch reply := reply.(type) {
	case string:
		if len(reply) > shownBytesMax {
			return fmt.Sprintf("%q...", reply[:shownBytesMax])
		}
		return fmt.Sprintf("%q", reply)
	case []any:
		return fmt.Sprintf("an array of %d", len(reply))
	case nil:
		return "null"
	default:
		return fmt.Sprintf("%v", reply)
	}
}
