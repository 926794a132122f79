package eventflowdb_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	eventflowdb "github.com/eventflowdb/eventflowdb/clients/go"
)

func Example() {
	ctx := context.Background()
	client := eventflowdb.New(eventflowdb.Options{Addr: "127.0.0.1:6543", Password: ""})
	defer client.Close()

	// A stream is a UUID that you make up. Version 0 says that it must not hold anything yet.
	stream := "a4b5c6d7-1111-4222-8333-444455556666"
	_, err := client.Add(ctx, stream, 0, eventflowdb.NewEvent{Type: "AccountOpened", Data: `{"owner": "Ada"}`})
	var wrong *eventflowdb.WrongExpectedVersionError
	switch {
	case errors.As(err, &wrong):
		fmt.Println("somebody was faster: the stream holds", wrong.Actual, "events")
	case errors.Is(err, eventflowdb.ErrConnectionLost):
		fmt.Println("it may or may not have been stored: repeat it with the id in the LostAppendError")
	case err != nil:
		log.Fatal(err)
	}

	events, err := client.Get(ctx, stream, eventflowdb.GetOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(events[0].Type, events[0].Data)

	// The whole log, page by page. To go on later, keep the id of the last event that you are done with.
	for event, err := range client.ReadAll(ctx, "") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Position, event.Stream, event.Version, event.Type)
	}
}

func ExampleClient_Consumer() {
	client := eventflowdb.New(eventflowdb.Options{})
	defer client.Close()
	if err := writeInvoices(context.Background(), client); err != nil {
		log.Fatal(err)
	}
}

// writeInvoices is an example of the README.
func writeInvoices(ctx context.Context, client *eventflowdb.Client) error {
	orders := eventflowdb.ConsumerQuery{Types: []string{"OrderPlaced"}}
	_, err := client.CreateConsumer(ctx, "write-invoices", eventflowdb.ConsumerOptions{Query: orders})
	if err != nil {
		return err
	}
	consumer := client.Consumer("write-invoices", eventflowdb.MemberOptions{})
	for event, err := range consumer.Events(ctx) {
		if err != nil {
			return err
		}
		invoice := eventflowdb.NewEvent{Type: "InvoiceWritten", Data: event.Data, CausationID: event.ID}
		// Stored and acked in one step, or neither.
		options := eventflowdb.AppendOptions{Checkpoint: consumer.Checkpoint(event)}
		_, err := client.AddWith(ctx, options, event.Stream, eventflowdb.AnyVersion, invoice)
		if errors.Is(err, eventflowdb.ErrNotHeld) {
			continue // its time was over: it is with another member, or done
		}
		if err != nil {
			return err // it was not acked, and comes again
		}
	}
	return nil // ctx is over
}
