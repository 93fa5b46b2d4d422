package audit_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/audit"
	"github.com/rollcall-mq/rollcall/broker/filelog"
	"github.com/rollcall-mq/rollcall/internal/interval"
)

// fate is what a planter does with a number.
type fate uint8

const (
	stored      fate = iota
	lost             // acknowledged, and not in the log
	repeated         // stored twice
	late             // stored behind later numbers
	void             // refused
	maybeStored      // no answer, and stored
	maybeNot         // no answer, and not stored
	unsaid           // given out, not stored, and the sender died before it knew
)

// planter writes a log and the books of its senders, with faults at known numbers:
// what an audit must find, and nothing else.
type planter struct {
	t           *testing.T
	log         *filelog.Log
	destination string
	partitions  int
	random      *rand.Rand
	at          time.Time
	lives       []*plantedLife
	truth       map[audit.LaneKey]map[fate]*interval.Set
	queue       [][]rollcall.Message // a partition's
	repeats     uint64
	number      uint64 // of the newest record of each life
}

type plantedLife struct {
	life  rollcall.Life
	name  string
	ends  bool
	lanes []*plantedLane
	old   []rollcall.Message // the record before
}

type plantedLane struct {
	key   audit.LaneKey
	next  uint64
	book  rollcall.BookLane
	sets  map[fate]*interval.Set
	delay []rollcall.Message
}

