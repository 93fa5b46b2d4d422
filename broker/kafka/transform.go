package kafka

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// Transform makes messages of a message: to which topic is in their Destination. It
// may run again for the same message, so nothing outside of what it returns belongs
// in it. An error ends the run, and nothing of the batch has happened.
type Transform func(ctx context.Context, m rollcall.Message) ([]rollcall.Message, error)

// Transformer consumes a topic and produces what Transform makes of it, each batch in
// one transaction of Kafka with the positions of the group. Once, for readers of
// committed messages, and only inside Kafka: what Transform does elsewhere is not in
// it. Messages get ids made of where their origin lies, the same in every run, if
// Transform gives none.
type Transformer struct {
	source    *Source
	group, id string
	transform Transform
	config    TransformConfig
	owner     *groupOwner
	sub       *Subscription
	tx        *Transactor
}

// TransformConfig is the settings of a Transformer. The zero value is safe.
type TransformConfig struct {
	// Batch is the most messages of a partition in one transaction. Default: 500.
	Batch int
	// Timeout is the longest that a transaction may take. Default: 40 s.
	Timeout time.Duration
	// Redone is told of a transaction that did not happen, or whose end is not known,
	// and is done again. Default: nobody.
	Redone func(error)
}

// Transformer of a source. id is the transactional id: unique among those that live,
// and the same after a restart.
func (s *Source) Transformer(group, id string, transform Transform, config TransformConfig) *Transformer {
	if config.Batch <= 0 {
		config.Batch = 500
	}
	if config.Redone == nil {
		config.Redone = func(error) {}
	}
	quiet := &Source{cluster: s.cluster, topic: s.topic, config: s.config}
	quiet.config.CommitEvery = -1 // positions move in transactions only
	return &Transformer{source: quiet, group: group, id: id, transform: transform, config: config, owner: &groupOwner{source: quiet, group: group}}
}

// Run works until ctx ends; a transaction that is under way then is finished.
func (t *Transformer) Run(ctx context.Context) error {
	sub, err := t.source.Subscribe(ctx, rollcall.SubscribeRequest{Group: t.group}, t.owner)
	if err != nil {
		return err
	}
	t.sub = sub.(*Subscription)
	defer func() { _ = t.sub.Close(context.WithoutCancel(ctx)) }()
	if t.tx, err = t.source.cluster.Transactor(ctx, t.id, t.config.Timeout, t.sub); err != nil {
		return err
	}
	defer t.tx.Close()
	for ctx.Err() == nil {
		if err := t.step(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// step is one transaction.
func (t *Transformer) step(ctx context.Context) error {
	batches, err := t.sub.fetch(ctx, t.config.Batch)
	if err != nil {
		return err
	}
	failed, err := t.work(ctx, batches)
	if failed == nil || err != nil {
		return err
	}
	t.config.Redone(failed)
	return t.again(ctx, batches)
}

// work is one transaction; partitions wait for it before they go. They must not wait for
// more: going back waits for the client, and the client for partitions that go.
func (t *Transformer) work(ctx context.Context, batches []rollcall.Batch) (failed, err error) {
	t.owner.busy.RLock()
	defer t.owner.busy.RUnlock()
	out, settled, err := t.apply(ctx, batches)
	if err != nil {
		return nil, err
	}
	failed = t.tx.Transact(context.WithoutCancel(ctx), settled, out)
	if errors.Is(failed, rollcall.ErrConfig) || errors.Is(failed, rollcall.ErrNoDestination) {
		return nil, failed
	}
	return failed, nil
}

// apply runs the handler.
func (t *Transformer) apply(ctx context.Context, batches []rollcall.Batch) (map[string][]rollcall.Message, []rollcall.Settlement, error) {
	out := make(map[string][]rollcall.Message)
	var settled []rollcall.Settlement
	for _, b := range batches {
		for _, d := range b.Deliveries {
			made, err := t.transform(ctx, d.Message)
			if err != nil {
				return nil, nil, fmt.Errorf("kafka: topic %q, partition %d, offset %d: %w", b.Partition.Destination, b.Partition.Number, d.Position.Offset, err)
			}
			for i, m := range made {
				if m.ID == "" {
					m.ID = derived(d.Position, b.Partition.Number, i)
				}
				if m.Time.IsZero() {
					m.Time = d.Time
				}
				out[m.Destination] = append(out[m.Destination], m)
			}
			settled = append(settled, rollcall.Settlement{Partition: b.Partition, Receipt: d.Receipt})
		}
	}
	return out, settled, nil
}

// derived is the id of the i-th message made of the one at a position.
func derived(at rollcall.Position, partition int32, i int) rollcall.MessageID {
	b := binary.BigEndian.AppendUint32(at.Incarnation[:], uint32(partition))
	b = binary.BigEndian.AppendUint64(b, uint64(at.Offset))
	sum := sha256.Sum256(binary.BigEndian.AppendUint32(b, uint32(i)))
	return rollcall.MessageID(hex.EncodeToString(sum[:16]))
}

// again goes back to what Kafka has as committed: the batch, or what follows it if it
// was committed after all.
func (t *Transformer) again(ctx context.Context, batches []rollcall.Batch) error {
	for try := 0; ctx.Err() == nil; try++ {
		if try > 0 {
			select {
			case <-time.After(againAfter):
			case <-ctx.Done():
				return nil
			}
		}
		if err := t.tx.Settle(ctx); err != nil {
			t.config.Redone(err)
			continue
		}
		if err := t.back(ctx, batches); err != nil {
			t.config.Redone(err)
			continue
		}
		return nil
	}
	return nil
}

// againAfter is the pause before the broker is asked again.
const againAfter = 500 * time.Millisecond

func (t *Transformer) back(ctx context.Context, batches []rollcall.Batch) error {
	for _, b := range batches {
		if len(b.Deliveries) == 0 {
			continue
		}
		starts, err := t.owner.committed(ctx, []int32{b.Partition.Number})
		if err != nil {
			return err
		}
		err = t.sub.restart(ctx, b.Partition, starts[0], b.Deliveries[0].Receipt.Session)
		if err != nil && !errors.Is(err, rollcall.ErrNotOwner) { // another member goes on, or we did, from there
			return err
		}
	}
	return nil
}
