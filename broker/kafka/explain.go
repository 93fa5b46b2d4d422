package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/slab"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var (
	_ rollcall.Explainer = (*Source)(nil)
	_ rollcall.Noter     = (*Source)(nil)
)

// Explain implements rollcall.Explainer. Within the log it reads the records, with those
// that were aborted; an offset that holds none was compacted away. What lies in a
// transaction that is still open is no hole: nobody knows yet.
func (s *Source) Explain(ctx context.Context, partition rollcall.Partition, first, last int64) ([]rollcall.Hole, error) {
	holes, err := s.explain(ctx, partition.Number, max(first, 0), last)
	if err != nil {
		return nil, denied(fmt.Errorf("kafka: topic %q, partition %d, offsets %d to %d: %w", s.topic.name, partition.Number, first, last, err))
	}
	return holes, nil
}

func (s *Source) explain(ctx context.Context, number int32, first, last int64) ([]rollcall.Hole, error) {
	begin, err := s.cluster.admin.ListStartOffsets(ctx, s.topic.name)
	if err = offsetsError(begin, err); err != nil {
		return nil, err
	}
	end, err := s.cluster.admin.ListEndOffsets(ctx, s.topic.name)
	if err = offsetsError(end, err); err != nil {
		return nil, err
	}
	from, known := begin.Lookup(s.topic.name, number)
	to, _ := end.Lookup(s.topic.name, number)
	if !known {
		return nil, fmt.Errorf("%w: there is no such partition", rollcall.ErrNoDestination)
	}
	e := &explanation{next: first}
	if first < from.Offset {
		e.hole(min(last, from.Offset-1), rollcall.HoleRemoved)
	}
	if err := s.within(ctx, e, number, min(last, to.Offset-1)); err != nil {
		return nil, err
	}
	if last >= to.Offset {
		e.next = max(first, to.Offset)
		e.hole(last, rollcall.HoleBeyond)
	}
	return e.holes, nil
}

// within explains what lies in the log, up to last or the first open transaction.
func (s *Source) within(ctx context.Context, e *explanation, number int32, last int64) error {
	leader, err := s.leader(ctx, number)
	if err != nil {
		return err
	}
	for e.next <= last {
		at := e.next
		answer, err := s.ask(ctx, leader, number, at, explainBytes)
		if err != nil {
			return err
		}
		all, behind, err := s.unpack(answer, number, at, kgo.ReadUncommitted())
		if err != nil {
			return err
		}
		given, _, err := s.unpack(answer, number, at, kgo.ReadCommitted())
		if err != nil {
			return err
		}
		if behind <= at { // the rest is in an open transaction
			return nil
		}
		e.read(all, given, min(last, behind-1))
	}
	return nil
}

// explainBytes is what one answer holds.
const explainBytes = 1 << 20

// leader of a partition.
func (s *Source) leader(ctx context.Context, number int32) (int32, error) {
	all, err := s.cluster.admin.Metadata(ctx, s.topic.name)
	if err != nil {
		return 0, err
	}
	detail, ok := all.Topics[s.topic.name].Partitions[number]
	if !ok || detail.Err != nil || detail.Leader < 0 {
		return 0, errNoLeader
	}
	return detail.Leader, nil
}

// unpack the records of an answer, with Kafka's own markers, and behind which offset it
// lies.
func (s *Source) unpack(answer *kmsg.FetchResponseTopicPartition, number int32, offset int64, level kgo.IsolationLevel) ([]*kgo.Record, int64, error) {
	options := kgo.ProcessFetchPartitionOpts{Offset: offset, IsolationLevel: level, Topic: s.topic.name, Partition: number, KeepControlRecords: true}
	read, behind := kgo.ProcessFetchPartition(options, answer, kgo.DefaultDecompressor(), nil)
	return read.Records, behind, read.Err
}

// explanation is what is known of the offsets below next.
type explanation struct {
	holes []rollcall.Hole
	next  int64
}

// hole up to last, of one cause.
func (e *explanation) hole(last int64, cause rollcall.HoleCause, stamps ...rollcall.Stamp) {
	if last < e.next {
		return
	}
	if n := len(e.holes) - 1; n >= 0 && e.holes[n].Cause == cause && e.holes[n].Last == e.next-1 {
		e.holes[n].Last = last
		e.holes[n].Stamps = append(e.holes[n].Stamps, stamps...)
	} else {
		e.holes = append(e.holes, rollcall.Hole{First: e.next, Last: last, Cause: cause, Stamps: stamps})
	}
	e.next = last + 1
}

// read compares all that lies up to last with what readers are given of it.
func (e *explanation) read(all, given []*kgo.Record, last int64) {
	delivered := make(map[int64]bool, len(given))
	for _, r := range given {
		delivered[r.Offset] = true
	}
	for _, r := range all {
		if r.Offset > last {
			break
		}
		e.hole(r.Offset-1, rollcall.HoleCompacted)
		switch {
		case r.Attrs.IsControl():
			e.hole(r.Offset, rollcall.HoleMarker)
		case !delivered[r.Offset]:
			var stamps []rollcall.Stamp
			if m := message(r, new(slab.Strings)); !m.Stamp.IsZero() {
				stamps = append(stamps, m.Stamp)
			}
			e.hole(r.Offset, rollcall.HoleAborted, stamps...)
		default:
			e.next = r.Offset + 1
		}
	}
	e.hole(last, rollcall.HoleCompacted)
}

// Noted implements rollcall.Noter: the offsets that the group has committed.
func (s *Source) Noted(ctx context.Context, group string) (map[rollcall.Partition]int64, error) {
	committed, err := s.cluster.admin.FetchOffsetsForTopics(ctx, group, s.topic.name)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, denied(fmt.Errorf("kafka: topic %q, group %q: what is committed: %w", s.topic.name, group, err))
	}
	out := make(map[rollcall.Partition]int64)
	for n, o := range committed[s.topic.name] {
		if o.At >= 0 {
			out[s.partition(n)] = o.At
		}
	}
	return out, nil
}
