// Command driver uses stock go-redis as its users would, against a real EventflowDB, and prints what it found.
// ../README.md says what it is given and what it prints.
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/redis/go-redis/v9"
)

func main() {
	client, err := connect()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if queries := os.Args[1:]; len(queries) > 0 {
		subscribe(client, queries)
		return
	}
	defer func() { _ = client.Close() }()
	d := &driver{client: client, ctx: context.Background(), input: bufio.NewReader(os.Stdin)}
	for _, check := range []struct {
		name string
		run  func() (string, error)
	}{
		{"connect", d.connect},
		{"add", d.add},
		{"read", d.read},
		{"page", d.page},
		{"concurrency", d.concurrency},
		{"too_large", d.tooLarge},
		{"pipeline", d.pipeline},
		{"restart", d.restart},
	} {
		detail, err := guarded(check.run)
		if err != nil {
			detail = err.Error()
		}
		say(finding{check.name, err == nil, detail})
	}
	say(end{true, "go-redis", redis.Version(), d.protocol()})
}

// connect makes the one client of all checks, with go-redis's defaults but for what the environment says.
func connect() (*redis.Client, error) {
	options := &redis.Options{
		Addr:     net.JoinHostPort(os.Getenv("EVENTFLOWDB_HOST"), os.Getenv("EVENTFLOWDB_PORT")),
		Password: os.Getenv("EVENTFLOWDB_PASSWORD"),
	}
	if protocol := os.Getenv("EVENTFLOWDB_RESP"); protocol != "default" {
		version, err := strconv.Atoi(protocol)
		if err != nil {
			return nil, fmt.Errorf("EVENTFLOWDB_RESP is to be default, 2 or 3: %w", err)
		}
		options.Protocol = version
	}
	return redis.NewClient(options), nil
}

// guarded turns a check's panic into its failure, so that the next ones run.
func guarded(check func() (string, error)) (detail string, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("the check panicked: %v", reason)
		}
	}()
	return check()
}
