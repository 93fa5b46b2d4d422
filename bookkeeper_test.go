package rollcall_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

// quickBooks are written often.
var quickBooks = rollcall.BooksConfig{Every: 2 * time.Millisecond, Idle: 20 * time.Millisecond, Sender: "test"}

// events remembers what an Observer was told.
type events struct {
	mu  sync.Mutex
	all []rollcall.Event
}

func (e *events) Observe(event rollcall.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event)
}

// booksFailed are the events of that kind.
func (e *events) booksFailed() (out []rollcall.BooksFailed) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, event := range e.all {
		if f, ok := event.(rollcall.BooksFailed); ok {
			out = append(out, f)
		}
	}
	return out
}

// readBooks are all records, in the order in which they lie there.
func readBooks(t testing.TB, b *memory.Broker) []rollcall.Book {
	t.Helper()
	var out []rollcall.Book
	for _, m := range b.Messages(rollcall.SideDestination) {
		book, err := rollcall.ParseBook(&m)
		if err != nil {
			t.Fatal(err)
		}
		if !m.Stamp.IsZero() || len(m.Body) > 256<<10 {
			t.Fatalf("a record of %d bytes with the stamp %v", len(m.Body), m.Stamp)
		}
		out = append(out, book)
	}
	return out
}

// numberOf names one number.
type numberOf struct {
	life     rollcall.Life
	origin   uint64
	lane     uint32
	sequence uint64
}

// said is what all books together say: of each keeper, life, destination and lane the
// record with the highest number holds, and keepers are united.
type said struct {
	given               map[numberOf]bool
	stored, void, maybe map[numberOf]bool
	marks               map[numberOf]rollcall.Mark
	ended               map[rollcall.Life]bool
}

func unite(books []rollcall.Book) said {
	type key struct {
		keeper, life rollcall.Life
		destination  string
		origin       uint64
		lane         uint32
	}
	newest, numbers := make(map[key]rollcall.BookLane), make(map[key]uint64)
	last := make(map[key]rollcall.Book)
	s := said{make(map[numberOf]bool), make(map[numberOf]bool), make(map[numberOf]bool), make(map[numberOf]bool), make(map[numberOf]rollcall.Mark), make(map[rollcall.Life]bool)}
	for _, b := range books {
		if k := (key{b.Keeper, b.Life, b.Destination, 0, 0}); b.Number > last[k].Number {
			last[k] = b
		}
		for _, l := range b.Lanes {
			if k := (key{b.Keeper, b.Life, b.Destination, l.Origin, l.Lane}); b.Number > numbers[k] {
				newest[k], numbers[k] = l, b.Number
			}
		}
	}
	for k, b := range last {
		s.ended[k.life] = b.Kind == rollcall.BookEnd
	}
	for k, l := range newest {
		enter := func(into map[numberOf]bool, ranges []rollcall.NumberRange) {
			for _, r := range ranges {
				for n := r.First; n <= r.Last; n++ {
					into[numberOf{k.life, k.origin, k.lane, n}] = true
				}
			}
		}
		enter(s.stored, l.Stored)
		enter(s.void, l.Void)
		enter(s.maybe, l.Maybe)
		if l.Given > 0 {
			enter(s.given, []rollcall.NumberRange{{First: 1, Last: l.Given}})
		}
		for _, m := range l.Marks {
			s.marks[numberOf{k.life, k.origin, k.lane, m.Sequence}] = m
		}
	}
	return s
}

// truthful compares what books say with what is there.
func truthful(t testing.TB, s said, there []rollcall.Message) {
	t.Helper()
	lies := make(map[numberOf]bool)
	for _, m := range there {
		lies[numberOf{m.Stamp.Life, m.Stamp.Origin, m.Stamp.Lane, m.Stamp.Sequence}] = true
	}
	for n := range s.stored {
		if !lies[n] {
			t.Fatalf("%+v counts as stored and is not there", n)
		}
	}
	for n := range s.void {
		if lies[n] {
			t.Fatalf("%+v counts as void and is there", n)
		}
		if s.maybe[n] || s.stored[n] {
			t.Fatalf("%+v is void, stored: %v, maybe: %v", n, s.stored[n], s.maybe[n])
		}
	}
	for n := range s.marks {
		if !s.stored[n] {
			t.Fatalf("%+v has a mark and is not stored", n)
		}
	}
}

// complete demands that every number that was given out has a fate.
func complete(t testing.TB, s said) {
	t.Helper()
	for n := range s.given {
		if !s.stored[n] && !s.void[n] && !s.maybe[n] {
			t.Fatalf("%+v was given out and has no fate", n)
		}
	}
}

// picky refuses what the test says, though it was stamped.
type picky struct {
	*memory.Sender
	refuse func(m *rollcall.Message) bool
}

