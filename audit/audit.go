package audit

import (
	"errors"
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/interval"
)

// Config is the settings of an Audit. The zero value of every field is usable.
type Config struct {
	// Group whose rolls are audited; empty: the destination alone, by a tap.
	// Default: empty.
	Group string
	// Grace is how long a hole may be open before it is suspected: what is on its
	// way is not missing. Default: 30 s.
	Grace time.Duration
	// Hold is how long a worker may hold a message of a queue unsettled: before, what was
	// overtaken by later ones is suspected, not lost. Default: that of the queue.
	Hold time.Duration
	// Window is how long the group keeps rolls of senders that went silent. A roll
	// that is not there any more is not audited. Default: 14 days.
	Window time.Duration
	// Since: numbers that the broker acknowledged before are not audited. Default:
	// zero, all.
	Since time.Time
	// MaxLanes bounds memory: lanes of further lives are counted and not audited.
	// Default: 1,000,000.
	MaxLanes int
	// Key is what makes two messages without a stamp the same one, and false where
	// there is none of it (rollcall.KeyFunc). Default: the MessageID.
	Key func(*rollcall.Message) (rollcall.DedupKey, bool)
	// MaxKeys bounds memory: of messages without a stamp beyond it nobody can say
	// whether they are repeats. Default: 5,000,000.
	MaxKeys int
	// MaxFindings is the most findings of one report; the counts are of all.
	// Default: 10,000.
	MaxFindings int
}

func (c Config) withDefaults() Config {
	c.Grace = orDefault(c.Grace, 30*time.Second)
	c.Window = orDefault(c.Window, 14*24*time.Hour)
	c.MaxLanes = orDefault(c.MaxLanes, 1_000_000)
	c.MaxFindings = orDefault(c.MaxFindings, 10_000)
	c.MaxKeys = orDefault(c.MaxKeys, 5_000_000)
	if c.Key == nil {
		c.Key, _ = rollcall.KeyFunc("", "id") // the part is known
	}
	return c
}

func orDefault[T int | time.Duration](v, d T) T {
	if v <= 0 {
		return d
	}
	return v
}

// confirm is how long a finding must stand before it is called lost, where the
// group may have the message in hand.
const confirm = 2 * time.Second

// Audit is one destination, and one group on it. It is used by one goroutine.
type Audit struct {
	destination string
	config      Config

	lanes    map[LaneKey]*lane
	senders  map[rollcall.Life]*sender
	log      places
	tap      tapped
	group    worked
	counts   Traffic
	previous map[laneOf]map[Verdict]*interval.Set
	noticed  map[noticedKey]time.Time
	limits   map[limitKey]int64
	late     map[laneOf]uint64
	wanted   []wanted                   // what look is to read
	keys     map[rollcall.DedupKey]Spot // of messages without a stamp
	repeats  []Repeat                   // the first few of these
	last     *lane                      // of the message delivered last: most follow one of their own lane
}

// Traffic is what was read.
type Traffic struct {
	Books     uint64 `json:"books"`     // records of this destination
	BadBooks  uint64 `json:"bad_books"` // messages on the side destination that are none
	Messages  uint64 `json:"messages"`  // read by the tap
	Unstamped uint64 `json:"unstamped"` // of these, without a stamp: nobody numbers them
	// Keyed are messages without a stamp that have a key, Repeated further copies of
	// one with the same, Unkeyed such as have none, or come behind Config.MaxKeys.
	Keyed    uint64 `json:"keyed"`
	Repeated uint64 `json:"repeated"`
	Unkeyed  uint64 `json:"unkeyed"`
	// NotAudited are messages, rolls, and entries of books, of lanes beyond
	// Config.MaxLanes.
	NotAudited uint64 `json:"not_audited"`
}

// laneOf is one lane as one detector sees it.
type laneOf struct {
	key LaneKey
	by  Detector
}

type noticedKey struct {
	laneOf
	first uint64
}

type limitKey struct {
	noticedKey
	partition int32
}

// New begins an audit of a destination. Nothing is read before it is fed.
func New(destination string, config Config) *Audit {
	return &Audit{
		destination: destination, config: config.withDefaults(),
		lanes: make(map[LaneKey]*lane), senders: make(map[rollcall.Life]*sender),
		log: newPlaces(), tap: newTapped(), group: newWorked(),
		previous: make(map[laneOf]map[Verdict]*interval.Set), noticed: make(map[noticedKey]time.Time), late: make(map[laneOf]uint64), limits: make(map[limitKey]int64),
		keys: make(map[rollcall.DedupKey]Spot),
	}
}