func newPlanter(t *testing.T, destination string, partitions, lives int, seed uint64) *planter {
	t.Helper()
	log, err := filelog.Open(filepath.Join(t.TempDir(), "log.db"), filelog.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	for name, n := range map[string]int{destination: partitions, rollcall.SideDestination: 1} {
		if err := log.Create(t.Context(), name, n); err != nil {
			t.Fatal(err)
		}
	}
	p := &planter{t: t, log: log, destination: destination, partitions: partitions, random: rand.New(rand.NewPCG(seed, 7)),
		at: time.Now().Add(-time.Hour), truth: make(map[audit.LaneKey]map[fate]*interval.Set), queue: make([][]rollcall.Message, partitions)}
	for i := range lives {
		p.lives = append(p.lives, p.newLife(fmt.Sprintf("sender-%d", i), i%2 == 0))
	}
	return p
}

func (p *planter) newLife(name string, ends bool) *plantedLife {
	l := &plantedLife{life: rollcall.NewLife(), name: name, ends: ends}
	for n := range p.partitions {
		key := audit.LaneKey{Life: l.life, Origin: rollcall.OriginOf(p.destination), Lane: uint32(n)}
		lane := &plantedLane{key: key, book: rollcall.BookLane{Lane: uint32(n), Origin: key.Origin}, sets: make(map[fate]*interval.Set)}
		for f := stored; f <= unsaid; f++ {
			lane.sets[f] = &interval.Set{}
		}
		p.truth[key] = lane.sets
		l.lanes = append(l.lanes, lane)
	}
	return l
}

// deal chooses what becomes of a number.
func (p *planter) deal() fate {
	switch n := p.random.IntN(10_000); {
	case n < 20:
		return lost
	case n < 40:
		return repeated
	case n < 80:
		return late
	case n < 90:
		return void
	case n < 95:
		return maybeStored
	case n < 100:
		return maybeNot
	}
	return stored
}

// send gives out the next number of a lane.
func (p *planter) send(l *plantedLife, lane *plantedLane) { p.sendAs(l, lane, p.deal()) }

func (p *planter) sendAs(l *plantedLife, lane *plantedLane, f fate) {
	lane.next++
	n := lane.next
	lane.sets[f].Add(n)
	p.at = p.at.Add(time.Microsecond)
	m := rollcall.Message{ID: rollcall.MessageID(fmt.Sprintf("%s-%d-%d", l.life, lane.key.Lane, n)), Partition: int32(lane.key.Lane), Body: []byte("x"), Time: p.at,
		Stamp: rollcall.Stamp{Life: l.life, Lane: lane.key.Lane, Sequence: n, Origin: lane.key.Origin}}
	queue := &p.queue[lane.key.Lane]
	switch f {
	case stored, maybeStored:
		*queue = append(*queue, m)
	case repeated:
		*queue = append(*queue, m, m)
		p.repeats++
	case late:
		lane.delay = append(lane.delay, m)
	}
	if len(lane.delay) > 0 && n >= lane.delay[0].Stamp.Sequence+30 {
		*queue = append(*queue, lane.delay[0])
		lane.delay = lane.delay[1:]
	}
}

// flush stores what waits, and marks in the books the last number of each lane that
// was acknowledged.
func (p *planter) flush() {
	for n := range p.queue {
		if len(p.queue[n]) == 0 {
			continue
		}
		for i, r := range p.log.Sender().Publish(p.t.Context(), p.destination, p.queue[n]) {
			if r.Fate != rollcall.Stored {
				p.t.Fatalf("planting: %v", r.Err)
			}
			p.mark(&p.queue[n][i], r.Position)
		}
		p.queue[n] = p.queue[n][:0]
	}
}

// mark is what a bookkeeper does: few marks, the last number always.
func (p *planter) mark(m *rollcall.Message, at rollcall.Position) {
	for _, l := range p.lives {
		if l.life != m.Stamp.Life {
			continue
		}
		b := &l.lanes[m.Stamp.Lane].book
		k := len(b.Marks)
		if k > 0 && b.Marks[k-1].Sequence >= m.Stamp.Sequence {
			return
		}
		if k > 1 && b.Marks[k-1].Sequence-b.Marks[k-2].Sequence < 500 {
			b.Marks = b.Marks[:k-1]
		}
		b.Marks = append(b.Marks, rollcall.Mark{Sequence: m.Stamp.Sequence, Partition: m.Partition, Position: at, Time: m.Time})
	}
}

// drain stores what was delayed.
func (p *planter) drain() {
	for _, l := range p.lives {
		for _, lane := range l.lanes {
			p.queue[lane.key.Lane] = append(p.queue[lane.key.Lane], lane.delay...)
			lane.delay = nil
		}
	}
	p.flush()
}

// books writes the records: what each lane's sender knows.
func (p *planter) books() {
	p.number += 2
	var records []rollcall.Message
	for _, l := range p.lives {
		kind := rollcall.BookBeacon
		if l.ends {
			kind = rollcall.BookEnd
		}
		b := rollcall.Book{Kind: kind, Life: l.life, Keeper: l.life, Sender: l.name, Destination: p.destination, Number: p.number, Time: p.at, Next: time.Second}
		for _, lane := range l.lanes {
			if lane.next == 0 {
				continue
			}
			lane.book.Given = lane.next
			lane.book.Stored = lane.union(stored, lost, repeated, late)
			lane.book.Void = lane.union(void)
			lane.book.Maybe = lane.union(maybeStored, maybeNot)
			b.Lanes = append(b.Lanes, lane.book)
		}
		birth := rollcall.Book{Kind: rollcall.BookBirth, Life: l.life, Keeper: l.life, Sender: l.name, Destination: p.destination, Number: p.number - 1, Time: p.at.Add(-time.Minute), Next: time.Second}
		for _, record := range []rollcall.Book{birth, b, birth} { // a record that comes again says nothing new
			m, err := record.Message()
			if err != nil {
				p.t.Fatal(err)
			}
			records = append(records, m)
			if record.Number == p.number {
				records = append(records, l.old...) // one that comes late says nothing new either
				l.old = []rollcall.Message{m}
			}
		}
	}
	for _, r := range p.log.Sender().Publish(p.t.Context(), rollcall.SideDestination, records) {
		if r.Fate != rollcall.Stored {
			p.t.Fatalf("writing books: %v", r.Err)
		}
	}
}

func (l *plantedLane) union(fates ...fate) []rollcall.NumberRange {
	all := &interval.Set{}
	for _, f := range fates {
		all.Merge(l.sets[f])
	}
	var out []rollcall.NumberRange
	for r := range all.Ranges() {
		out = append(out, rollcall.NumberRange{First: r.First, Last: r.Last})
	}
	return out
}

// inputs are the log and its books.
func (p *planter) inputs() audit.Inputs {
	return audit.Inputs{Log: p.log.Source(p.destination), Side: p.log.Source(rollcall.SideDestination)}
}

// told are the numbers of a report with a verdict, as one detector sees them.
func told(r *audit.Report, by audit.Detector, v audit.Verdict) map[audit.LaneKey]*interval.Set {
	out := make(map[audit.LaneKey]*interval.Set)
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.By != by || f.Verdict != v {
			continue
		}
		if out[f.Key] == nil {
			out[f.Key] = &interval.Set{}
		}
		out[f.Key].AddRange(f.First, f.Last)
	}
	return out
}

