package kafka

import (
	"context"
	"fmt"

	"github.com/rollcall-mq/rollcall"
	"github.com/twmb/franz-go/pkg/kgo"
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

// read the offsets that end at last.
func (s *Source) read(ctx context.Context, partition int32, last int64) (*window, error) {
	begin, err := s.cluster.admin.ListStartOffsets(ctx, s.topic.name)
	if err = offsetsError(begin, err); err != nil {
		return nil, err
	}
	from, _ := begin.Lookup(s.topic.name, partition)
	w := &window{partition: partition, first: max(from.Offset, last-windowSize+1), last: last, messages: make(map[int64]rollcall.Message)}
	options, err := s.cluster.options(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.topic.name: {partition: kgo.NewOffset().At(w.first)}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.FetchMaxPartitionBytes(windowBytes),
	)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for next := w.first; next <= last; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if !r.Attrs.IsControl() {
				w.messages[r.Offset] = message(r)
			}
		})
	}
	return w, nil
}
