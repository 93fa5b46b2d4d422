package audit_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/audit"
	"github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/rollcall-mq/rollcall/internal/interval"
	"github.com/rollcall-mq/rollcall/internal/servers"
)

// patience is the deadline of every wait of these tests.
const patience = time.Minute

func wait(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// bench is one real broker with a topic, and senders that remember what became of
// each of their messages.
type bench struct {
	t       *testing.T
	server  *servers.Server
	admin   *kadm.Client
	topic   string
	cluster *kafka.Cluster
	senders []*rollcall.Publisher
	// acked is where each acknowledged number lay.
	acked map[audit.LaneKey]map[uint64]rollcall.Position
	sent  int
	began time.Time
	lanes rollcall.Lanes
}

func newBench(t *testing.T, topic string, partitions int32, settings map[string]string) *bench {
	t.Helper()
	b := &bench{t: t, topic: topic, acked: make(map[audit.LaneKey]map[uint64]rollcall.Position), began: time.Now()}
	b.server = servers.Start(t, servers.Kafka, servers.Config{Settings: map[string]string{
		"log.retention.check.interval.ms": "500", "log.cleaner.backoff.ms": "300", "log.segment.delete.delay.ms": "100", "log.initial.task.delay.ms": "500"}})
	client, err := kgo.NewClient(kgo.SeedBrokers(b.server.Addr), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	b.admin = kadm.NewClient(client)
	b.create(topic, partitions, settings)
	b.cluster = b.open()
	if b.lanes, err = b.cluster.Sender().Lanes(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s, as asked from it: %s", b.server.Addr, b.cluster.Version())
	return b
}

func (b *bench) create(topic string, partitions int32, settings map[string]string) {
	b.t.Helper()
	values := make(map[string]*string)
	for name, value := range settings {
		values[name] = &value
	}
	if _, err := b.admin.CreateTopic(b.t.Context(), partitions, 1, values, topic); err != nil {
		b.t.Fatal(err)
	}
	wait(b.t, "the leaders of "+topic, func() bool {
		ends, err := b.admin.ListEndOffsets(context.Background(), topic)
		return err == nil && ends.Error() == nil && len(ends[topic]) == int(partitions)
	})
}

// source of a topic.
func (b *bench) source(topic string) *kafka.Source {
	b.t.Helper()
	s, err := b.cluster.Source(b.t.Context(), topic, kafka.SourceConfig{AcceptLost: true, SessionTimeout: 6 * time.Second})
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *bench) open() *kafka.Cluster {
	b.t.Helper()
	cluster, err := kafka.Open(b.t.Context(), []string{b.server.Addr}, kafka.Config{Warn: func(string) {}})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(cluster.Close)
	return cluster
}

// sender begins a new life.
func (b *bench) sender(name string) *rollcall.Publisher {
	p := rollcall.NewPublisher(b.cluster.Sender(), rollcall.PublisherConfig{Observer: quiet,
		Books: rollcall.BooksConfig{Sender: name, Every: 100 * time.Millisecond, Idle: time.Second}})
	b.senders = append(b.senders, p)
	return p
}

// send publishes n messages and remembers where they lie.
func (b *bench) send(p *rollcall.Publisher, n int) {
	b.t.Helper()
	b.t.Logf("%v: sending %d", time.Since(b.began).Round(100*time.Millisecond), n)
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	for n > 0 {
		batch := make([]rollcall.Message, min(n, 2000))
		for i := range batch {
			batch[i] = rollcall.Message{Key: fmt.Sprint(b.sent % 997), Body: fmt.Appendf(nil, "message %d of %s", b.sent, b.topic)}
			b.sent++
		}
		for i, r := range p.Publish(ctx, b.topic, batch...) {
			if r.Fate != rollcall.Stored {
				b.t.Fatalf("message %d: %v %v", i, r.Fate, r.Err)
			}
			b.remember(p, &batch[i], r.Position)
		}
		n -= len(batch)
	}
}

// remember numbers as the publisher does: 1, 2, 3 … a partition, in order.
func (b *bench) remember(p *rollcall.Publisher, m *rollcall.Message, at rollcall.Position) {
	key := audit.LaneKey{Life: p.Life(), Origin: rollcall.OriginOf(b.topic), Lane: uint32(b.lanes.Pick(m))}
	if b.acked[key] == nil {
		b.acked[key] = make(map[uint64]rollcall.Position)
	}
	b.acked[key][uint64(len(b.acked[key])+1)] = at
}

// books waits until the side destination says what the senders know.
func (b *bench) books(in *audit.Inputs) {
	b.t.Helper()
	wait(b.t, "the side destination", func() bool {
		side, err := b.cluster.Source(context.Background(), rollcall.SideDestination, kafka.SourceConfig{})
		in.Side = side
		return err == nil
	})
}

// known steps until the books have all that was acknowledged.
func (b *bench) known(w *audit.Watch) {
	b.t.Helper()
	total := uint64(0)
	for _, numbers := range b.acked {
		total += uint64(len(numbers))
	}
	var last audit.Sums
	wait(b.t, fmt.Sprintf("books of %d acknowledged numbers", total), func() bool {
		r := step(b.t, w, time.Now())
		for _, last = range r.Totals {
		}
		return last.Stored == total
	})
}

// lostBelow adds to truth what lay at offsets from first up to end of a partition.
func (b *bench) lost(truth map[audit.LaneKey]*interval.Set, partition int32, first, end int64) {
	for key, numbers := range b.acked {
		if key.Lane != uint32(partition) {
			continue
		}
		for n, at := range numbers {
			if at.Offset >= first && at.Offset < end {
				if truth[key] == nil {
					truth[key] = &interval.Set{}
				}
				truth[key].Add(n)
			}
		}
	}
}

// compare what was found lost with what was.
func compare(t *testing.T, r *audit.Report, truth map[audit.LaneKey]*interval.Set) (planted uint64) {
	t.Helper()
	found := told(r, audit.AtEffect, audit.Lost)
	for key, want := range truth {
		planted += want.Count()
		got := found[key]
		if got == nil {
			got = &interval.Set{}
		}
		for miss := range want.Without(got) {
			t.Errorf("lane %d of life %s: %d-%d are lost and not named", key.Lane, key.Life, miss.First, miss.Last)
		}
		for wrong := range got.Without(want) {
			t.Errorf("lane %d of life %s: %d-%d are named and not lost", key.Lane, key.Life, wrong.First, wrong.Last)
		}
		delete(found, key)
	}
	for key, wrong := range found {
		t.Errorf("lane %d of life %s: %d numbers are named and not lost", key.Lane, key.Life, wrong.Count())
	}
	return planted
}

// causes counts the lost numbers of a report by cause.
func causes(r *audit.Report) map[audit.Cause]uint64 {
	out := make(map[audit.Cause]uint64)
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Verdict == audit.Lost {
			out[f.Cause] += f.Count()
		}
	}
	return out
}

// TestAuditKafka: 100,000 messages on a real broker; of what the group has not done,
// records are deleted, retention takes segments, and the log is replaced by an older
// copy. Just those numbers are named, each with its cause.
func TestAuditKafka(t *testing.T) {
	b := newBench(t, "orders", 4, map[string]string{"retention.ms": "-1", "segment.ms": "500"})
	store := openStore(t)
	truth := make(map[audit.LaneKey]*interval.Set)
	source := func() *kafka.Source { return b.source("orders") }
	in := audit.Inputs{Log: source(), Store: store}
	ann, bob, cid := b.sender("ann"), b.sender("bob"), b.sender("cid")
	b.send(ann, 30_000)
	b.send(bob, 20_000)
	consume(t, "billing", source(), store)
	b.books(&in)
	answer := func() *audit.Report { // of a watch that begins now
		t.Logf("%v: asking", time.Since(b.began).Round(100*time.Millisecond))
		defer func() { t.Logf("%v: answered", time.Since(b.began).Round(100*time.Millisecond)) }()
		w := watch(t, in, audit.Config{Group: "billing", Grace: time.Second, MaxFindings: 1 << 20})
		b.known(w)
		return judged(t, w, patience)
	}
	want(t, answer(), "")

	// Deleted, before the group did them.
	done := b.ends()
	b.send(ann, 10_000)
	b.send(cid, 10_000)
	var below kadm.Offsets
	below.AddOffset("orders", 0, done[0]+3000, -1)
	below.AddOffset("orders", 1, done[1]+100, -1)
	if _, err := b.admin.DeleteRecords(t.Context(), below); err != nil {
		t.Fatal(err)
	}
	b.lost(truth, 0, done[0], done[0]+3000)
	b.lost(truth, 1, done[1], done[1]+100)
	r := answer()
	t.Logf("deleted: %d lost, %v", compare(t, r, truth), causes(r))
	consume(t, "billing", source(), store)
	r = answer()
	compare(t, r, truth)
	if got := causes(r)[audit.CauseRemoved]; got != r.Totals[audit.AtEffect].Lost || r.Totals[audit.AtEffect].ToGo != 0 {
		t.Errorf("the group went on behind them: %v, %+v", causes(r), r.Totals)
	}

	// Retention takes whole segments, before the group did them.
	done = b.ends()
	b.send(bob, 10_000)
	time.Sleep(600 * time.Millisecond) // segment.ms: the next record begins another segment
	b.send(cid, 1000)
	b.retention("1")
	first := b.starts()
	wait(t, "retention", func() bool {
		first = b.starts()
		return first[0] > done[0] && first[1] > done[1] && first[2] > done[2] && first[3] > done[3]
	})
	b.retention("-1")
	time.Sleep(time.Second) // what was on its way to be removed
	first = b.starts()
	for n := range int32(4) {
		b.lost(truth, n, done[n], first[n])
	}
	r = answer()
	t.Logf("retention: %d lost, %v", compare(t, r, truth), causes(r))
	consume(t, "billing", source(), store)

	// The log is replaced by an older copy; the senders live on, and send more.
	end := b.ends()
	b.replace(func() { b.send(ann, 12_000); b.send(bob, 8000) })
	in.Log = source()
	for n := range int32(4) {
		b.lost(truth, n, end[n], 1<<62)
	}
	b.send(ann, 200)
	r = answer() // what may still lie where the group has not come is to go
	t.Logf("older copy: %v", causes(r))
	consume(t, "billing", source(), store)
	r = answer()
	if planted := compare(t, r, truth); b.sent < 100_000 || planted == 0 || r.Totals[audit.AtEffect].Lost != planted {
		t.Errorf("%d messages, %d lost, %+v", b.sent, planted, r.Totals)
	}
	t.Logf("%d messages, %d lives, lost %v, precision = recall = 1 if nothing is reported above", b.sent, r.Lives, causes(r))
}

func (b *bench) offsets(list func(context.Context, ...string) (kadm.ListedOffsets, error)) map[int32]int64 {
	b.t.Helper()
	out := make(map[int32]int64)
	var err error
	wait(b.t, "the offsets of "+b.topic, func() bool {
		var all kadm.ListedOffsets
		if all, err = list(context.Background(), b.topic); err != nil || all.Error() != nil {
			return false
		}
		all.Each(func(o kadm.ListedOffset) { out[o.Partition] = o.Offset })
		return true
	})
	return out
}

func (b *bench) ends() map[int32]int64   { return b.offsets(b.admin.ListEndOffsets) }
func (b *bench) starts() map[int32]int64 { return b.offsets(b.admin.ListStartOffsets) }

func (b *bench) retention(ms string) {
	b.t.Helper()
	if _, err := b.admin.AlterTopicConfigs(b.t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &ms}}, b.topic); err != nil {
		b.t.Fatal(err)
	}
}

