package rows

import (
	"fmt"

	rollcall "github.com/rollcall-mq/rollcall"
)

// Outbox is a message waiting to be sent as its row lies there.
type Outbox struct {
	Row                                 rollcall.OutboxRow
	Key, ID, Time, Stamp, Headers, Body []byte
	FixedSum, StampSum                  int64
}

// NewOutbox is the row of m.
func NewOutbox(m *rollcall.Message) *Outbox {
	r := &Outbox{Row: rollcall.OutboxRow{Message: *m}}
	r.Key, r.ID = Bytes(m.Key), Bytes(string(m.ID))
	r.Time, r.Stamp = TimeBytes(m.Time), StampBytes(m.Stamp)
	r.Headers, r.Body = HeaderBytes(m.Headers), m.Body
	r.FixedSum, r.StampSum = r.fixed(), r.stamped()
	return r
}

// fixed is the sum over what is written once, stamped over what Stamp writes.
func (r *Outbox) fixed() int64 {
	return Sum(r.Row.Message.Destination, r.Key, r.Time, r.Headers, r.Body)
}

func (r *Outbox) stamped() int64 { return Sum(r.ID, r.Stamp, r.Row.Message.Partition) }

// Open checks the sums and decodes what was scanned. A row that cannot be read
// has its Damage.
func (r *Outbox) Open() rollcall.OutboxRow {
	if err := r.open(); err != nil {
		r.Row.Damage = fmt.Sprintf("row %d of rollcall's outbox is damaged: %v: restore the store from a backup, or discard it and send the message anew", r.Row.ID, err)
	}
	return r.Row
}

func (r *Outbox) open() (err error) {
	m := &r.Row.Message
	sound := r.FixedSum == r.fixed() && r.StampSum == r.stamped()
	m.Key, m.ID, m.Body = string(r.Key), rollcall.MessageID(r.ID), r.Body
	if !sound {
		return fmt.Errorf("the message does not match its sum")
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
