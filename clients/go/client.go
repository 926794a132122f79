// Package eventflowdb is a client of EventflowDB, a database for event sourcing that speaks the Redis protocol.
//
// It is a thin layer over go-redis: one method for each command, with typed events and errors. A read that fails for
// the connection's sake is repeated by go-redis. An append carries a request id, by which the server stores it once, so
// that this package may repeat it too; see [AppendOptions].
package eventflowdb

import (
	"context"
	"crypto/tls"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// AddrDefault is where a server listens unless it was told otherwise.
	AddrDefault = "127.0.0.1:6543"
	// ReplyTimeoutDefault is how long a whole reply may take.
	// go-redis's own 5 seconds are what an overloaded server takes until it says so, and too short for a long stream.
	ReplyTimeoutDefault = 30 * time.Second
	// PageEventsDefault is how many events [Client.ReadAll] asks for, and holds in memory, at a time.
	PageEventsDefault = 1000
	// FollowWait is how long [Client.Follow] lets the server wait for more, each time; and so the longest that it
	// takes to see that its context was cancelled.
	FollowWait = 4 * time.Second
)

// Options say where the server is and how to talk to it. The zero value is a server on this machine, without a
// password. For what is not here, make a client of go-redis and hand it to [NewWith].
type Options struct {
	// Addr is host:port. Default: AddrDefault.
	Addr string
	// Username is sent with the password; empty: the default user.
	Username string
	// Password is empty if the server asks for none.
	Password string
	// Protocol is the version of RESP, 2 or 3. Default: 3, and 2 where the server does not speak 3.
	Protocol int
	// TLSConfig turns TLS on.
	TLSConfig *tls.Config
	// PoolSize is the number of connections. Default: 10 for each CPU.
	PoolSize int
	// DialTimeout is for one attempt to connect, of 5. Default: 5 s.
	DialTimeout time.Duration
	// ReplyTimeout is for sending a request and for its whole reply, each, however long that is. The deadline of a
	// context can shorten it, not lengthen it. Default: ReplyTimeoutDefault; negative: only the context's deadline.
	ReplyTimeout time.Duration
}

// Client is a client of one server, for any number of goroutines. [New] and [NewWith] make one.
//
// A method's error is a [*RefusalError] if the server refused, [ErrConnectionLost] if no reply came,
// [ErrNotConnected] if nothing was sent, [ErrUnexpectedReply] if the server does not answer as an EventflowDB does;
// tell them apart by errors.Is and errors.As.
//
// A context's deadline bounds a request. Its cancellation, without a deadline, is seen before a request is sent and
// between the attempts at a read; a reply that is under way is waited for.
type Client struct {
	redis *redis.Client
	owned bool
}

// New returns a client, which connects when it is first used.
func New(options Options) *Client {
	return &Client{redis: redis.NewClient(redisOptions(options)), owned: true}
}

// NewWith returns a client over one of go-redis, with its settings; appends are repeated as by any other.
// Set ContextTimeoutEnabled there for contexts to have a say, and ReadTimeout to more than 5 s. Closing the client
// does not close that of go-redis.
func NewWith(client *redis.Client) *Client {
	return &Client{redis: client}
}

// Close closes all connections: requests under way on them fail.
func (c *Client) Close() error {
	if !c.owned {
		return nil
	}
	return c.redis.Close()
}

// Ping asks whether the server answers.
func (c *Client) Ping(ctx context.Context) error {
	reply, err := read(ctx, c, "PING", decodeText)
	if err != nil {
		return err
	}
	if reply != "PONG" {
		return unexpected("PONG", reply)
	}
	return nil
}

// Version returns the version of the server, SemVer.
func (c *Client) Version(ctx context.Context) (string, error) {
	return read(ctx, c, "VERSION", decodeText)
}

// Uptime returns how long the server has been running, in words.
func (c *Client) Uptime(ctx context.Context) (string, error) {
	return read(ctx, c, "UPTIME", decodeText)
}

// Size returns how much of the disk the database takes.
func (c *Client) Size(ctx context.Context) (Size, error) {
	return read(ctx, c, "SIZE", decodeSize)
}

// EventCount returns how many events the log holds.
func (c *Client) EventCount(ctx context.Context) (int64, error) {
	return read(ctx, c, "EVENTCOUNT", decodeInteger)
}

