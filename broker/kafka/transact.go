package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Transactor sends messages as one: readers of committed messages see all of them or
// none. With a Subscription the positions that were consumed move in the same
// transaction. One transaction at a time; it is safe for concurrent use.
//
// The MessageID stays in the headers: whoever forwards them beyond Kafka can still
// refuse a repeat. It keeps no books (rollcall.BooksConfig): it gives out no numbers.
type Transactor struct {
	cluster *Cluster
	id      string
	timeout time.Duration
	member  *Subscription

	mu      sync.Mutex
	client  *kgo.Client // nil: to be made
	answers *answers
	lanes   map[string]rollcall.Lanes
}

var _ rollcall.Transactor = (*Transactor)(nil)

// transactionVersion is what makes an EndTxn whose answer was late harmless for the
// next transaction (KIP-890 part 2); Kafka 4 has it.
const transactionVersion = 2

// Transactor makes one. The id is its name with the broker: unique among those that
// live, and the same after a restart, so that what a dead one left open is aborted at
// once, not after its timeout. timeout is the longest that a transaction may take;
// 0: 40 s. member may be nil.
func (c *Cluster) Transactor(ctx context.Context, id string, timeout time.Duration, member *Subscription) (*Transactor, error) {
	if id == "" {
		return nil, configError("transactional id", `""`, "give a name that is unique among those that live, and the same after a restart")
	}
	versions, err := c.admin.ApiVersions(ctx)
	if err != nil {
		return nil, unreachable(c.brokers, err)
	}
	for _, broker := range versions.Sorted() {
		if broker.Err != nil {
			continue
		}
		level := int16(0)
		for _, f := range broker.Raw().FinalizedFeatures {
			if f.Name == "transaction.version" {
				level = f.MaxVersionLevel
			}
		}
		if level < transactionVersion {
			return nil, configError("transaction.version of the cluster", level, "a late answer could end the next transaction: upgrade to Kafka 4, or kafka-features.sh upgrade --feature transaction.version=2")
		}
	}
	return &Transactor{cluster: c, id: id, timeout: orDefault(timeout, 40*time.Second), member: member, lanes: make(map[string]rollcall.Lanes)}, nil
}

// open makes the producer. Its first request fences who used the id before, and aborts
// what that left open.
func (t *Transactor) open(ctx context.Context) error {
	if t.client != nil {
		return nil
	}
	t.answers = new(answers)
	options, err := t.cluster.options(
		kgo.WithHooks(t.answers),
		kgo.TransactionalID(t.id),
		kgo.TransactionTimeout(t.timeout),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchMaxBytesFn(t.cluster.batchBytes),
	)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return fmt.Errorf("%w: kafka: %w", rollcall.ErrConfig, err)
	}
	if _, _, err := client.ProducerID(ctx); err != nil {
		client.Close()
		return denied(fmt.Errorf("kafka: transactional id %q: %w", t.id, err))
	}
	t.client = client
	return nil
}

// reset gives up the producer: the next one fences it, whatever became of its
// transaction.
func (t *Transactor) reset() {
	if t.client != nil {
		t.client.Close()
		t.client = nil
	}
}

// Close gives up the connection; what is open is aborted by the next of the same id,
// or after its timeout.
func (t *Transactor) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reset()
}

// Transact implements rollcall.Transactor. A message without a stamp goes to the
// partition of its Key. ErrInDoubt: it may have happened, and what Kafka has as
// committed tells, once the next Transact or Settled has begun. Any other error: it
// has not.
func (t *Transactor) Transact(ctx context.Context, settled []rollcall.Settlement, out map[string][]rollcall.Message) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(out) == 0 && len(settled) == 0 {
		return nil
	}
	// A broker that is away does not hold the caller for ever: what takes longer is
	// aborted by the broker anyway.
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	records, err := t.records(ctx, out)
	if err != nil {
		return err
	}
	if len(settled) > 0 && t.member == nil {
		return configError("settled", len(settled), "this Transactor has no Subscription whose positions could move")
	}
	if err := t.open(ctx); lasting(err) {
		return err
	} else if err != nil {
		return fmt.Errorf("%w: %w", rollcall.ErrTryAgain, err)
	}
	if len(records) == 0 { // no transaction is needed, and the client would not end one
		return t.moveOnly(ctx, settled)
	}
	answers := t.answers
	lost := answers.lost.Load()
	if err := t.run(ctx, settled, records); err != nil {
		doubt := errors.Is(err, errUnconfirmed) || errors.Is(err, errCommit) && answers.lost.Load() != lost
		t.abandon(ctx)
		if doubt {
			return fmt.Errorf("%w: kafka: transaction of %q: %w", rollcall.ErrInDoubt, t.id, err)
		}
		return denied(fmt.Errorf("%w: kafka: transaction of %q was aborted: %w", rollcall.ErrTryAgain, t.id, answers.because(err)))
	}
	return nil
}

var (
	errCommit      = errors.New("the broker refused to commit")
	errUnconfirmed = errors.New("no answer whether it was committed")
)

