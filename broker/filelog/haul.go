package filelog

import (
	"errors"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/slab"
)

// haul is what one Fetch of a tap takes of a partition. Rows are loaded one partition
// after the other, and unpacked side by side.
type haul struct {
	part *part
	from int64
	most int

	rows  []chunk
	gone  error // rows are missing behind those
	batch rollcall.Batch
	bad   error // a record is damaged: what its row holds behind it is passed over
	next  int64 // where the next one begins
}

// load rows, up to what is wanted.
func (h *haul) load(t *tap, bytes *int) error {
	h.next = h.from
	n := int64(0)
	err := t.log.readChunks(t.conn, h.part, h.from, func(ch *chunk) (bool, error) {
		h.rows = append(h.rows, *ch)
		n += ch.last - max(ch.first, h.from) + 1
		*bytes -= len(ch.data)
		return n < int64(h.most) && *bytes > 0, nil
	})
	if !errors.Is(err, rollcall.ErrDamaged) {
		return err
	}
	at := h.from
	if k := len(h.rows); k > 0 {
		at = h.rows[k-1].last + 1
	}
	h.gone = err
	h.next, err = t.nextRow(h.part, at+1)
	return err
}

// unpack the rows.
func (h *haul) unpack() {
	n := int64(0)
	for i := range h.rows {
		n += h.rows[i].last - max(h.rows[i].first, h.from) + 1
	}
	h.batch = rollcall.Batch{Partition: h.part.partition(), Deliveries: make([]rollcall.Delivery, 0, min(n, int64(h.most)))}
	var texts slab.Strings
	for i := range h.rows {
		if !h.unpackRow(&h.rows[i], &texts) {
			return
		}
	}
}

// unpackRow reports whether to go on with the next row.
func (h *haul) unpackRow(ch *chunk, texts *slab.Strings) bool {
	var bad error
	next := max(ch.first, h.from)
	err := ch.each(h.from, func(offset int64, payload []byte) bool {
		if len(h.batch.Deliveries) == h.most {
			return false
		}
		k := len(h.batch.Deliveries)
		h.batch.Deliveries = h.batch.Deliveries[:k+1] // in place: it is large
		d := &h.batch.Deliveries[k]
		if bad = decodePayload(payload, &d.Message, texts); bad != nil {
			bad, h.batch.Deliveries = &recordError{offset, bad}, h.batch.Deliveries[:k]
			return false
		}
		d.Position = rollcall.Position{Incarnation: h.part.incarnation, Offset: offset}
		d.Destination, d.Partition = h.part.destination, h.part.number
		next = offset + 1
		return true
	})
	if err = errors.Join(err, bad); err != nil {
		h.bad, h.gone, h.next = err, nil, ch.last+1
		return false
	}
	if next <= ch.last { // it is enough
		h.gone, h.next = nil, next
		return false
	}
	if h.gone == nil {
		h.next = next
	}
	return true
}
