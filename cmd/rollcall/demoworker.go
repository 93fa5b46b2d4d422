package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/failpoint"
	"github.com/rollcall-mq/rollcall/verify/fault"
	"github.com/rollcall-mq/rollcall/verify/history"
	"github.com/rollcall-mq/rollcall/verify/specimen"
)

// The settings of rollcall's worker. A batch is small, so that a fault is at
// many places of it; the retries are those of the specimens.
var demoConsumer = rollcall.ConsumerConfig{
	Batch:  8,
	Linger: 5 * time.Millisecond,
	Retry:  rollcall.RetryConfig{Attempts: 4, First: 60 * time.Millisecond},
}

// consume is rollcall's worker, written as a user would write it: the handler
// makes its effect and returns an error if the order cannot be booked. The
// effect comes first on purpose: what a failed order wrote must not stay.
func (w *demoWorker) consume(ctx context.Context) (err error) {
	from, err := w.openBroker(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.close()) }()
	store, err := openDemoStore(w.task.Folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	source := &watchedSource{Source: from.source, worker: w}
	config := demoConsumer
	config.Observer = rollcall.SlogObserver(slog.New(slog.NewTextHandler(w.app.err, nil)))
	c := rollcall.NewConsumer(demoRollcall, source, store, w.handle, config)
	return c.RunUntilEmpty(failpoint.With(ctx, source.step))
}

func (w *demoWorker) handle(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
	order, err := readOrder(&m)
	if err != nil {
		return err
	}
	if err := specimen.Book(ctx, tx, os.Getpid(), order); err != nil {
		return err
	}
	if err := w.inject.At(ctx, fault.InEffect, order.ID); err != nil {
		return err
	}
	return w.charge(ctx, order)
}

func readOrder(m *rollcall.Message) (specimen.Message, error) {
	var o fault.Order
	if err := json.Unmarshal(m.Body, &o); err != nil {
		return specimen.Message{}, fmt.Errorf("order %s: %w", m.ID, err)
	}
	return specimen.Message{ID: o.ID, Customer: o.Customer, Cents: o.Cents}, nil
}

// watchedSource knows which orders are in work: those of the oldest batch that
// was handed over and not settled. It also loses an ack.
type watchedSource struct {
	rollcall.Source
	worker *demoWorker

	mu      sync.Mutex
	batches []rollcall.Batch
}

func (s *watchedSource) Measure(ctx context.Context) ([]rollcall.Extent, error) {
	return s.Source.(rollcall.Measurer).Measure(ctx)
}

func (s *watchedSource) Subscribe(ctx context.Context, r rollcall.SubscribeRequest, owner rollcall.Owner) (rollcall.Subscription, error) {
	sub, err := s.Source.Subscribe(ctx, r, owner)
	return &watchedSubscription{sub, s}, err
}

// moments are the steps of the commit protocol at which faults are injected.
var moments = map[string][]fault.Moment{
	"begin":     {fault.BeforeEffect},
	"rolls":     {fault.AfterEffect},
	"asides":    {fault.InRetry},
	"commit":    {fault.AfterRecord, fault.BeforeCommit},
	"committed": {fault.Committing},
	"settle":    {fault.BeforeSettle},
}

// step is the failpoint of the library's engine.
func (s *watchedSource) step(ctx context.Context, name string, _ int) error {
	for _, m := range moments[name] {
		err := s.worker.inject.At(ctx, m, s.inWork()...)
		if errors.Is(err, fault.ErrReplyLost) || errors.Is(err, fault.ErrCommitLost) {
			return fmt.Errorf("%w: %w", rollcall.ErrInDoubt, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *watchedSource) inWork() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.batches) == 0 {
		return nil
	}
	return idsOf(&s.batches[0])
}

func idsOf(b *rollcall.Batch) []string {
	ids := make([]string, len(b.Deliveries))
	for i := range b.Deliveries {
		ids[i] = orderID(&b.Deliveries[i].Message)
	}
	return ids
}

type watchedSubscription struct {
	rollcall.Subscription
	source *watchedSource
}

func (s *watchedSubscription) Fetch(ctx context.Context, r rollcall.FetchRequest) ([]rollcall.Batch, error) {
	batches, err := s.Subscription.Fetch(ctx, r)
	for i := range batches {
		if err := s.source.worker.note(history.Delivered, idsOf(&batches[i])...); err != nil {
			return nil, err
		}
	}
	s.source.mu.Lock()
	defer s.source.mu.Unlock()
	s.source.batches = append(s.source.batches, batches...)
	return batches, err
}

// Settle settles, unless the ack is to be lost: then the partition is handed
// over again from this batch on.
func (s *watchedSubscription) Settle(ctx context.Context, settlements []rollcall.Settlement) []error {
	b := s.source.settled(settlements)
	if b == nil || !errors.Is(s.source.worker.inject.At(ctx, fault.Settling, idsOf(b)...), fault.ErrAckLost) {
		return s.Subscription.Settle(ctx, settlements)
	}
	err := errors.Join(fault.ErrAckLost, s.Restart(ctx, b.Partition, rollcall.Start{Token: b.Token, Position: b.Deliveries[0].Position}))
	return slices.Repeat([]error{err}, len(settlements))
}

// settled takes the batch of settlements off the list.
func (s *watchedSource) settled(settlements []rollcall.Settlement) *rollcall.Batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, b := range s.batches {
		if len(settlements) > 0 && len(b.Deliveries) > 0 && b.Deliveries[0].Receipt == settlements[0].Receipt {
			s.batches = slices.Delete(s.batches, i, i+1)
			return &b
		}
	}
	return nil
}
