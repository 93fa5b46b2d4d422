package main

import (
	"context"
	"errors"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/audit"
	"github.com/rollcall-mq/rollcall/effect"
	"github.com/rollcall-mq/rollcall/internal/dialect"
	"github.com/rollcall-mq/rollcall/pipeline"
)

// store is the store of a pipeline, whatever the type of its transactions is.
type store interface {
	audit.Records
	Asides() rollcall.Asides
	Operations() operations
	// Requests is the outbox.
	Requests() (requests, error)
	// Book is what became of the messages; source nil: it cannot say how many it holds.
	Book(ctx context.Context, group string, source rollcall.Measurer, destination string) (book, error)
	// Effects checks the effects of a pipeline against the database, and returns
	// what makes its consumer. Nothing is written.
	Effects(ctx context.Context, f *pipeline.File) (newConsumer, error)
	Relay(sender rollcall.Sender, config rollcall.RelayConfig) relay
	Close() error
}

// claimer is a store that can hold the lease of a source that leases what it reads: all
// are.
type claimer interface{ Claims() rollcall.Claims }

type newConsumer func(source rollcall.Source, config rollcall.ConsumerConfig) consumer

// consumer is a rollcall.Consumer.
type consumer interface {
	Run(ctx context.Context) error
	RunUntilEmpty(ctx context.Context) error
}

// relay is a rollcall.Relay.
type relay interface {
	Run(ctx context.Context) error
	Drain(ctx context.Context) error
}

// requests are the rows of an outbox.
type requests interface {
	rollcall.Attempts
	Pending(ctx context.Context, max int) ([]rollcall.OutboxRow, error)
}

// typed is a store with transactions of type X.
type typed[X any] struct {
	rollcall.Store[X]
	conn    effect.Conn         // outside of transactions, to read the catalogue
	in      func(X) effect.Conn // inside
	dialect dialect.Dialect
	claims  rollcall.Claims
	close   func() error
}

func (s *typed[X]) Close() error { return s.close() }

func (s *typed[X]) Claims() rollcall.Claims { return s.claims }

func (s *typed[X]) Operations() operations { return operated[X]{s.Store} }

func (s *typed[X]) Requests() (requests, error) {
	out, ok := s.Outbox().(requests)
	if !ok {
		return nil, errors.New("this store's outbox remembers no attempts")
	}
	return out, nil
}

func (s *typed[X]) Book(ctx context.Context, group string, m rollcall.Measurer, destination string) (book, error) {
	return takeBook(ctx, s.Store, group, m, destination)
}

func (s *typed[X]) Effects(ctx context.Context, f *pipeline.File) (newConsumer, error) {
	tables, err := f.Build(ctx, s.conn, s.dialect)
	if err != nil {
		return nil, err
	}
	var handler rollcall.BatchHandler[X]
	if tables != nil {
		handler = effect.BatchHandler(tables, s.in)
	}
	handler = pipeline.WithOutbox(f, s.Outbox(), handler, redisRow)
	return func(source rollcall.Source, config rollcall.ConsumerConfig) consumer {
		return rollcall.NewBatchConsumer(f.Name, source, s.Store, handler, config)
	}, nil
}

func (s *typed[X]) Relay(sender rollcall.Sender, config rollcall.RelayConfig) relay {
	return rollcall.NewRelay(s.Store, sender, config)
}