func (t *Transactor) run(ctx context.Context, settled []rollcall.Settlement, records []*kgo.Record) error {
	if err := t.client.BeginTransaction(); err != nil {
		return err
	}
	if err := t.produce(ctx, records); err != nil {
		return err
	}
	if len(settled) > 0 {
		if err := t.move(ctx, settled); err != nil {
			return err
		}
	}
	// Cancelling the request would leave the outcome open: the transaction's own
	// timeout bounds it.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.timeout)
	defer cancel()
	err := t.client.EndTransaction(ending, kgo.TryCommit)
	var answer *kerr.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kerr.OperationNotAttempted):
		return err
	case errors.As(err, &answer) && !answer.Retriable && answer.Code != kerr.UnknownServerError.Code:
		return fmt.Errorf("%w: %w", errCommit, err)
	}
	return fmt.Errorf("%w: %w", errUnconfirmed, err)
}

// produce waits until all are stored, no longer than ctx. The client itself goes on with
// what it has sent once, until it is given up.
func (t *Transactor) produce(ctx context.Context, records []*kgo.Record) error {
	results := make(chan kgo.ProduceResults, 1)
	client := t.client
	go func() { results <- client.ProduceSync(ctx, records...) }()
	select {
	case <-ctx.Done():
		return fmt.Errorf("no answer in time: %w", context.Cause(ctx))
	case all := <-results:
		for _, r := range all {
			if r.Err != nil {
				return fmt.Errorf("topic %q: %w", r.Record.Topic, r.Err)
			}
		}
		return nil
	}
}

// abandon aborts what can be aborted, and gives up the producer.
func (t *Transactor) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitPatience)
	defer cancel()
	if t.client.AbortBufferedRecords(ctx) == nil {
		_ = t.client.EndTransaction(ctx, kgo.TryAbort) // whoever opens next aborts it otherwise
	}
	t.reset()
}

func (t *Transactor) records(ctx context.Context, out map[string][]rollcall.Message) ([]*kgo.Record, error) {
	var records []*kgo.Record
	for destination, messages := range out {
		lanes := t.lanes[destination]
		if lanes == nil || t.cluster.known(destination) == nil {
			var err error
			if lanes, err = t.cluster.Sender().Lanes(ctx, destination); err != nil {
				return nil, err
			}
			t.lanes[destination] = lanes
		}
		known := t.cluster.known(destination)
		if known == nil {
			return nil, fmt.Errorf("%w: kafka: topic %q was made again since; try once more", rollcall.ErrTryAgain, destination)
		}
		for i := range messages {
			m := messages[i]
			if m.Stamp.IsZero() {
				m.Partition = lanes.Pick(&m)
			}
			r, err := record(known, &m, time.Now())
			if err != nil {
				return nil, err
			}
			records = append(records, r)
		}
	}
	return records, nil
}

// move puts the positions behind what was settled into the transaction. The broker
// refuses a member that the group has gone on without.
func (t *Transactor) move(ctx context.Context, settled []rollcall.Settlement) error {
	// Who we are comes before what is ours: a member that lost its partitions and
	// joined again between the two would move what is others' with its new name.
	member, generation := t.member.client.GroupMetadata()
	next, err := t.member.behind(settled)
	if err != nil {
		return err
	}
	id, epoch, err := t.client.ProducerID(ctx)
	if err != nil {
		return err
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = t.id, t.member.group, id, epoch
	req.MemberID, req.Generation = member, generation
	if instance := t.member.source.config.Instance; instance != "" {
		req.InstanceID = &instance
	}
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic, topic.TopicID = t.member.source.topic.name, t.member.source.topic.id
	for number, offset := range next {
		p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset = number, offset
		topic.Partitions = append(topic.Partitions, p)
	}
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, t.client)
	if err != nil {
		return err
	}
	for _, rt := range resp.Topics {
		for _, rp := range rt.Partitions {
			if err := kerr.ErrorForCode(rp.ErrorCode); err != nil {
				return fmt.Errorf("positions of group %q: %w", t.member.group, err)
			}
		}
	}
	return nil
}

// moveOnly commits positions behind messages of which nothing was made.
func (t *Transactor) moveOnly(ctx context.Context, settled []rollcall.Settlement) error {
	next, err := t.member.behind(settled)
	if err != nil {
		return err
	}
	if err := t.member.commitOffsets(ctx, next); err != nil {
		return fmt.Errorf("%w: kafka: positions of group %q: %w", rollcall.ErrInDoubt, t.member.group, err)
	}
	return nil
}

// Settle fixes what became of a transaction in doubt: when it returns, what Kafka has
// as committed will not change by it any more.
func (t *Transactor) Settle(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open(ctx)
}

// behind are the offsets behind what is settled, by partition.
func (s *Subscription) behind(settled []rollcall.Settlement) (map[int32]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := make(map[int32]int64)
	for _, x := range settled {
		p := s.parts[x.Partition.Number]
		switch {
		case p == nil || x.Partition.Destination != s.source.topic.name:
			return nil, rollcall.ErrNotOwner
		case x.Receipt.Session != p.session:
			return nil, rollcall.ErrStaleReceipt
		}
		next[p.number] = max(next[p.number], int64(x.Receipt.Number)+1)
	}
	return next, nil
}
