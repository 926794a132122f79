package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	pageEvents      = 10
	pagedEvents     = 25
	tooLargeBytes   = 2 << 20
	pipelineAppends = 500
	restartPatience = 30 * time.Second
	restartPause    = 100 * time.Millisecond
	textNotASCII    = "Zoë, 北京, 😀, \u2028, \"quoted\" \\ and\na second line"
)

// driver is one client on its way through the checks. A check returns what there is to say of it, or why it failed.
type driver struct {
	client *redis.Client
	ctx    context.Context
	input  *bufio.Reader

	// What add leaves for read.
	stream string
	added  []string
}

// newEvent is an event as it is given; metadata null means none.
type newEvent struct {
	Type     string  `json:"type"`
	Data     string  `json:"data"`
	Metadata *string `json:"metadata"`
}

type recordedEvent struct {
	ID       string  `json:"id"`
	Stream   string  `json:"stream"`
	Version  int     `json:"version"`
	Type     string  `json:"type"`
	Data     string  `json:"data"`
	Metadata *string `json:"metadata"`
}

type fields map[string]any

func (d *driver) connect() (string, error) {
	answer, err := d.client.Ping(d.ctx).Result()
	if err != nil {
		return "", err
	}
	if answer != "PONG" {
		return "", fmt.Errorf("PING was answered %q", answer)
	}
	return "PONG", nil
}

func (d *driver) add() (string, error) {
	metadata := textNotASCII
	given := []newEvent{{"Opened", textNotASCII, nil}, {"Geöffnet", "", &metadata}}
	d.stream = newStream()
	added, err := d.texts("ADD", fields{"stream": d.stream, "version": 0, "events": given})
	if err != nil {
		return "", err
	}
	if len(added) != len(given) {
		return "", fmt.Errorf("%d events were answered", len(added))
	}
	for i, text := range added {
		event, err := parse(text)
		if err != nil {
			return "", err
		}
		if event.Version != i || event.Stream != d.stream || event.Type != given[i].Type || event.Data != given[i].Data ||
			!areEqual(event.Metadata, given[i].Metadata) {
			return "", fmt.Errorf("event %d came back as %s", i, text)
		}
	}
	d.added = added
	return "versions 0 and 1, text as it was given", nil
}

func (d *driver) read() (string, error) {
	if d.added == nil {
		return "", errors.New("there is nothing to read: add failed")
	}
	texts, err := d.texts("GET", fields{"stream": d.stream})
	if err != nil {
		return "", err
	}
	if !slices.Equal(texts, d.added) {
		return "", fmt.Errorf("ADD answered %q, GET %q", d.added, texts)
	}
	return "the same bytes", nil
}

func (d *driver) page() (string, error) {
	given := make([]newEvent, pagedEvents)
	for i := range given {
		given[i] = newEvent{Type: "Paged", Data: strconv.Itoa(i)}
	}
	stream := newStream()
	added, err := d.texts("ADD", fields{"stream": stream, "version": 0, "events": given})
	if err != nil {
		return "", err
	}
	var met []string
	ids, pages := map[string]bool{}, 0
	for argument := (fields{"limit": pageEvents}); ; pages++ {
		page, err := d.texts("GETALL", argument)
		if err != nil {
			return "", err
		}
		for _, text := range page {
			event, err := parse(text)
			if err != nil {
				return "", err
			}
			if ids[event.ID] {
				return "", fmt.Errorf("%s came twice", event.ID)
			}
			ids[event.ID] = true
			if event.Stream == stream {
				met = append(met, text)
			}
			argument["after"] = event.ID
		}
		if len(page) < pageEvents {
			break
		}
	}
	if !slices.Equal(met, added) {
		return "", fmt.Errorf("met %d of %d events, or not in order", len(met), len(added))
	}
	return fmt.Sprintf("%d events on %d pages", len(ids), pages+1), nil
}

func (d *driver) concurrency() (string, error) {
	events := []newEvent{{Type: "Opened"}}
	wrongVersion := d.do("ADD", fields{"stream": newStream(), "version": 7, "events": events}).Err()
	wrongField := d.do("ADD", fields{"stream": newStream(), "version": 0, "events": events, "colour": "red"}).Err()
	if !redis.HasErrorPrefix(wrongVersion, "CONCURRENCY ") {
		return "", fmt.Errorf("a wrong version gave %v", wrongVersion)
	}
	if !redis.HasErrorPrefix(wrongField, "INVALIDARG ") {
		return "", fmt.Errorf("a wrong field gave %v", wrongField)
	}
	return "by the code that the text of a redis.Error begins with (redis.HasErrorPrefix)", nil
}

