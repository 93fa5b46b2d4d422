package kafka

import (
	"context"
	"errors"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// CommitMode says when Kafka is told how far a group is, where Kafka alone keeps it. In
// every mode only a contiguous prefix of what is settled is committed, so a crash loses
// nothing; what was done and not committed comes again.
type CommitMode string

// The modes. All promise at least once; they differ in how much comes again.
const (
	// PerBatch commits after each batch, before the next: a crash repeats one batch.
	PerBatch CommitMode = "batch"
	// Periodic commits every SourceConfig.CommitEvery: a crash repeats what was done
	// since. It is what auto-commit should be: nothing that is still in work is
	// committed.
	Periodic CommitMode = "periodic"
	// Manual commits nothing by itself: settle with Subscription.Settle, and call
	// Subscription.Commit.
	Manual CommitMode = "manual"
)

// BatchHandler works on a batch. An error ends Consume, and the batch comes again to
// whoever reads the partition next.
type BatchHandler func(ctx context.Context, sub *Subscription, batch rollcall.Batch) error

// Consume takes a topic through a handler without a store of rollcall's: at least once,
// never once. Use a Consumer, or rollcall.Once in the handler, where a repeat would hurt.
// It works until ctx ends, then finishes the batch in hand.
func (s *Source) Consume(ctx context.Context, group string, mode CommitMode, handler BatchHandler) error {
	quiet := &Source{cluster: s.cluster, topic: s.topic, config: s.config}
	switch mode {
	case Periodic:
		if quiet.config.CommitEvery < 0 {
			return configError("CommitEvery", quiet.config.CommitEvery, "Periodic needs a time")
		}
	case PerBatch, Manual:
		quiet.config.CommitEvery = -1
	default:
		return configError("mode", mode, `use "batch", "periodic" or "manual"`)
	}
	owner := &groupOwner{source: quiet, group: group}
	joined, err := quiet.Subscribe(ctx, rollcall.SubscribeRequest{Group: group}, owner)
	if err != nil {
		return err
	}
	sub := joined.(*Subscription)
	defer func() { _ = sub.Close(context.WithoutCancel(ctx)) }()
	for ctx.Err() == nil {
		batches, err := sub.fetch(ctx, 500)
		if err != nil {
			return err
		}
		for _, b := range batches {
			if len(b.Deliveries) == 0 { // only offsets that nobody gets
				continue
			}
			if err := owner.work(ctx, sub, mode, b, handler); err != nil {
				return err
			}
		}
	}
	return nil
}

// fetch for those who have no engine that tells what is wrong: what lasts is an error,
// and what may pass is warned of.
func (s *Subscription) fetch(ctx context.Context, most int) ([]rollcall.Batch, error) {
	batches, err := s.Fetch(ctx, rollcall.FetchRequest{Max: most, Min: 1, Wait: time.Second})
	switch {
	case lasting(err) || errors.Is(err, rollcall.ErrNoDestination):
		return nil, err
	case err != nil && ctx.Err() == nil:
		s.source.cluster.warn("nothing comes, and it is tried again: %v", err)
	}
	return batches, nil
}

// work is one batch, with its commit; partitions wait for it before they go.
func (o *groupOwner) work(ctx context.Context, sub *Subscription, mode CommitMode, b rollcall.Batch, handler BatchHandler) error {
	o.busy.RLock()
	defer o.busy.RUnlock()
	if err := handler(ctx, sub, b); err != nil || mode == Manual {
		return err
	}
	settled := make([]rollcall.Settlement, len(b.Deliveries))
	for i, d := range b.Deliveries {
		settled[i] = rollcall.Settlement{Partition: b.Partition, Receipt: d.Receipt}
	}
	sub.Settle(ctx, settled) // a partition that is others' now comes again there
	if mode == Periodic {
		return nil
	}
	committing, done := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer done()
	if err := sub.Commit(committing); err != nil {
		sub.source.cluster.warn("%v", err) // it only means repeats; the next one tells it too
	}
	return nil
}