// StreamCount returns how many streams there are.
func (c *Client) StreamCount(ctx context.Context) (int64, error) {
	return read(ctx, c, "STREAMCOUNT", decodeInteger)
}

// EventCountEstimate returns how many events the log held when the server last looked, about a second ago.
func (c *Client) EventCountEstimate(ctx context.Context) (int64, error) {
	return read(ctx, c, "EVENTCOUNTEST", decodeInteger)
}

// StreamCountEstimate returns how many streams there were when the server last looked, about a second ago.
func (c *Client) StreamCountEstimate(ctx context.Context) (int64, error) {
	return read(ctx, c, "STREAMCOUNTEST", decodeInteger)
}

// Checksum returns the latest event's id and the checksum of the log up to it; of an empty log, all zeros.
func (c *Client) Checksum(ctx context.Context) (Checksum, error) {
	return read(ctx, c, "CHECKSUM", decodeChecksum)
}

// Add appends events to a stream, all or none, and returns them as stored; they are on disk then.
//
// version is the number of events that the stream already holds, 0 for a new one; or [AnyVersion], or [StreamExists].
// If the stream is otherwise the error is a [*WrongExpectedVersionError].
//
// The append carries a fresh request id. When its connection breaks, or the server answers TRYAGAIN, it is sent again,
// up to three times within two seconds, and stored once. If the error is [ErrConnectionLost] or [ErrUnexpectedReply],
// the events may or may not have been stored: repeat the append with the id of the [*LostAppendError].
func (c *Client) Add(ctx context.Context, stream string, version int64, events ...NewEvent) ([]Event, error) {
	return c.AddWith(ctx, AppendOptions{}, stream, version, events...)
}

// AddWith is [Client.Add] under further conditions, or with a request id of yours. If the log holds an event that
// options.Unless rules out, the error is an [*UnlessMatchedError]; if the request id was given to another append,
// [ErrRequestConflict].
func (c *Client) AddWith(
	ctx context.Context, options AppendOptions, stream string, version int64, events ...NewEvent,
) ([]Event, error) {
	part, err := appendArgumentOf("", StreamAppend{stream, version, events})
	if err != nil {
		return nil, err
	}
	conditions, err := conditionsOf(options)
	if err != nil {
		return nil, err
	}
	return c.store(ctx, "ADD", addArgument{part, conditions}, conditions.RequestID)
}

// AddMany appends to several streams, to all or to none, and returns all events in order; otherwise as
// [Client.AddWith]. An append without events checks its stream and leaves it alone.
func (c *Client) AddMany(ctx context.Context, options AppendOptions, appends ...StreamAppend) ([]Event, error) {
	parts := make([]streamAppendArgument, len(appends))
	for i, given := range appends {
		var err error
		if parts[i], err = appendArgumentOf(fmt.Sprintf("appends[%d].", i), given); err != nil {
			return nil, err
		}
	}
	conditions, err := conditionsOf(options)
	if err != nil {
		return nil, err
	}
	return c.store(ctx, "ADDMANY", addManyArgument{parts, conditions}, conditions.RequestID)
}

// GetOptions say which events of a stream to read; the zero value means all.
type GetOptions struct {
	// Version is the number of events to skip, and so the version of the first one wanted.
	Version int64
	// After is the id of the last event not wanted.
	After string
	// Backwards: the last one first. Not together with Wait.
	Backwards bool
	// Filter says which events are wanted.
	Filter Filter
	// Limit is the largest number of events wanted; 0 means all, with After or a Filter 100.
	Limit int64
	// Wait is how long the server waits for an event where there are none: at most an hour. It comes on top of the
	// client's ReplyTimeout.
	Wait time.Duration
}

// Get returns the events of a stream. There are none if the stream does not exist.
func (c *Client) Get(ctx context.Context, stream string, options GetOptions) ([]Event, error) {
	request, err := getRequest(ctx, stream, options)
	if err != nil {
		return nil, err
	}
	return exchange(ctx, c.waiting(options.Wait), request, decodeEvents)
}