func (d *driver) tooLarge() (string, error) {
	before := d.client.PoolStats().Misses
	large := []newEvent{{Type: "Large", Data: strings.Repeat("x", tooLargeBytes)}}
	err := d.do("ADD", fields{"stream": newStream(), "version": 0, "events": large}).Err()
	if !redis.HasErrorPrefix(err, "INVALIDARG ") {
		return "", fmt.Errorf("it gave %v", err)
	}
	count, err := d.eventCount()
	if err != nil {
		return "", err
	}
	if after := d.client.PoolStats().Misses; after != before {
		return "", fmt.Errorf("go-redis made %d new connections", after-before)
	}
	return fmt.Sprintf("refused; then EVENTCOUNT answered %d over the same connection", count), nil
}

func (d *driver) pipeline() (string, error) {
	pipeline, stream := d.client.Pipeline(), newStream()
	adds, gets := make([]*redis.Cmd, pipelineAppends), make([]*redis.Cmd, pipelineAppends)
	for version := range pipelineAppends {
		events := []newEvent{{Type: "Piped", Data: strconv.Itoa(version)}}
		adds[version] = pipeline.Do(d.ctx, "ADD", encoded(fields{"stream": stream, "version": version, "events": events}))
		gets[version] = pipeline.Do(d.ctx, "GET", encoded(fields{"stream": stream, "version": version, "limit": 1}))
	}
	began := time.Now()
	if _, err := pipeline.Exec(d.ctx); err != nil {
		return "", err
	}
	took := time.Since(began)
	for version := range pipelineAppends {
		added, err := adds[version].StringSlice()
		if err != nil {
			return "", fmt.Errorf("ADD %d: %w", version, err)
		}
		seen, err := gets[version].StringSlice()
		if err != nil {
			return "", fmt.Errorf("GET %d: %w", version, err)
		}
		if len(added) != 1 || !slices.Equal(seen, added) {
			return "", fmt.Errorf("ADD %d answered %q, the GET behind it %q", version, added, seen)
		}
		event, err := parse(added[0])
		if err != nil {
			return "", err
		}
		if event.Version != version || event.Data != strconv.Itoa(version) {
			return "", fmt.Errorf("in the place of ADD %d came %s", version, added[0])
		}
	}
	return fmt.Sprintf("%d commands in %d ms", 2*pipelineAppends, took.Milliseconds()), nil
}

func (d *driver) restart() (string, error) {
	before, err := d.eventCount()
	if err != nil {
		return "", err
	}
	say(request{"restart"})
	if _, err := d.input.ReadString('\n'); err != nil {
		return "", fmt.Errorf("nobody restarted the server: %w", err)
	}
	began := time.Now()
	for failures := 0; ; failures++ {
		after, err := d.eventCount()
		if err == nil {
			if after < before {
				return "", fmt.Errorf("%d events, but %d before the restart", after, before)
			}
			return fmt.Sprintf("%d events; %d commands failed before", after, failures), nil
		}
		if time.Since(began) > restartPatience {
			return "", fmt.Errorf("still after %v: %w", restartPatience, err)
		}
		time.Sleep(restartPause)
	}
}

// protocol is the version of RESP that the connection speaks, as the server says. go-redis falls back to 2 unseen
// where HELLO is refused; then HELLO is refused here too.
func (d *driver) protocol() string {
	hello, err := d.client.Do(d.ctx, "HELLO").Result()
	if err != nil {
		return "2"
	}
	switch reply := hello.(type) {
	case map[any]any: // RESP3
		return fmt.Sprint(reply["proto"])
	case []any: // RESP2: the same, one after the other
		if at := slices.Index(reply, any("proto")); at >= 0 && at+1 < len(reply) {
			return fmt.Sprint(reply[at+1])
		}
	}
	return strconv.Itoa(d.client.Options().Protocol)
}

func (d *driver) do(command string, argument fields) *redis.Cmd {
	return d.client.Do(d.ctx, command, encoded(argument))
}

func (d *driver) texts(command string, argument fields) ([]string, error) {
	return d.do(command, argument).StringSlice()
}

func (d *driver) eventCount() (int64, error) {
	return d.client.Do(d.ctx, "EVENTCOUNT").Int64()
}

func encoded(argument fields) []byte {
	text, err := json.Marshal(argument)
	if err != nil {
		panic(err)
	}
	return text
}

func parse(text string) (recordedEvent, error) {
	var event recordedEvent
	if err := json.Unmarshal([]byte(text), &event); err != nil {
		return event, fmt.Errorf("%q is no event: %w", text, err)
	}
	return event, nil
}

func areEqual(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// newStream is a random UUID of version 4.
func newStream() string {
	var id [16]byte
	_, _ = rand.Read(id[:])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
