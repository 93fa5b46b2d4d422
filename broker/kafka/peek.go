package kafka

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/slab"
)

// window are the messages of one partition from First to Last, as Peek has read them.
type window struct {
	partition   int32
	first, last int64
	messages    map[int64]rollcall.Message
}

// windowSize is how many offsets one Peek reads: who looks at one message mostly looks
// at those before it next.
const windowSize = 256

// windowBytes is what one answer holds, and at least one batch: with the usual mebibyte
// tens of thousands of records were unpacked to see one.
const windowBytes = 64 << 10

// Peek reads the message at a position, without touching any group. Where there is no
// message (a transaction's marker, aborted, compacted) it is the zero Message.
func (s *Source) Peek(ctx context.Context, partition rollcall.Partition, at rollcall.Position) (rollcall.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.window; w == nil || w.partition != partition.Number || at.Offset < w.first || at.Offset > w.last {
		w, err := s.read(ctx, partition.Number, at.Offset)
		if err != nil {
			return rollcall.Message{}, fmt.Errorf("kafka: topic %q, partition %d, offset %d: %w", s.topic.name, partition.Number, at.Offset, err)
		}
		s.window = w
	}
	return s.window.messages[at.Offset], nil
}

// read the offsets that end at last, by requests of ours: a client for each look would
// be a second of work where there are many partitions.
func (s *Source) read(ctx context.Context, number int32, last int64) (*window, error) {
	leader, err := s.leader(ctx, number)
	if err != nil {
		return nil, err
	}
	begin, err := s.cluster.admin.ListStartOffsets(ctx, s.topic.name)
	if err = offsetsError(begin, err); err != nil {
		return nil, err
	}
	from, _ := begin.Lookup(s.topic.name, number)
	w := &window{partition: number, first: max(from.Offset, last-windowSize+1), last: last, messages: make(map[int64]rollcall.Message)}
	for next := w.first; next <= last; {
		records, behind, err := s.fetch(ctx, leader, number, next)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			w.messages[r.Offset] = message(r, new(slab.Strings))
		}
		if behind <= next { // nothing lies there, up to the end
			break
		}
		next = behind
	}
	return w, nil
}

// errNoLeader: a partition cannot be asked now.
var errNoLeader = fmt.Errorf("%w: it has no leader now", kerr.LeaderNotAvailable)

// fetch reads what a leader has from an offset on, and says behind which it lies.
func (s *Source) fetch(ctx context.Context, leader, number int32, offset int64) ([]*kgo.Record, int64, error) {
	answer, err := s.ask(ctx, leader, number, offset, windowBytes)
	if err != nil {
		return nil, 0, err
	}
	records, behind, err := s.unpack(answer, number, offset, kgo.ReadCommitted())
	return slices.DeleteFunc(records, func(r *kgo.Record) bool { return r.Attrs.IsControl() }), behind, err
}

// ask a leader for what it has from an offset on, up to the first open transaction.
func (s *Source) ask(ctx context.Context, leader, number int32, offset int64, most int32) (*kmsg.FetchResponseTopicPartition, error) {
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = number, offset, most
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID, t.Partitions = s.topic.name, s.topic.id, append(t.Partitions, p)
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.IsolationLevel, req.Topics = most, readCommitted, append(req.Topics, t)
	answer, err := s.cluster.client.Broker(int(leader)).RetriableRequest(ctx, req)
	if err != nil {
		return nil, err
	}
	resp := answer.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, fmt.Errorf("the broker's answer has %d topics, one was asked for", len(resp.Topics))
	}
	return &resp.Topics[0].Partitions[0], nil
}

// readCommitted is the isolation level of a Fetch request.
const readCommitted = 1
