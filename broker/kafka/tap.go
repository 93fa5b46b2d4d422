package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// tap reads all partitions of a topic by themselves: it is in no group, and commits
// nothing. All but watch is in the hands of who fetches.
type tap struct {
	source  *Source
	topic   *topic // as it is read now
	client  *kgo.Client
	parts   map[int32]*part
	paused  map[int32]bool // the client does not read them
	trouble error          // what the next Fetch tells

	alive context.Context // ends with Close
	stop  context.CancelFunc
	ended sync.WaitGroup
	look  chan struct{} // watch is to look now
	seen  chan sight    // what watch saw
	other *topic        // what is to be read once all of the old one is handed over
}

// sight is what watch saw of the topic.
type sight struct {
	topic *topic
	err   error
}

var _ rollcall.Tapper = (*Source)(nil)

// Tap implements rollcall.Tapper, by a client of its own that is in no group: it needs
// READ on the topic and nothing else. Since goes by the times that the messages carry,
// which their senders wrote unless the topic has LogAppendTime. What is not committed
// yet is not read, and stops what lies behind it. New partitions are found after ten
// seconds.
//
// Where messages went away before they were read, or the topic was made again, Fetch
// says so once (rollcall.ErrMissed) and goes on at what is there.
func (s *Source) Tap(ctx context.Context, since time.Time) (rollcall.Tap, error) {
	now, err := s.cluster.topic(ctx, s.topic.name)
	if err != nil {
		return nil, err
	}
	t := &tap{source: s, topic: now, paused: make(map[int32]bool), look: make(chan struct{}, 1), seen: make(chan sight)}
	if t.parts, err = t.begin(ctx, now, since); err != nil {
		return nil, err
	}
	if err := t.open(); err != nil {
		return nil, err
	}
	t.alive, t.stop = context.WithCancel(context.Background())
	t.ended.Go(t.watch)
	return t, nil
}

// begin puts every partition at its first message of since or later.
func (t *tap) begin(ctx context.Context, now *topic, since time.Time) (map[int32]*part, error) {
	admin := t.source.cluster.admin
	from, err := admin.ListStartOffsets(ctx, now.name)
	if !since.IsZero() && err == nil {
		from, err = admin.ListOffsetsAfterMilli(ctx, since.UnixMilli(), now.name)
	}
	if err = offsetsError(from, err); err != nil {
		return nil, denied(fmt.Errorf("kafka: topic %q: where to begin: %w", now.name, err))
	}
	parts := make(map[int32]*part, now.partitions)
	for n := range int32(now.partitions) {
		at, _ := from.Lookup(now.name, n)
		parts[n] = newPart(n, max(at.Offset, 0))
	}
	return parts, nil
}

func newPart(number int32, from int64) *part {
	p := &part{number: number}
	p.begin(place{from, from}, 0, 0)
	return p
}

// open reads on, with a new client: the old one would go on at the end, or nowhere,
// where a partition is not what it was.
func (t *tap) open() error {
	if t.client != nil {
		t.client.Close()
	}
	from := make(map[int32]kgo.Offset, len(t.parts))
	for n, p := range t.parts {
		from[n] = kgo.NewOffset().At(p.next)
	}
	options, err := t.source.cluster.options(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{t.topic.name: from}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), // it would move, and tell nobody
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.FetchMaxBytes(fetchBytes),
		kgo.FetchMaxPartitionBytes(tapBytes),
		kgo.FetchMaxWait(500*time.Millisecond),
	)
	if err != nil {
		return err
	}
	clear(t.paused)
	if t.client, err = kgo.NewClient(options...); err != nil {
		return fmt.Errorf("%w: kafka: %w", rollcall.ErrConfig, err)
	}
	return nil
}

// tapBytes is what one answer holds of a partition: more than where work is done, as
// nothing but reading is, and no more, so that the next is read while one is unpacked.
const tapBytes = 512 << 10