// replace what the broker has of the topic by a copy that was made before do.
func (b *bench) replace(do func()) {
	b.t.Helper()
	restart := func(between func()) {
		if err := b.server.Stop(); err != nil {
			b.t.Fatal(err)
		}
		between()
		if err := b.server.Restart(); err != nil {
			b.t.Fatal(err)
		}
		b.ends()
	}
	data := filepath.Join(b.server.Dir, "data")
	copied := b.t.TempDir()
	each := func(from, to string) {
		dirs, err := filepath.Glob(filepath.Join(from, b.topic+"-*"))
		if err != nil || len(dirs) == 0 {
			b.t.Fatalf("%s holds nothing of %s (%v)", from, b.topic, err)
		}
		for _, d := range dirs {
			at := filepath.Join(to, filepath.Base(d))
			if err := os.RemoveAll(at); err != nil {
				b.t.Fatal(err)
			}
			if err := os.CopyFS(at, os.DirFS(d)); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	restart(func() { each(data, copied) })
	do()
	restart(func() { each(copied, data) })
}

// TestAuditKafkaCompacted: what compaction took before the group did it is lost, by
// that cause.
func TestAuditKafkaCompacted(t *testing.T) {
	b := newBench(t, "prices", 1, map[string]string{"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "200",
		"max.compaction.lag.ms": "200", "delete.retention.ms": "100"})
	store := openStore(t)
	begin(t, "billing", b.source("prices"), store)
	ann := b.sender("ann")
	for range 2 {
		for i := range 50 {
			if r := ann.Publish(t.Context(), "prices", rollcall.Message{Key: fmt.Sprint(i % 10), Body: []byte("x")}); r[0].Fate != rollcall.Stored {
				t.Fatal(r[0].Err)
			}
		}
		time.Sleep(300 * time.Millisecond) // segment.ms: the next record begins another segment
	}
	ann.Publish(t.Context(), "prices", rollcall.Message{Key: "another", Body: []byte("x")})
	wait(t, "compaction of the first fifty", func() bool {
		holes, err := b.source("prices").Explain(t.Context(), rollcall.Partition{Destination: "prices"}, 0, 49)
		return err == nil && len(holes) > 0 && holes[0].Cause == rollcall.HoleCompacted
	})
	consume(t, "billing", b.source("prices"), store)
	in := audit.Inputs{Log: b.source("prices"), Store: store}
	b.books(&in)
	w, err := audit.NewWatch(t.Context(), "prices", in, audit.Config{Group: "billing", Grace: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	wait(t, "the books", func() bool { return step(t, w, time.Now()).Totals[audit.AtEffect].Stored == 101 })
	r := judged(t, w, patience)
	if s := r.Totals[audit.AtEffect]; causes(r)[audit.CauseCompacted] != s.Lost || s.Lost < 40 || s.Lost+s.Present != 101 {
		t.Errorf("lost by %v, %+v: %s", causes(r), s, lines(r))
	}
}

// TestAuditKafkaHoles: what a transaction took back is void, also where its sender keeps
// no books; of messages without a stamp the repeats are told, and why offsets carry none.
func TestAuditKafkaHoles(t *testing.T) {
	b := newBench(t, "orders", 1, nil)
	store := openStore(t)
	b.abort("orders")
	consume(t, "billing", b.source("orders"), store)
	w := watch(t, audit.Inputs{Log: b.source("orders"), Store: store, Tap: true}, audit.Config{Group: "billing", Grace: time.Second})
	r := judged(t, w, patience)
	want(t, r, "void 3-4 at delivery: aborted; void 3-4 at effect: aborted")
	if c := r.Traffic; c.Unstamped != 3 || c.Keyed != 2 || c.Repeated != 1 || c.Unkeyed != 1 || len(r.Repeats) != 1 || r.Repeats[0].MessageID != "twice" {
		t.Errorf("of three messages without a stamp two have one id: %+v, %+v", c, r.Repeats)
	}
	holes, err := w.Holes(t.Context())
	if got := fmt.Sprint(holes); err != nil || got != "[{marker 3} {aborted 2}]" {
		t.Errorf("offsets without a message: %v, %v", got, err)
	}
}

// abort sends, as a sender in another language that keeps no books, numbers 1 and 2,
// takes 3 and 4 back, sends 5, and three messages without a number.
func (b *bench) abort(topic string) {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.server.Addr), kgo.TransactionalID("till"), kgo.DefaultProduceTopic(topic))
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	life := rollcall.NewLife()
	transaction := func(commit bool, numbers ...uint64) {
		if err := client.BeginTransaction(); err != nil {
			b.t.Fatal(err)
		}
		for _, n := range numbers {
			r := &kgo.Record{Key: fmt.Appendf(nil, "till-%d", n), Value: []byte("x")}
			switch stamp := (rollcall.Stamp{Life: life, Sequence: n, Origin: rollcall.OriginOf(topic)}); {
			case n < 100:
				r.Headers = append(r.Headers, kgo.RecordHeader{Key: rollcall.StampHeader, Value: rollcall.AppendStamp(nil, stamp)})
			case n < 102:
				r.Headers = append(r.Headers, kgo.RecordHeader{Key: "Idempotency-Key", Value: []byte("twice")})
			}
			if err := client.ProduceSync(b.t.Context(), r).FirstErr(); err != nil {
				b.t.Fatal(err)
			}
		}
		if err := client.EndTransaction(b.t.Context(), kgo.TransactionEndTry(commit)); err != nil {
			b.t.Fatal(err)
		}
	}
	transaction(true, 1, 2)
	transaction(false, 3, 4)
	transaction(true, 5, 100, 101, 102)
}
