package eventflowdb

import "time"

// NewEvent is an event as a writer gives it.
type NewEvent struct {
	// Type is 1 to 255 bytes.
	Type string `json:"type"`
	// Data is any text, and may be empty.
	Data string `json:"data"`
	// Metadata is any text, nil for none.
	Metadata *string `json:"metadata,omitempty"`
	// CausationID is the ULID of the event that caused this one; empty: the event's own id.
	CausationID string `json:"causation_id,omitempty"`
	// CorrelationID is a ULID; empty: the causing event's correlation id, or else the causation id.
	CorrelationID string `json:"correlation_id,omitempty"`
	// Tags are up to 32, of 1 to 128 bytes, all different; [Unless] can name them.
	Tags []string `json:"tags,omitempty"`
}

// Event is an event as it is stored. Keys that a later server adds to a record are ignored.
type Event struct {
	// ID is a ULID; ids grow strictly along the log.
	ID string `json:"id"`
	// Stream is a UUID, in lower case.
	Stream string `json:"stream"`
	// Version is the event's place in its stream: 0, 1, 2 ...
	Version int64 `json:"version"`
	// Position is its place in the log: 1, 2, 3 ...
	Position int64 `json:"position"`
	// Type is as given.
	Type string `json:"type"`
	// Data is as given.
	Data string `json:"data"`
	// Metadata is as given, nil where it was not.
	Metadata *string `json:"metadata"`
	// CausationID is the id of the event that caused this one; its own where none was given.
	CausationID string `json:"causation_id"`
	// CorrelationID is what all events that come of one cause share.
	CorrelationID string `json:"correlation_id"`
	// AddedAt is when the event was stored: UTC, to the microsecond; it never decreases along the log.
	AddedAt time.Time `json:"added_at"`
	// Tags are as given, nil where there are none.
	Tags []string `json:"tags,omitempty"`
}

// Size is how much of the disk the database takes.
type Size struct {
	Bytes int64
	// Words say the same for people: "12.3 kB".
	Words string
}

// Checksum is what the log is up to an event.
type Checksum struct {
	// EventID is the ULID of the latest event.
	EventID string
	// Checksum is that of the whole log up to it, 64 hexadecimal digits.
	Checksum string
}
