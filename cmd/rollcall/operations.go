package main

import (
	"context"
	"os"
	"os/user"

	"github.com/rollcall-mq/rollcall"
)

// operations are what somebody does by hand to rows set aside, and the log of it.
type operations interface {
	Redrive(ctx context.Context, group string, rows []rollcall.Aside, op rollcall.Operation) (int, error)
	Discard(ctx context.Context, group string, rows []rollcall.Aside, op rollcall.Operation) (int, error)
	Edit(ctx context.Context, group string, row rollcall.Aside, body []byte, dedup rollcall.DedupConfig, op rollcall.Operation) (bool, error)
	Entries(ctx context.Context, group string, after int64, max int) ([]rollcall.OperatorEntry, error)
	// Note appends to the operator log.
	Note(ctx context.Context, group string, entries ...rollcall.OperatorEntry) error
}

type operated[X any] struct{ store rollcall.Store[X] }

func (o operated[X]) Redrive(ctx context.Context, group string, rows []rollcall.Aside, op rollcall.Operation) (int, error) {
	return rollcall.Redrive(ctx, o.store, group, rows, op)
}

func (o operated[X]) Discard(ctx context.Context, group string, rows []rollcall.Aside, op rollcall.Operation) (int, error) {
	return rollcall.Discard(ctx, o.store, group, rows, op)
}

func (o operated[X]) Edit(ctx context.Context, group string, row rollcall.Aside, body []byte, dedup rollcall.DedupConfig, op rollcall.Operation) (bool, error) {
	return rollcall.Edit(ctx, o.store, group, row, body, dedup, op)
}

func (o operated[X]) Entries(ctx context.Context, group string, after int64, max int) ([]rollcall.OperatorEntry, error) {
	return o.store.Upkeep().Entries(ctx, group, after, max)
}

func (o operated[X]) Note(ctx context.Context, group string, entries ...rollcall.OperatorEntry) error {
	return rollcall.Note(ctx, o.store, group, entries...)
}

// eachEntry calls do with every entry of the operator log.
func eachEntry(ctx context.Context, ops operations, group string, do func(*rollcall.OperatorEntry) error) error {
	for after := int64(0); ; {
		entries, err := ops.Entries(ctx, group, after, page)
		if err != nil || len(entries) == 0 {
			return err
		}
		for i := range entries {
			if err := do(&entries[i]); err != nil {
				return err
			}
		}
		after = entries[len(entries)-1].ID
	}
}

// whoami is the user and the host, as far as they are known.
func whoami() string {
	name, host := os.Getenv("USER"), "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}
