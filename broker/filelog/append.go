package filelog

import (
	"fmt"

	"github.com/rollcall-mq/rollcall"
)

// appender gathers the rows of one transaction.
type appender struct {
	conn   *conn
	stored int64
	open   map[*part]*chunk
}

// writeGroup stores the messages of a group of requests and lifts the marks.
// The answers are filled in; they hold only if it returns nil.
func (l *Log) writeGroup(group []*request) error {
	var raised []part
	err := l.write(func(c *conn) error {
		v, err := l.writeView(c)
		if err != nil {
			return err
		}
		a := &appender{conn: c, stored: l.config.now().UnixNano(), open: make(map[*part]*chunk)}
		for _, r := range group {
			if err := l.appendRequest(a, v, r); err != nil {
				return err
			}
		}
		raised, err = a.finish()
		return err
	})
	if err != nil {
		return err
	}
	if err := l.marks.raise(raised); err != nil {
		// Stored it is; only a later loss of the tail would not be noticed.
		l.config.OnError(fmt.Errorf("filelog: raise high marks in %s: %w", l.marks.path, err))
	}
	return nil
}

func (l *Log) appendRequest(a *appender, v *view, r *request) error {
	parts := v.parts[r.destination]
	if len(parts) == 0 {
		r.fail(rollcall.Refused, l.noDestination(r.destination))
		return nil
	}
	r.answers = make([]rollcall.PublishResult, len(r.entries))
	for i := range r.entries {
		e := &r.entries[i]
		if e.number < 0 || int(e.number) >= len(parts) {
			r.answers[i] = rollcall.PublishResult{Fate: rollcall.Refused, Err: fmt.Errorf(
				"%w: destination %q has %d partitions, there is no partition %d; ask Lanes again", rollcall.ErrConfig, r.destination, len(parts), e.number)}
			continue
		}
		p := parts[e.number]
		offset, err := a.add(p, e.payload)
		if err != nil {
			return err
		}
		r.answers[i] = rollcall.PublishResult{Fate: rollcall.Stored, Position: rollcall.Position{Incarnation: p.incarnation, Offset: offset}}
	}
	return nil
}

// add puts a record behind its partition's last and returns its offset. The
// partition's end moves in the view: if the transaction fails, that is dropped.
func (a *appender) add(p *part, payload []byte) (int64, error) {
	ch := a.open[p]
	if ch != nil && ch.full(len(payload)) {
		if err := a.store(p, ch); err != nil {
			return 0, err
		}
		ch = nil
	}
	if p.end >= mostOffset {
		return 0, fmt.Errorf("filelog: %s is full at offset %d; create another destination", p.where(), p.end)
	}
	if ch == nil {
		ch = &chunk{place: p.place(a.stored), first: p.end, last: p.end - 1}
		a.open[p] = ch
	}
	ch.add(payload)
	p.end = ch.last + 1
	return ch.last, nil
}

func (a *appender) store(p *part, ch *chunk) error {
	_, err := a.conn.exec(`INSERT INTO chunks (id, first, stored, crc, data) VALUES (?, ?, ?, ?, ?)`,
		chunkID(p.id, ch.last), ch.first, ch.stored, int64(ch.headSum(len(ch.data))), ch.data)
	return err
}

// finish writes what is open and returns the partitions as they are now.
func (a *appender) finish() ([]part, error) {
	out := make([]part, 0, len(a.open))
	for p, ch := range a.open {
		if err := a.store(p, ch); err != nil {
			return nil, err
		}
		if err := writePart(a.conn, p); err != nil {
			return nil, err
		}
		out = append(out, *p)
	}
	return out, nil
}
