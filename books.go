package rollcall

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// SideDestination is where senders keep their books, unless they are told another
// name. It is never the user's own destination.
const SideDestination = "_rollcall"

// BookKind is what a record of a sender's books says beside its numbers.
type BookKind string

// The kinds of records.
const (
	BookBirth  BookKind = "birth"  // the first of a keeper for a life and destination
	BookBeacon BookKind = "beacon" // a later one; also when nothing was sent since
	BookEnd    BookKind = "end"    // the last one: this keeper gives out, and sends, no more of them
)

// Book is one record of a sender's books: what it knows of the numbers that it
// sent to one destination in one life. Each says all that is known so far of the
// lanes in it, so a record that came twice or late, or was never stored, does no
// harm: the one with the highest Number of a keeper, life, destination and lane
// holds. What several keepers say of a life is united: stored by one is stored, maybe
// for one is no longer void for another. A keeper that sends numbers of another life
// writes an end when no more of them come for a while, and goes on behind it when more
// do: its last record holds.
//
// On the wire it is JSON, in a message without a stamp: docs/stamp.md.
type Book struct {
	Kind BookKind
	// Life is whose numbers these are. Keeper is the life of the process that sent
	// them and writes this: another one where a relay, a bridge or `send FILE` sends
	// what was numbered before.
	Life, Keeper Life
	// Sender is a name for people: it says nothing of identity. May be empty.
	Sender string
	// Destination is where the messages were sent to.
	Destination string
	// Number is 1, 2, 3 … of a keeper.
	Number uint64
	// Time is when it was written, by the sender's clock.
	Time time.Time
	// Next is how long it takes at most until the next record, while the sender
	// lives. A sender silent for three times as long counts as gone.
	Next time.Duration
	// Lanes are the lanes of which anything was sent; a keeper with very many may
	// spread them over several records.
	Lanes []BookLane
}

// BookLane is what is known of the numbers of one lane. A number in none of the
// sets, up to Given, has no fate yet.
type BookLane struct {
	Lane uint32
	// Origin is OriginOf the destination that the stamps name: another one than
	// Book.Destination where a bridge sends on.
	Origin uint64
	// Name of the lane for people. May be empty.
	Name string
	// Given is the highest number given out; 0 where the keeper does not give them
	// out itself.
	Given uint64
	// Stored were acknowledged by the broker. Void were surely never stored. Maybe
	// were sent, and nobody knows. Each is sorted, without overlaps.
	Stored, Void, Maybe []NumberRange
	// Marks are some of the acknowledged numbers with the place where each lies, in
	// ascending order: they bracket all others in place and time. Empty where the
	// broker tells no positions.
	Marks []Mark
}

// NumberRange is the numbers from First to Last, both included; First is 1 or more.
type NumberRange struct{ First, Last uint64 }

// Mark is where one number lies.
type Mark struct {
	Sequence  uint64
	Partition int32
	Position  Position // zero where the broker tells none
	Time      time.Time
}

// ErrBadBook: a message on the side destination is no record of books.
var ErrBadBook = errors.New("rollcall: bad record of books")

// bookVersion is the version of the JSON.
const bookVersion = 1

// bookJSON is Book on the wire. Other languages write it: see docs/stamp.md.
type bookJSON struct {
	Version     int        `json:"v"`
	Kind        BookKind   `json:"kind"`
	Life        string     `json:"life"`
	Keeper      string     `json:"keeper,omitempty"` // absent: the life itself
	Sender      string     `json:"sender,omitempty"`
	Destination string     `json:"destination"`
	Number      uint64     `json:"number"`
	Time        time.Time  `json:"time"`
	NextMS      int64      `json:"next_ms"`
	Lanes       []laneJSON `json:"lanes,omitempty"`
}

type laneJSON struct {
	Lane   uint32      `json:"lane"`
	Origin string      `json:"origin,omitempty"` // absent: that of the destination
	Name   string      `json:"name,omitempty"`
	Given  uint64      `json:"given,omitempty"`
	Stored [][2]uint64 `json:"stored,omitempty"`
	Void   [][2]uint64 `json:"void,omitempty"`
	Maybe  [][2]uint64 `json:"maybe,omitempty"`
	Marks  []markJSON  `json:"marks,omitempty"`
}

type markJSON struct {
	Sequence    uint64    `json:"sequence"`
	Partition   int32     `json:"partition"`
	Offset      *int64    `json:"offset,omitempty"`
	Incarnation string    `json:"incarnation,omitempty"`
	Time        time.Time `json:"time"`
}

// Message is the record as it is sent to the side destination. Its Key is the
// life, so that the records of one life stay in order, and in one place.
func (b *Book) Message() (Message, error) {
	j := bookJSON{Version: bookVersion, Kind: b.Kind, Life: b.Life.String(), Sender: b.Sender, Destination: b.Destination,
		Number: b.Number, Time: b.Time.UTC(), NextMS: b.Next.Milliseconds()}
	if b.Keeper != b.Life {
		j.Keeper = b.Keeper.String()
	}
	for i := range b.Lanes {
		j.Lanes = append(j.Lanes, b.Lanes[i].json(b.Destination))
	}
	body, err := json.Marshal(&j)
	if err != nil {
		return Message{}, err
	}
	id := MessageID(fmt.Sprintf("%s/%s/%d", b.Keeper, b.Life, b.Number))
	return Message{ID: id, Key: b.Life.String(), Body: body, Time: b.Time}, nil
}