// GetAllOptions say which events of the log to read; the zero value means the first 100. The server refuses Offset
// and After together.
type GetAllOptions struct {
	// Offset is the id of the first event wanted; or any ULID, for the first event that is not before it.
	Offset string
	// After is the id of the last event not wanted.
	After string
	// Backwards: the last one first. Not together with Wait.
	Backwards bool
	// Filter says which events are wanted.
	Filter Filter
	// Limit is the largest number of events wanted; 0 means 100.
	Limit int64
	// Wait is how long the server waits for an event where there are none: at most an hour. It comes on top of the
	// client's ReplyTimeout.
	Wait time.Duration
}

// GetAll returns events in the order of the log, or backwards. Fewer than the limit mean that there were no more.
func (c *Client) GetAll(ctx context.Context, options GetAllOptions) ([]Event, error) {
	request, err := getAllRequest(ctx, options)
	if err != nil {
		return nil, err
	}
	return exchange(ctx, c.waiting(options.Wait), request, decodeEvents)
}

// ReadAll goes through the log from past the event with the id after (empty: from its beginning) to where the log
// ends when it gets there. An error ends the sequence. To go on later, keep the id of the last event you are done
// with.
func (c *Client) ReadAll(ctx context.Context, after string) iter.Seq2[Event, error] {
	return c.ReadAllInPages(ctx, after, PageEventsDefault)
}

// ReadAllInPages is [Client.ReadAll] with so many events asked for, and held in memory, at a time: at least 1; choose
// it by how large your events are.
func (c *Client) ReadAllInPages(ctx context.Context, after string, pageEvents int) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if pageEvents < 1 {
			yield(Event{}, invalidArgument("pageEvents: expected at least 1, got "+strconv.Itoa(pageEvents)))
			return
		}
		last := after
		for {
			page, err := c.GetAll(ctx, GetAllOptions{After: last, Limit: int64(pageEvents)})
			if err != nil {
				yield(Event{}, err)
				return
			}
			for _, event := range page {
				if !yield(event, nil) {
					return
				}
			}
			if len(page) < pageEvents {
				return
			}
			last = page[len(page)-1].ID
		}
	}
}

// Follow is [Client.ReadAll] without an end: where the log ends it waits for more, and gives each event as it comes.
// An error ends the sequence, also that of the context: to end it otherwise, break out of the loop.
func (c *Client) Follow(ctx context.Context, after string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		options := GetAllOptions{After: after, Limit: PageEventsDefault, Wait: FollowWait}
		for {
			page, err := c.GetAll(ctx, options)
			if err != nil {
				yield(Event{}, err)
				return
			}
			for _, event := range page {
				if !yield(event, nil) {
					return
				}
				options.After = event.ID
			}
		}
	}
}

// waiting is the client of go-redis for a read that the server may keep so long: it uses the same connections.
func (c *Client) waiting(wait time.Duration) *redis.Client {
	timeout := c.redis.Options().ReadTimeout
	if wait <= 0 || timeout <= 0 {
		return c.redis
	}
	return c.redis.WithTimeout(timeout + wait)
}

func redisOptions(options Options) *redis.Options {
	addr := options.Addr
	if addr == "" {
		addr = AddrDefault
	}
	timeout := options.ReplyTimeout
	switch {
	case timeout == 0:
		timeout = ReplyTimeoutDefault
	case timeout < 0:
		timeout = -1 // go-redis's word for none
	}
	return &redis.Options{
		Addr:        addr,
		Username:    options.Username,
		Password:    options.Password,
		Protocol:    options.Protocol,
		TLSConfig:   options.TLSConfig,
		PoolSize:    options.PoolSize,
		DialTimeout: options.DialTimeout,
		ReadTimeout: timeout,
		// Without it go-redis heeds a context only while it waits for a connection.
		ContextTimeoutEnabled: true,
		// They announce that a managed Redis moves to other machines.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// read carries out a command that takes no argument and changes nothing.
func read[T any](ctx context.Context, c *Client, name string, decode func(any) (T, error)) (T, error) {
	return exchange(ctx, c.redis, readRequest(ctx, name), decode)
}

// exchange carries out a request and reads its reply.
func exchange[T any](
	ctx context.Context, client *redis.Client, request *request, decode func(any) (T, error),
) (T, error) {
	if err := client.Process(ctx, request); err != nil {
		var none T
		return none, errorOf(ctx, request, err)
	}
	return decode(request.Val())
}