func (s picky) Publish(ctx context.Context, d string, messages []rollcall.Message) []rollcall.PublishResult {
	var taken []rollcall.Message
	results := make([]rollcall.PublishResult, len(messages))
	var at []int
	for i := range messages {
		if d != rollcall.SideDestination && s.refuse(&messages[i]) {
			results[i] = rollcall.PublishResult{Fate: rollcall.Refused, Err: errors.New("refused by the test")}
			continue
		}
		taken, at = append(taken, messages[i]), append(at, i)
	}
	for i, r := range s.Sender.Publish(ctx, d, taken) {
		results[at[i]] = r
	}
	return results
}

// TestBooksTellTheTruth: whatever the broker does, stored is there, void is not, and
// every number that was given out has a fate in the last record.
func TestBooksTellTheTruth(t *testing.T) {
	for seed := range uint64(20) {
		b := memory.New(memory.Config{Partitions: 3})
		var mu sync.Mutex
		rnd := rand.New(rand.NewPCG(seed, 1))
		chance := func(n int) bool { mu.Lock(); defer mu.Unlock(); return rnd.IntN(100) < n }
		b.OnPublish(func(string, []rollcall.Message) memory.PublishFault {
			switch {
			case chance(20):
				return memory.LoseReply
			case chance(20):
				return memory.LoseCall
			}
			return memory.NoFault
		})
		sender := picky{b.Sender(), func(*rollcall.Message) bool { return chance(3) }}
		p := rollcall.NewPublisher(sender, rollcall.PublisherConfig{Batch: 7, RetryFirst: time.Microsecond, RetryMost: time.Microsecond, Timeout: 2 * time.Millisecond, Books: quickBooks, Observer: new(events)})
		var messages []rollcall.Message
		for i := range 500 {
			m := rollcall.Message{Key: fmt.Sprint(i % 11)}
			if i%50 == 0 { // of an earlier life
				m.Stamp = rollcall.Stamp{Life: rollcall.Life{byte(seed) + 1}, Lane: 9, Sequence: uint64(i/50 + 1), Origin: 5}
			}
			messages = append(messages, m)
		}
		fates := p.Publish(t.Context(), "orders", messages...)
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := unite(readBooks(t, b))
		truthful(t, s, b.Messages("orders"))
		complete(t, s)
		stored := 0
		for _, f := range fates {
			if f.Fate == rollcall.Stored {
				stored++
			}
		}
		if len(s.stored) != stored || !s.ended[p.Life()] || len(s.given) != 490 || !s.ended[rollcall.Life{byte(seed) + 1}] {
			t.Fatalf("books say %d stored of %d given, the callers were told %d; ended: %v", len(s.stored), len(s.given), stored, s.ended)
		}
	}
}

// TestBooksBeginAtOnce: the first record is there as soon as a message is handed over,
// the last says that it is the last, and numbers and kinds are as they are told.
func TestBooksBeginAtOnce(t *testing.T) {
	b := memory.New(memory.Config{Partitions: 2})
	p := rollcall.NewPublisher(b.Sender(), rollcall.PublisherConfig{Books: rollcall.BooksConfig{Every: time.Hour, Idle: time.Hour, Sender: "me"}})
	if r := p.Publish(t.Context(), "orders", rollcall.Message{Key: "k"}); r[0].Fate != rollcall.Stored {
		t.Fatal(r[0].Err)
	}
	waitFor(t, "the first record", func() bool { return len(readBooks(t, b)) == 1 })
	if r := p.Publish(t.Context(), "orders", rollcall.Message{Key: "k"}, rollcall.Message{Key: "k"}); r[1].Fate != rollcall.Stored {
		t.Fatal(r[1].Err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	books := readBooks(t, b)
	first, last := books[0], books[len(books)-1]
	if len(books) != 2 || first.Kind != rollcall.BookBirth || last.Kind != rollcall.BookEnd || first.Number != 1 || last.Number != 2 ||
		last.Sender != "me" || last.Life != p.Life() || last.Keeper != p.Life() || last.Destination != "orders" || last.Next != time.Hour {
		t.Fatalf("books are %+v", books)
	}
	lane := last.Lanes[0]
	if lane.Given != 3 || !slices.Equal(lane.Stored, []rollcall.NumberRange{{First: 1, Last: 3}}) || lane.Name == "" || len(lane.Marks) != 2 || lane.Marks[1].Sequence != 3 || lane.Marks[1].Position.Offset != 2 {
		t.Fatalf("the lane is %+v", lane)
	}
	if err := p.Close(t.Context()); err != nil || len(readBooks(t, b)) != 2 {
		t.Fatalf("closed twice: %v, %d records", err, len(readBooks(t, b)))
	}
}

func waitFor(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 20s for %s", what)
		}
	}
}