// Fetch implements rollcall.Tap.
func (t *tap) Fetch(ctx context.Context, request rollcall.FetchRequest) ([]rollcall.Batch, error) {
	for deadline := time.Now().Add(request.Wait); ; {
		if t.alive.Err() != nil {
			return nil, rollcall.ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := t.change(ctx); err != nil {
			return nil, err
		}
		t.pause(request.Paused)
		ready, n := t.ready(request.Paused)
		left := time.Until(deadline)
		if n >= max(1, request.Min) || t.trouble != nil || left <= 0 {
			batches := make([]rollcall.Batch, 0, len(ready))
			for _, p := range ready {
				batches = append(batches, t.take(p, max(1, request.Max)))
			}
			err := t.trouble
			t.trouble = nil
			return batches, err
		}
		t.poll(ctx, min(left, lookEvery))
	}
}

// lookEvery is how long a Fetch that waits does not see what watch found.
const lookEvery = time.Second

// ready are the partitions that have something to hand over, and how much.
func (t *tap) ready(paused []rollcall.Partition) (out []*part, n int) {
	for _, p := range t.parts {
		if len(p.buffer) > 0 && !slices.Contains(paused, t.source.partition(p.number)) {
			out, n = append(out, p), n+len(p.buffer)
		}
	}
	slices.SortFunc(out, func(a, b *part) int { return int(a.number - b.number) })
	return out, n
}

func (t *tap) take(p *part, most int) rollcall.Batch {
	before := p.handed
	b := p.take(t.source.partition(p.number), t.topic.id, most)
	p.settled.AddRange(uint64(before)+1, uint64(p.handed)) // so that it stays one range
	return b
}

// pause stops the client where nobody takes what it reads. Others are read only when
// little is left of them, so their buffers are small.
func (t *tap) pause(paused []rollcall.Partition) {
	for n, p := range t.parts {
		stop := len(p.buffer) >= t.source.config.Buffer && slices.Contains(paused, t.source.partition(n))
		switch these := map[string][]int32{t.topic.name: {n}}; {
		case stop && !t.paused[n]:
			t.paused[n] = true
			t.client.PauseFetchPartitions(these)
		case !stop && t.paused[n]:
			delete(t.paused, n)
			t.client.ResumeFetchPartitions(these)
		}
	}
}

// poll takes what the client has.
func (t *tap) poll(ctx context.Context, wait time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	fetches := t.client.PollFetches(ctx)
	fetches.EachPartition(t.keep)
}

func (t *tap) keep(f kgo.FetchTopicPartition) {
	p := t.parts[f.Partition]
	if f.Err != nil {
		t.failed(f.Err)
	}
	if p == nil || f.Topic != t.topic.name {
		return
	}
	for _, r := range f.Records {
		if r.Offset < p.next {
			t.miss("partition %d: offset %d came after offset %d: the log was cut off and filled again", p.number, r.Offset, p.next-1)
		}
		p.next = r.Offset + 1
	}
	if len(p.buffer) == 0 {
		p.buffer = f.Records
	} else {
		p.buffer = append(p.buffer, f.Records...)
	}
}

// failed judges what the client said: what may be another topic, or another place in
// it, is looked at.
func (t *tap) failed(err error) {
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kgo.ErrClientClosed):
		return
	case errors.Is(err, kerr.OffsetOutOfRange), errors.Is(err, kerr.UnknownTopicID), errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.InconsistentTopicID):
		select {
		case t.look <- struct{}{}:
		default:
		}
	default:
		var loss *kgo.ErrDataLoss
		if errors.As(err, &loss) {
			t.miss("partition %d: offsets %d to %d of leader epoch %d were cut off", loss.Partition, loss.ResetTo, loss.ConsumedTo-1, loss.ConsumedToEpoch)
			return
		}
		t.trouble = errors.Join(t.trouble, denied(advised(fmt.Errorf("kafka: topic %q: %w", t.topic.name, err))))
	}
}

// miss tells that messages were not read, and will not be.
func (t *tap) miss(format string, args ...any) {
	t.trouble = errors.Join(t.trouble, fmt.Errorf("%w: kafka: topic %q, %s", rollcall.ErrMissed, t.topic.name, fmt.Sprintf(format, args...)))
}

// Close implements rollcall.Tap.
func (t *tap) Close() error {
	t.stop()
	t.ended.Wait()
	t.client.Close()
	return nil
}