// lane finds or makes one; nil: there are too many.
func (a *Audit) lane(key LaneKey) *lane {
	if a.last != nil && a.last.key == key {
		return a.last
	}
	l := a.lanes[key]
	if l == nil {
		if len(a.lanes) >= a.config.MaxLanes {
			return nil
		}
		l = &lane{key: key}
		a.lanes[key] = l
	}
	a.last = l
	return l
}

// Book takes a message of the side destination. Records of other destinations are
// passed over. An error says that it is no record; it is counted, and the audit goes
// on.
func (a *Audit) Book(m *rollcall.Message) error {
	b, err := rollcall.ParseBook(m)
	if err != nil {
		a.counts.BadBooks++
		return err
	}
	if b.Destination != a.destination {
		return nil
	}
	a.counts.Books++
	a.hear(&b)
	for i := range b.Lanes {
		x := &b.Lanes[i]
		l := a.lane(LaneKey{b.Life, x.Origin, x.Lane})
		if l == nil {
			a.counts.NotAudited++
			continue
		}
		if l.books == nil {
			l.books = &account{}
		}
		l.books.enter(&b, x)
	}
	return nil
}

// Deliver takes a batch that a tap has read: the detector at delivery.
func (a *Audit) Deliver(b *rollcall.Batch) {
	a.tap.read(b)
	for i := range b.Deliveries {
		d := &b.Deliveries[i]
		a.counts.Messages++
		if d.Stamp.IsZero() {
			a.counts.Unstamped++
			a.unstamped(d)
			continue
		}
		l := a.lane(keyOf(d.Stamp))
		if l == nil {
			a.counts.NotAudited++
			continue
		}
		if l.seen == nil {
			l.seen = &sighting{}
		}
		l.seen.see(d.Stamp.Sequence, spotOf(d))
	}
}

// spotOf is where a delivery lies.
func spotOf(d *rollcall.Delivery) Spot {
	at := Spot{Partition: d.Partition, Offset: -1, Time: d.Time}
	if !d.Position.IsZero() {
		at.Offset = d.Position.Offset
	}
	return at
}

// Done takes a roll of a sender as the group's store has it: the detector at
// effect.
func (a *Audit) Done(row rollcall.RollRow) error {
	if row.Scope.Kind != rollcall.ScopeSender {
		return nil
	}
	l := a.lane(LaneKey{rollcall.Life(row.Scope.ID), row.Scope.Origin, row.Scope.Number})
	if l == nil {
		a.counts.NotAudited++
		return nil
	}
	if string(l.roll) == string(row.Data) && l.begun {
		return nil // as it was read before
	}
	roll, err := rollcall.OpenRoll(row)
	if err != nil {
		return fmt.Errorf("group %q: life %s, lane %d: %w", a.config.Group, l.key.Life, l.key.Lane, err)
	}
	l.done, l.begun, l.roll = interval.Set{}, true, row.Data
	for first, last := range roll.Done {
		l.done.AddRange(first, last)
	}
	for first, last := range roll.GivenUp {
		l.done.Merge(interval.Of(nil, []interval.Range{{First: first, Last: last}}))
	}
	return nil
}

// ErrOtherDestination: an entry of the operator log waives nothing here.
var errNoWaiver = errors.New("audit: not a waiver of numbers of a sender")

// Waive accepts numbers as missing, as an operator's entry says.
func (a *Audit) Waive(e *rollcall.OperatorEntry) error {
	if e.Verb != rollcall.OperatorWaive || e.Scope.Kind != rollcall.ScopeSender {
		return errNoWaiver
	}
	if e.Destination != "" && e.Destination != a.destination {
		return nil
	}
	l := a.lane(LaneKey{rollcall.Life(e.Scope.ID), e.Scope.Origin, e.Scope.Number})
	if l == nil {
		return nil
	}
	if l.waived == nil {
		l.waived = &interval.Set{}
	}
	l.waived.AddRange(e.Numbers.First, e.Numbers.Last)
	return nil
}