// same compares what was found with what was planted, number by number.
func (p *planter) same(r *audit.Report, by audit.Detector, v audit.Verdict, fates ...fate) {
	p.t.Helper()
	found := told(r, by, v)
	var planted, hit, claimed uint64
	for key, sets := range p.truth {
		want := &interval.Set{}
		for _, f := range fates {
			want.Merge(sets[f])
		}
		got := found[key]
		if got == nil {
			got = &interval.Set{}
		}
		planted += want.Count()
		claimed += got.Count()
		hit += want.Count()
		for miss := range want.Without(got) {
			hit -= miss.Last - miss.First + 1
			p.t.Errorf("%s at %s: lane %d of life %s: %d-%d were planted and not found", v, by, key.Lane, key.Life, miss.First, miss.Last)
		}
		for wrong := range got.Without(want) {
			p.t.Errorf("%s at %s: lane %d of life %s: %d-%d were found and not planted", v, by, key.Lane, key.Life, wrong.First, wrong.Last)
		}
	}
	if planted == 0 {
		p.t.Errorf("nothing was planted that is %s: the test proves nothing", v)
	}
	p.t.Logf("%s at %s: planted %d, found %d, precision %.6f, recall %.6f", v, by, planted, claimed, ratio(hit, claimed), ratio(hit, planted))
}

func ratio(a, b uint64) float64 {
	if b == 0 {
		return 1
	}
	return float64(a) / float64(b)
}

// judged steps until the answer is final.
func judged(t *testing.T, w *audit.Watch, patience time.Duration) *audit.Report {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		r, err := w.Step(t.Context(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if w.Answered(r) {
			return r
		}
		if time.Now().After(deadline) {
			t.Fatalf("no answer within %v: %+v", patience, r.Totals)
		}
	}
}

// TestPlanted: a million messages of many lives with losses, repeats, reorders,
// refusals and lost answers at known numbers: all of them are found, and nothing
// else.
func TestPlanted(t *testing.T) {
	const messages = 1_000_000
	p := newPlanter(t, "orders", 4, 40, 1)
	for sent := 0; sent < messages; {
		l := p.lives[p.random.IntN(len(p.lives))]
		lane := l.lanes[p.random.IntN(len(l.lanes))]
		for range 50 {
			p.send(l, lane)
			sent++
		}
		if sent%5000 == 0 {
			p.flush()
		}
	}
	for _, l := range p.lives { // the last of each life: lost, and such as nobody knows of
		for range 5 {
			p.sendAs(l, l.lanes[0], lost)
		}
		if !l.ends {
			p.sendAs(l, l.lanes[0], unsaid)
		}
	}
	p.drain()
	p.books()
	in := p.inputs()
	in.Tap = true
	w, err := audit.NewWatch(t.Context(), p.destination, in, audit.Config{MaxFindings: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	began := time.Now()
	r := judged(t, w, 2*time.Minute)
	t.Logf("%d messages in %v, %d lives, %d findings", r.Traffic.Messages, time.Since(began), r.Lives, len(r.Findings))
	p.same(r, audit.AtDelivery, audit.Lost, lost)
	p.same(r, audit.AtDelivery, audit.Void, void)
	p.same(r, audit.AtDelivery, audit.Unknown, maybeNot, unsaid)
	if sums := r.Totals[audit.AtDelivery]; sums.Duplicates != p.repeats || sums.Open+sums.Suspected+sums.ToGo+sums.InFlight != 0 {
		t.Errorf("%d repeats were planted: %+v", p.repeats, sums)
	}
	if !w.Sealed(r) {
		t.Error("everything was read, and it is not sealed")
	}
}
