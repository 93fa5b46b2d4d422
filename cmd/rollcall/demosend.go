package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/verify/fault"
	"github.com/rollcall-mq/rollcall/verify/history"
)

// send sends what has no confirmation in the histories of earlier lives, with
// the orders' own ids, and at last a few orders twice.
func (w *demoWorker) send(ctx context.Context) (err error) {
	events, err := history.Load(w.task.Folder, demoSender+"@")
	if err != nil {
		return err
	}
	known := make(map[string]bool)
	for _, e := range events {
		for _, id := range e.Orders {
			known[id] = known[id] || e.What == history.Stored
		}
	}
	to, err := w.openBroker(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.close()) }()
	p := rollcall.NewPublisher(stallingSender{to.sender, w}, rollcall.PublisherConfig{})
	defer func() { err = errors.Join(err, p.Close(ctx)) }()
	orders := w.plan.Orders
	for first := 0; first < len(orders); first += fault.Chunk {
		var rest []fault.Order
		for _, o := range orders[first:min(first+fault.Chunk, len(orders))] {
			if !known[o.ID] {
				rest = append(rest, o)
			}
		}
		if err := w.publish(ctx, p, to.destination, rest); err != nil {
			return err
		}
	}
	for _, i := range w.plan.Again {
		if err := w.publish(ctx, p, to.destination, orders[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// publish sends orders and writes down what was begun and how it ended.
func (w *demoWorker) publish(ctx context.Context, p *rollcall.Publisher, destination string, orders []fault.Order) error {
	if len(orders) == 0 {
		return nil
	}
	var ids []string
	var messages []rollcall.Message
	for _, o := range orders {
		body, err := json.Marshal(o)
		if err != nil {
			return err
		}
		ids = append(ids, o.ID)
		messages = append(messages, rollcall.Message{ID: rollcall.MessageID(o.ID), Key: o.Customer, Body: body})
		if o.NoID {
			messages[len(messages)-1].ID = "" // the publisher mints one
		}
	}
	if err := w.note(history.Send, ids...); err != nil {
		return err
	}
	w.sending.Store(&ids)
	for i, r := range p.Publish(ctx, destination, messages...) {
		what := history.Refused
		switch r.Fate {
		case rollcall.Stored:
			what = history.Stored
		case rollcall.Unknown:
			return fmt.Errorf("send %s: %w", ids[i], r.Err)
		case rollcall.Refused:
		}
		if err := w.note(what, ids[i]); err != nil {
			return err
		}
		if r.Err != nil {
			return fmt.Errorf("send %s: %w", ids[i], r.Err)
		}
	}
	return nil
}

func (w *demoWorker) note(what history.What, orders ...string) error {
	return w.history.Add(history.Event{PID: os.Getpid(), What: what, Orders: orders})
}

// orderID is the order of a message, which may have another id.
func orderID(m *rollcall.Message) string {
	var o fault.Order
	if json.Unmarshal(m.Body, &o) != nil {
		return string(m.ID)
	}
	return o.ID
}

// stallingSender has a step between the broker's storing and our knowing it.
type stallingSender struct {
	rollcall.Sender
	worker *demoWorker
}

func (s stallingSender) Publish(ctx context.Context, destination string, messages []rollcall.Message) []rollcall.PublishResult {
	results := s.Sender.Publish(ctx, destination, messages)
	chunk := *s.worker.sending.Load()
	if orderID(&messages[len(messages)-1]) != chunk[len(chunk)-1] {
		return results // the publisher hands a chunk over in several batches
	}
	if err := s.worker.inject.At(ctx, fault.StoredUnknown, chunk...); err != nil {
		return make([]rollcall.PublishResult, len(messages)) // Unknown: the answer was lost
	}
	return results
}
