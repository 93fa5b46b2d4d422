package rows

import (
	"fmt"

	rollcall "github.com/rollcall-mq/rollcall"
)

// AsideColumns are in the order of Aside.Dest; %s is the column of the order key,
// whose name some databases reserve.
const AsideColumns = `id, grp, identity, state, cause, attempts, early, owns_key, due, created, updated,
	dedup_key, position, destination, part, key, message_id, time, stamp, headers, body, crc_state, crc_fixed, crc_body`

// Aside is a message set aside as its row lies there.
type Aside struct {
	Aside                           rollcall.Aside
	Group                           string
	State                           string
	Cause                           []byte
	Identity, DedupKey, Position    []byte
	Key, ID, Time, Stamp            []byte
	Headers, Body                   []byte
	Due, Created, Updated           int64
	StateSum, FixedSum, ContentsSum int64
}

// fixed is the sum over what never changes.
func (r *Aside) fixed() int64 {
	m := &r.Aside.Message
	return Sum(r.Group, r.Identity, r.DedupKey, r.Position, m.Destination, m.Partition, r.Key, r.ID, r.Time, r.Stamp, r.Created)
}

// StateSum is the sum over what Turn writes, but for the times.
func StateSum(state rollcall.AsideState, cause string, attempts int, early, ownsKey bool) int64 {
	return Sum(string(state), cause, attempts, early, ownsKey)
}

// NoContents is the sum of a row that is over: it keeps no headers and no body.
func NoContents() int64 { return Sum([]byte(nil), []byte(nil)) }

// NewAside is the row of a.
func NewAside(group string, a *rollcall.Aside) *Aside {
	m := &a.Message
	r := &Aside{Aside: *a, Group: group, State: string(a.State), Cause: Bytes(a.Cause)}
	r.Identity, r.Position = r.Aside.Identity[:], PositionBytes(a.Position)
	if a.DedupKey != (rollcall.DedupKey{}) {
		r.DedupKey = r.Aside.DedupKey[:]
	}
	r.Key, r.ID = Bytes(m.Key), Bytes(string(m.ID))
	r.Time, r.Stamp = TimeBytes(m.Time), StampBytes(m.Stamp)
	r.Due, r.Created, r.Updated = Nanos(a.Due), Nanos(a.Created), Nanos(a.Updated)
	r.Headers, r.Body = HeaderBytes(m.Headers), m.Body
	if Over(a.State) {
		r.Headers, r.Body = nil, nil
	}
	r.StateSum = StateSum(a.State, a.Cause, a.Attempts, a.Early, a.OwnsKey)
	r.FixedSum, r.ContentsSum = r.fixed(), Sum(r.Headers, r.Body)
	return r
}

// Life is the sender's life as a column of its own, nil without a stamp.
func (r *Aside) Life() []byte {
	if r.Aside.Message.Stamp.IsZero() {
		return nil
	}
	return r.Aside.Message.Stamp.Life[:]
}

// Over reports whether rows of the state keep no body.
func Over(s rollcall.AsideState) bool {
	return s == rollcall.AsideDone || s == rollcall.AsideDiscarded
}

// Dest is where to scan AsideColumns.
func (r *Aside) Dest() []any {
	a, m := &r.Aside, &r.Aside.Message
	return []any{&a.ID, &r.Group, &r.Identity, &r.State, &r.Cause, &a.Attempts, &a.Early, &a.OwnsKey, &r.Due, &r.Created, &r.Updated,
		&r.DedupKey, &r.Position, &m.Destination, &m.Partition, &r.Key, &r.ID, &r.Time, &r.Stamp, &r.Headers, &r.Body,
		&r.StateSum, &r.FixedSum, &r.ContentsSum}
}

// Open checks the sums and decodes what was scanned. The error of a row that
// does not match its sums is rollcall.ErrDamaged.
func (r *Aside) Open() (rollcall.Aside, error) {
	r.Aside.State, r.Aside.Cause = rollcall.AsideState(r.State), string(r.Cause)
	if err := r.open(); err != nil {
		return r.Aside, fmt.Errorf("%w: row %d of rollcall's asides (group %q): %w: restore the store from a backup, "+
			"or look at the row with the database's own client; nothing was skipped", rollcall.ErrDamaged, r.Aside.ID, r.Group, err)
	}
	return r.Aside, nil
}

func (r *Aside) open() error {
	a, m := &r.Aside, &r.Aside.Message
	switch {
	case r.StateSum != StateSum(a.State, a.Cause, a.Attempts, a.Early, a.OwnsKey):
		return fmt.Errorf("state %q, attempts and cause do not match their sum", a.State)
	case r.FixedSum != r.fixed() || len(r.Identity) != len(a.Identity):
		return fmt.Errorf("identity, key, id, position and stamp do not match their sum")
	case r.ContentsSum != Sum(r.Headers, r.Body):
		return fmt.Errorf("headers and body do not match their sum")
	}
	a.Identity = rollcall.Identity(r.Identity)
	if len(r.DedupKey) == len(a.DedupKey) {
		a.DedupKey = rollcall.DedupKey(r.DedupKey)
	}
	a.Due, a.Created, a.Updated = FromNanos(r.Due), FromNanos(r.Created), FromNanos(r.Updated)
	m.Key, m.ID, m.Body = string(r.Key), rollcall.MessageID(r.ID), r.Body
	var err error
	if a.Position, err = ParsePosition(r.Position); err != nil {
		return err
	}
	if m.Headers, err = ParseHeaders(r.Headers); err != nil {
		return err
	}
	if m.Time, err = ParseTime(r.Time); err != nil {
		return err
	}
	m.Stamp, err = ParseStamp(r.Stamp)
	return err
}
