package main

import (
	"context"
	"encoding/json"

	"github.com/redis/go-redis/v9"
)

type handedOut struct {
	Channel  string `json:"channel"`
	Position int    `json:"position"`
}

// subscribe prints each event that go-redis hands out, and reconnects only as it does by itself.
func subscribe(client *redis.Client, queries []string) {
	for message := range client.Subscribe(context.Background(), queries...).Channel() {
		found := handedOut{Channel: message.Channel}
		if err := json.Unmarshal([]byte(message.Payload), &found); err != nil {
			panic(err)
		}
		say(found)
	}
}
