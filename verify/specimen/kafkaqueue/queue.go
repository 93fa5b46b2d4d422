// Package kafkaqueue is a Kafka topic as the queue of the textbook patterns, on
// franz-go alone and as an engineer who knows Kafka would write it: a consumer group,
// no auto-commit, each offset committed where the pattern says, and the answer waited
// for.
package kafkaqueue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rollcall-mq/rollcall/verify/specimen"
)

const (
	// poll is how long one look at the broker waits for a message.
	poll = 20 * time.Millisecond
	// patience is how long the broker may take for an answer.
	patience = 15 * time.Second
)

// Config is the settings of a Queue. All fields but Own and Dial are needed.
type Config struct {
	Brokers []string
	Topic   string // of one partition, number 0
	Group   string
	// SessionTimeout is how long a member may be silent before another gets the
	// partition.
	SessionTimeout time.Duration
	// Decode reads the order out of a record.
	Decode func(*kgo.Record) (specimen.Message, error)
	// Own is where a pattern that keeps offsets of its own starts. Nil: where the
	// group has committed.
	Own func(context.Context) (int64, error)
	// Dial opens connections. Nil: TCP.
	Dial func(ctx context.Context, network, host string) (net.Conn, error)
}

// Queue is one member of the group. Receive, Ack and Nack are called by one goroutine.
type Queue struct {
	config Config
	client *kgo.Client
	admin  *kadm.Client

	mu     sync.Mutex
	owned  bool
	next   int64 // offset that comes next
	latest *kgo.Record
}

var _ specimen.Queue = (*Queue)(nil)

// Open joins the group.
func Open(config Config) (*Queue, error) {
	q := &Queue{config: config}
	options := []kgo.Opt{
		kgo.SeedBrokers(config.Brokers...),
		kgo.ConsumerGroup(config.Group),
		kgo.ConsumeTopics(config.Topic),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(config.SessionTimeout),
		kgo.HeartbeatInterval(config.SessionTimeout / 6),
		kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.MetadataMinAge(250 * time.Millisecond), // a worker is soon at work
		kgo.AdjustFetchOffsetsFn(q.begin),
		kgo.OnPartitionsRevoked(q.gone),
		kgo.OnPartitionsLost(q.gone),
	}
	if config.Dial != nil {
		options = append(options, kgo.Dialer(config.Dial))
	}
	var err error
	if q.client, err = kgo.NewClient(options...); err != nil {
		return nil, fmt.Errorf("kafkaqueue: %w", err)
	}
	q.admin = kadm.NewClient(q.client)
	return q, nil
}

// Close leaves the group, so that the next member need not wait for its timeout.
func (q *Queue) Close() { q.client.Close() }

// begin says where to read a partition that has become ours: where the group has
// committed, unless the pattern knows better.
func (q *Queue) begin(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	committed, ours := offsets[q.config.Topic][0]
	if !ours {
		return offsets, nil
	}
	next := max(0, committed.EpochOffset().Offset) // below: nothing is committed
	if q.config.Own != nil {
		var err error
		if next, err = q.config.Own(ctx); err != nil {
			return nil, err
		}
		offsets[q.config.Topic][0] = kgo.NewOffset().At(next)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.owned, q.next = true, next
	return offsets, nil
}

// gone is told of every rebalance, also when the partition stays.
func (q *Queue) gone(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.owned = q.owned && len(gone[q.config.Topic]) == 0
}

// Receive waits for the next message. The topic is worked off when the partition is
// ours and nothing lies in it after what came last.
func (q *Queue) Receive(ctx context.Context) (specimen.Message, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("kafkaqueue: waited %v for the partition of %s or a message", patience, q.config.Topic))
	defer cancel()
	for {
		r, err := q.poll(ctx)
		if err != nil {
			return specimen.Message{}, err
		}
		if r != nil {
			return q.take(r)
		}
		empty, err := q.empty(ctx)
		if err != nil {
			return specimen.Message{}, err
		}
		if empty {
			return specimen.Message{}, io.EOF
		}
	}
}

// poll is one look; nil: nothing came.
func (q *Queue) poll(ctx context.Context) (*kgo.Record, error) {
	short, cancel := context.WithTimeout(ctx, poll)
	defer cancel()
	fetches := q.client.PollRecords(short, 1)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for _, e := range fetches.Errors() {
		var session *kgo.ErrGroupSession // told for the log: the client joins again by itself
		if !errors.Is(e.Err, context.DeadlineExceeded) && !errors.As(e.Err, &session) {
			return nil, fmt.Errorf("kafkaqueue: %s: %w", q.config.Topic, e.Err)
		}
	}
	for _, r := range fetches.Records() {
		return r, nil
	}
	return nil, nil
}

func (q *Queue) take(r *kgo.Record) (specimen.Message, error) {
	q.mu.Lock()
	q.next, q.latest = r.Offset+1, r
	q.mu.Unlock()
	m, err := q.config.Decode(r)
	m.Offset = r.Offset
	return m, err
}

func (q *Queue) empty(ctx context.Context) (bool, error) {
	q.mu.Lock()
	owned, next := q.owned, q.next
	q.mu.Unlock()
	if !owned {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ends, err := q.admin.ListEndOffsets(ctx, q.config.Topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return false, fmt.Errorf("kafkaqueue: where %s ends: %w", q.config.Topic, err)
	}
	end, _ := ends.Lookup(q.config.Topic, 0)
	return next >= end.Offset, nil
}

// Ack commits the offset and waits for the answer.
func (q *Queue) Ack(ctx context.Context, m specimen.Message) error {
	q.mu.Lock()
	r := q.latest
	q.mu.Unlock()
	if r == nil || r.Offset != m.Offset {
		return fmt.Errorf("kafkaqueue: %s is not the message in hand", m.ID)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return q.client.CommitRecords(ctx, r)
}

// Nack reads on from where a restart would begin.
func (q *Queue) Nack(ctx context.Context, _ specimen.Message) error {
	next, err := q.restart(ctx)
	if err != nil {
		return err
	}
	q.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{q.config.Topic: {0: {Epoch: -1, Offset: next}}})
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next = next
	return nil
}

func (q *Queue) restart(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if q.config.Own != nil {
		return q.config.Own(ctx)
	}
	committed, err := q.admin.FetchOffsets(ctx, q.config.Group)
	if err != nil {
		return 0, fmt.Errorf("kafkaqueue: what %s has committed: %w", q.config.Group, err)
	}
	at, ok := committed.Lookup(q.config.Topic, 0)
	if !ok {
		return 0, nil
	}
	return max(0, at.At), at.Err
}