func (l *BookLane) json(destination string) laneJSON {
	j := laneJSON{Lane: l.Lane, Name: l.Name, Given: l.Given, Stored: pairs(l.Stored), Void: pairs(l.Void), Maybe: pairs(l.Maybe)}
	if l.Origin != OriginOf(destination) {
		j.Origin = fmt.Sprintf("%016x", l.Origin)
	}
	for _, m := range l.Marks {
		out := markJSON{Sequence: m.Sequence, Partition: m.Partition, Time: m.Time.UTC()}
		if !m.Position.IsZero() {
			out.Offset, out.Incarnation = &m.Position.Offset, hex.EncodeToString(m.Position.Incarnation[:])
		}
		j.Marks = append(j.Marks, out)
	}
	return j
}

func pairs(ranges []NumberRange) [][2]uint64 {
	var out [][2]uint64
	for _, r := range ranges {
		out = append(out, [2]uint64{r.First, r.Last})
	}
	return out
}

// ParseBook reads a message of the side destination: ErrBadBook, with the field
// and the value, when it is none that can be relied on.
func ParseBook(m *Message) (Book, error) {
	var j bookJSON
	if err := json.Unmarshal(m.Body, &j); err != nil {
		return Book{}, fmt.Errorf("%w: message %q: %w", ErrBadBook, m.ID, err)
	}
	b, err := j.book()
	if err != nil {
		return Book{}, fmt.Errorf("%w: message %q: %w", ErrBadBook, m.ID, err)
	}
	return b, nil
}

func (j *bookJSON) book() (Book, error) {
	b := Book{Kind: j.Kind, Sender: j.Sender, Destination: j.Destination, Number: j.Number, Time: j.Time, Next: time.Duration(j.NextMS) * time.Millisecond}
	switch {
	case j.Version != bookVersion:
		return b, fmt.Errorf("v is %d, this rollcall reads %d: upgrade it", j.Version, bookVersion)
	case j.Kind != BookBirth && j.Kind != BookBeacon && j.Kind != BookEnd:
		return b, fmt.Errorf("kind %q is none of birth, beacon, end", j.Kind)
	case j.Destination == "":
		return b, errors.New("destination is missing")
	case j.NextMS < 0 || j.NextMS > (30*24*time.Hour).Milliseconds():
		return b, fmt.Errorf("next_ms %d is not between 0 and 30 days", j.NextMS)
	}
	err := hex16(b.Life[:], "life", j.Life)
	b.Keeper = b.Life
	if err == nil && j.Keeper != "" {
		err = hex16(b.Keeper[:], "keeper", j.Keeper)
	}
	for i := range j.Lanes {
		lane, lerr := j.Lanes[i].lane(j.Destination)
		if lerr != nil {
			return b, fmt.Errorf("lane %d: %w", j.Lanes[i].Lane, lerr)
		}
		b.Lanes = append(b.Lanes, lane)
	}
	return b, err
}

func (j *laneJSON) lane(destination string) (BookLane, error) {
	l := BookLane{Lane: j.Lane, Origin: OriginOf(destination), Name: j.Name, Given: j.Given}
	var err error
	if j.Given > mostNumber {
		return l, fmt.Errorf("given %d goes beyond %d: no sender gives out so many", j.Given, uint64(mostNumber))
	}
	if j.Origin != "" {
		if l.Origin, err = strconv.ParseUint(j.Origin, 16, 64); err != nil || len(j.Origin) != 16 {
			return l, fmt.Errorf("origin %q is not 16 hexadecimal digits", j.Origin)
		}
	}
	for _, set := range []struct {
		name string
		from [][2]uint64
		to   *[]NumberRange
	}{{"stored", j.Stored, &l.Stored}, {"void", j.Void, &l.Void}, {"maybe", j.Maybe, &l.Maybe}} {
		if *set.to, err = ranges(set.from); err != nil {
			return l, fmt.Errorf("%s: %w", set.name, err)
		}
	}
	for _, m := range j.Marks {
		mark := Mark{Sequence: m.Sequence, Partition: m.Partition, Time: m.Time}
		if m.Offset != nil {
			mark.Position.Offset = *m.Offset
			if err := hex16(mark.Position.Incarnation[:], "incarnation", m.Incarnation); err != nil {
				return l, fmt.Errorf("mark of %d: %w", m.Sequence, err)
			}
		}
		l.Marks = append(l.Marks, mark)
	}
	return l, nil
}

// mostNumber is the highest number that books may speak of: sums of them must not
// overflow.
const mostNumber = 1 << 62

func ranges(from [][2]uint64) ([]NumberRange, error) {
	var out []NumberRange
	last := uint64(0)
	for _, p := range from {
		if p[1] > mostNumber {
			return nil, fmt.Errorf("[%d, %d] goes beyond %d: no sender gives out so many", p[0], p[1], uint64(mostNumber))
		}
		if p[0] == 0 || p[0] > p[1] || p[0] <= last {
			return nil, fmt.Errorf("[%d, %d] is no range of numbers from 1, sorted, behind %d", p[0], p[1], last)
		}
		last = p[1]
		out = append(out, NumberRange{p[0], p[1]})
	}
	return out, nil
}

func hex16(dst []byte, field, s string) error {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(dst) {
		return fmt.Errorf("%s %q is not %d hexadecimal digits", field, s, 2*len(dst))
	}
	copy(dst, b)
	return nil
}