// TestBooksOfThoseWhoNeverClose: an idle publisher goes on saying that it lives, and
// nothing says that it has ended.
func TestBooksOfThoseWhoNeverClose(t *testing.T) {
	b := memory.New(memory.Config{Partitions: 1})
	p := rollcall.NewPublisher(b.Sender(), rollcall.PublisherConfig{Books: quickBooks})
	p.Publish(t.Context(), "orders", rollcall.Message{})
	waitFor(t, "six records of an idle publisher", func() bool { return len(readBooks(t, b)) >= 6 })
	for i, book := range readBooks(t, b) {
		if book.Number != uint64(i+1) || book.Kind == rollcall.BookEnd || (i > 0) != (book.Kind == rollcall.BookBeacon) {
			t.Fatalf("record %d is %+v", i, book)
		}
	}
	s := unite(readBooks(t, b))
	if s.ended[p.Life()] || len(s.stored) != 1 {
		t.Fatalf("books say %+v", s)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestBooksOff: none, and no side destination.
func TestBooksOff(t *testing.T) {
	b := memory.New(memory.Config{})
	p := rollcall.NewPublisher(b.Sender(), rollcall.PublisherConfig{Books: rollcall.BooksConfig{Off: true}})
	p.Publish(t.Context(), "orders", rollcall.Message{})
	if err := p.Close(t.Context()); err != nil || len(b.Messages(rollcall.SideDestination)) > 0 {
		t.Fatalf("%d records, %v", len(b.Messages(rollcall.SideDestination)), err)
	}
}

// TestBooksOfManyLanes: records stay small, for a broker that takes little, too, and
// together they say all.
func TestBooksOfManyLanes(t *testing.T) {
	for most, lanes := range map[int]int{1 << 20: 5000, 20_000: 500, 8_000: 50, 1000: 3} {
		b := memory.New(memory.Config{Partitions: lanes, MaxBytes: most})
		p := rollcall.NewPublisher(b.Sender(), rollcall.PublisherConfig{Books: quickBooks, Observer: new(events)})
		messages := make([]rollcall.Message, 3*lanes)
		for _, r := range p.Publish(t.Context(), "orders", messages...) {
			if r.Fate != rollcall.Stored {
				t.Fatal(r.Err)
			}
		}
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := unite(readBooks(t, b))
		truthful(t, s, b.Messages("orders"))
		if len(s.stored) != 3*lanes || !s.ended[p.Life()] {
			t.Fatalf("%d lanes: books say %d of %d stored", lanes, len(s.stored), 3*lanes)
		}
	}
}

// movedClock is a clock that somebody sets.
type movedClock struct{ by atomic.Int64 }

func (c *movedClock) Now() time.Time { return time.Now().Round(0).Add(time.Duration(c.by.Load())) }
func (c *movedClock) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestBooksAndTheClock: a clock that is set back stops no record.
func TestBooksAndTheClock(t *testing.T) {
	b, clock := memory.New(memory.Config{Partitions: 1}), new(movedClock)
	p := rollcall.NewPublisher(b.Sender(), rollcall.PublisherConfig{Books: quickBooks, Clock: clock})
	p.Publish(t.Context(), "orders", rollcall.Message{})
	waitFor(t, "two records", func() bool { return len(readBooks(t, b)) >= 2 })
	clock.by.Store(int64(-24 * time.Hour))
	n := len(readBooks(t, b))
	waitFor(t, "records after the clock was set back", func() bool { return len(readBooks(t, b)) >= n+3 })
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := unite(readBooks(t, b)); len(s.stored) != 1 || !s.ended[p.Life()] {
		t.Fatalf("books say %+v", s)
	}
}

// TestBooksOfAMillionRefused: every second message is refused, which no set holds: the
// record stays small, and what it cannot say is maybe.
func TestBooksOfAMillionRefused(t *testing.T) {
	const n = 1_000_000
	b := memory.New(memory.Config{Partitions: 1})
	sender := picky{b.Sender(), func(m *rollcall.Message) bool { return m.Stamp.Sequence%2 == 0 }}
	p := rollcall.NewPublisher(forgetful{sender}, rollcall.PublisherConfig{Books: quickBooks})
	for range n {
		if err := p.Send(t.Context(), "orders", rollcall.Message{ID: "id"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	books := slices.DeleteFunc(readBooks(t, b), func(b rollcall.Book) bool { return len(b.Lanes) == 0 }) // such as say that nothing changed since
	lane := books[len(books)-1].Lanes[0]
	if lane.Given != n || len(lane.Stored) > 600 || len(lane.Void) > 600 || len(lane.Maybe) > 1800 {
		t.Fatalf("given %d, %d ranges stored, %d void, %d maybe", lane.Given, len(lane.Stored), len(lane.Void), len(lane.Maybe))
	}
	counted := uint64(0)
	for i, set := range [][]rollcall.NumberRange{lane.Stored, lane.Void, lane.Maybe} {
		for _, r := range set {
			if counted += r.Last - r.First + 1; i < 2 && (r.First != r.Last || r.First%2 != uint64(1-i)) {
				t.Fatalf("%+v is in set %d", r, i)
			}
		}
	}
	if counted != n {
		t.Fatalf("%d of %d numbers have a fate, or some have two", counted, n)
	}
}

// forgetful keeps the books and no message.
type forgetful struct{ picky }

func (s forgetful) Publish(ctx context.Context, d string, messages []rollcall.Message) []rollcall.PublishResult {
	if d == rollcall.SideDestination {
		return s.Sender.Publish(ctx, d, messages)
	}
	results := make([]rollcall.PublishResult, len(messages))
	for i := range messages {
		results[i] = rollcall.PublishResult{Fate: rollcall.Stored}
		if s.refuse(&messages[i]) {
			results[i] = rollcall.PublishResult{Fate: rollcall.Refused, Err: errors.New("refused by the test")}
		}
	}
	return results
}

// TestBooksOfOthersNumbers: they are kept by the life that sends them, which gives none
// of them out; they end when no more come, and go on when more do. What is refused of
// them may have been sent before.
func TestBooksOfOthersNumbers(t *testing.T) {
	b := memory.New(memory.Config{Partitions: 1})
	p := rollcall.NewPublisher(picky{b.Sender(), func(m *rollcall.Message) bool { return m.Stamp.Sequence == 8 }}, rollcall.PublisherConfig{Books: quickBooks})
	life := rollcall.NewLife()
	numbered := func(n uint64) rollcall.Message {
		return rollcall.Message{ID: "id", Stamp: rollcall.Stamp{Life: life, Lane: 3, Sequence: n, Origin: 77}}
	}
	p.Publish(t.Context(), "orders", numbered(7), numbered(8))
	ended := func() bool { return unite(readBooks(t, b)).ended[life] }
	waitFor(t, "the other life to end here", ended)
	p.Publish(t.Context(), "orders", numbered(9))
	waitFor(t, "it to go on", func() bool { return len(unite(readBooks(t, b)).stored) == 2 })
	waitFor(t, "it to end again", ended)
	books := readBooks(t, b)
	last := books[len(books)-1]
	lane := rollcall.BookLane{Lane: 3, Origin: 77, Stored: []rollcall.NumberRange{{First: 7, Last: 7}, {First: 9, Last: 9}}, Maybe: []rollcall.NumberRange{{First: 8, Last: 8}}}
	for _, book := range books {
		if book.Life != life || book.Keeper != p.Life() {
			t.Fatalf("a record of %v by %v, nothing was sent but numbers of %v", book.Life, book.Keeper, life)
		}
		if len(book.Lanes) > 0 {
			last = book
		}
	}
	last.Lanes[0].Marks = nil
	if fmt.Sprint(last.Lanes) != fmt.Sprint([]rollcall.BookLane{lane}) {
		t.Fatalf("lanes %+v, want %+v", last.Lanes, lane)
	}
	n := len(books)
	time.Sleep(100 * time.Millisecond)
	if more := len(readBooks(t, b)); more > n {
		t.Fatalf("%d more records of a life of which nothing comes", more-n)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestBooksOfVeryManyLives: who sends on for more lives than can be remembered forgets
// some, and what was said of them stays true.
func TestBooksOfVeryManyLives(t *testing.T) {
	const lives, again = 10_500, 1000
	b := memory.New(memory.Config{Partitions: 1})
	p := rollcall.NewPublisher(b.Sender(), rollcall.PublisherConfig{Books: rollcall.BooksConfig{Every: time.Millisecond, Idle: time.Hour}})
	send := func(lives int, n uint64) {
		var messages []rollcall.Message
		for i := range lives {
			messages = append(messages, rollcall.Message{ID: "id", Stamp: rollcall.Stamp{Life: rollcall.Life{1, byte(i >> 8), byte(i)}, Sequence: n, Origin: 7}})
		}
		p.Publish(t.Context(), "orders", messages...)
	}
	send(lives, 1)
	waitFor(t, "all lives to be written down", func() bool { return len(unite(readBooks(t, b)).stored) == lives })
	send(again, 2) // of those that are forgotten, and some that are not
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := unite(readBooks(t, b))
	truthful(t, s, b.Messages("orders"))
	if len(s.stored) != lives+again {
		t.Fatalf("books say %d stored, want %d", len(s.stored), lives+again)
	}
}
