package rows

import (
	"encoding/binary"
	"fmt"

	rollcall "github.com/rollcall-mq/rollcall"
)

// EntryColumns are in the order of Entry.Dest.
const EntryColumns = "id, grp, at, operator, verb, reason, aside, message_id, destination, scope, numbers, detail, crc"

// Entry is a line of the operator log as its row lies there.
type Entry struct {
	Entry                rollcall.OperatorEntry
	Group, Verb          string
	At                   int64
	Operator, Reason, ID []byte
	Scope, Numbers       []byte // nil: of none
	Crc                  int64
}

// NewEntry is the row of e.
func NewEntry(group string, e *rollcall.OperatorEntry) *Entry {
	r := &Entry{Entry: *e, Group: group, Verb: string(e.Verb), At: Nanos(e.Time)}
	r.Operator, r.Reason, r.ID = Bytes(e.Operator), Bytes(e.Reason), Bytes(string(e.MessageID))
	if e.Scope != (rollcall.Scope{}) {
		r.Scope = e.Scope.Bytes()
	}
	if e.Numbers != (rollcall.NumberRange{}) {
		r.Numbers = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, e.Numbers.First), e.Numbers.Last)
	}
	r.Crc = r.sum()
	return r
}

func (r *Entry) sum() int64 {
	e := &r.Entry
	return Sum(r.Group, r.At, r.Operator, r.Verb, r.Reason, e.Aside, r.ID, e.Destination, r.Scope, r.Numbers, e.Detail)
}

// Dest is where to scan EntryColumns.
func (r *Entry) Dest() []any {
	e := &r.Entry
	return []any{&e.ID, &r.Group, &r.At, &r.Operator, &r.Verb, &r.Reason, &e.Aside, &r.ID, &e.Destination, &r.Scope, &r.Numbers, &e.Detail, &r.Crc}
}

// Open checks the sum and decodes what was scanned.
func (r *Entry) Open() (rollcall.OperatorEntry, error) {
	e := r.Entry
	e.Time, e.Verb = FromNanos(r.At), rollcall.OperatorVerb(r.Verb)
	e.Operator, e.Reason, e.MessageID = string(r.Operator), string(r.Reason), rollcall.MessageID(r.ID)
	err := r.check()
	if err == nil && len(r.Scope) > 0 {
		e.Scope, err = rollcall.ParseScope(r.Scope)
	}
	if len(r.Numbers) == 16 {
		e.Numbers = rollcall.NumberRange{First: binary.BigEndian.Uint64(r.Numbers), Last: binary.BigEndian.Uint64(r.Numbers[8:])}
	}
	if err != nil {
		return e, fmt.Errorf("%w: entry %d of the operator log (group %q): %w: somebody changed it, or the disk did; "+
			"restore the store from a backup, or look at the row with the database's own client", rollcall.ErrDamaged, e.ID, r.Group, err)
	}
	return e, nil
}

func (r *Entry) check() error {
	if r.Crc != r.sum() || len(r.Numbers) != 0 && len(r.Numbers) != 16 {
		return fmt.Errorf("it does not match its sum")
	}
	return nil
}

// ScanRoll checks a roll that was found by walking.
func ScanRoll(group string, scope, data []byte, crc int64) (rollcall.RollRow, error) {
	at, err := rollcall.ParseScope(scope)
	if err != nil || crc != RollSum(group, scope, data) {
		return rollcall.RollRow{}, fmt.Errorf("%w: roll %x of group %q does not match its sum: restore the store from a backup; nothing was skipped",
			rollcall.ErrDamaged, scope, group)
	}
	return rollcall.RollRow{Scope: at, Data: data}, nil
}
