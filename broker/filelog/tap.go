package filelog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-mq/rollcall"
)

var _ rollcall.Tapper = (*Source)(nil)

// Tap implements rollcall.Tapper, on a connection of its own. It makes no destination:
// one that comes later is read from its beginning. Since goes by when a message was
// stored, whole rows of up to a thousand messages at a time.
//
// What cannot be read because it is damaged is told once, with rollcall.ErrMissed and
// rollcall.ErrDamaged, and the row behind it is next. Close taps before the Log.
func (s *Source) Tap(ctx context.Context, since time.Time) (rollcall.Tap, error) {
	l := s.log
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	c, err := l.connect()
	if err != nil {
		return nil, l.explain("tap", err)
	}
	t := &tap{log: l, destinations: s.destinations, conn: c, places: make(map[rollcall.Partition]*tapPlace)}
	err = l.readView(c, "", func(v *view) error { return t.begin(v, since) })
	if err != nil {
		return nil, errors.Join(l.explain("tap", err), c.close())
	}
	l.subs.Add(1)
	return t, nil
}

// tap reads without a group.
type tap struct {
	log          *Log
	destinations []string
	conn         *conn
	places       map[rollcall.Partition]*tapPlace
	turn         int
	closed       bool
}

// tapPlace is how far a partition was read.
type tapPlace struct {
	incarnation rollcall.Incarnation
	next        int64
}

func (t *tap) begin(v *view, since time.Time) error {
	for _, d := range t.destinations {
		for _, p := range v.parts[d] {
			from := p.first
			if !since.IsZero() {
				var err error
				if from, err = t.firstSince(p, since); err != nil {
					return err
				}
			}
			t.places[p.partition()] = &tapPlace{p.incarnation, from}
		}
	}
	return nil
}

// firstSince is the first offset of the first row that was stored then or later.
func (t *tap) firstSince(p *part, since time.Time) (int64, error) {
	from := p.end
	args := []any{chunkID(p.id, p.first), chunkID(p.id, mostOffset), since.UnixNano()}
	err := t.conn.rows(`SELECT first FROM chunks WHERE id BETWEEN ? AND ? AND stored >= ? ORDER BY id LIMIT 1`, args,
		func(r *sql.Rows) (bool, error) { return false, scan(r, &from) })
	return max(from, p.first), err
}

// Fetch implements rollcall.Tap.
func (t *tap) Fetch(ctx context.Context, request rollcall.FetchRequest) ([]rollcall.Batch, error) {
	if t.closed {
		return nil, fmt.Errorf("%w: tap of %s", rollcall.ErrClosed, t.log.path)
	}
	request.Max = max(request.Max, 1)
	poll := time.NewTimer(pollEvery)
	defer poll.Stop()
	for deadline := time.Now().Add(request.Wait); ; {
		changed := t.log.changed.wait()
		if err := t.log.ready(ctx); err != nil {
			return nil, err
		}
		left := time.Until(deadline)
		batches, missed, err := t.gather(request, left <= 0)
		if err != nil || missed != nil || len(batches) > 0 || left <= 0 {
			return batches, errors.Join(missed, err)
		}
		poll.Reset(min(pollEvery, left))
		select {
		case <-changed:
		case <-poll.C:
		case <-ctx.Done():
		}
	}
}

// gather reads once, if there is enough or it is the last time.
func (t *tap) gather(request rollcall.FetchRequest, last bool) (out []rollcall.Batch, missed, err error) {
	var hauls []*haul
	err = t.log.readView(t.conn, "", func(v *view) error {
		parts, available := t.plan(v, request.Paused, &missed)
		if !last && missed == nil && available < int64(max(1, min(request.Min, request.Max))) {
			return nil
		}
		bytes := fetchBytes
		for _, p := range parts {
			if bytes <= 0 {
				break
			}
			h := &haul{part: p, from: t.places[p.partition()].next, most: request.Max}
			hauls = append(hauls, h)
			if err := h.load(t, &bytes); err != nil {
				return err
			}
		}
		t.turn += max(1, len(hauls))
		return nil
	})
	var unpacking sync.WaitGroup
	for _, h := range hauls {
		unpacking.Go(h.unpack)
	}
	unpacking.Wait()
	for _, h := range hauls {
		t.places[h.part.partition()].next = h.next
		if len(h.batch.Deliveries) > 0 {
			out = append(out, h.batch)
		}
		if h.bad != nil {
			t.miss(&missed, h.part, t.log.damaged(h.part.where(), h.bad.Error(), nextRestore))
		} else if h.gone != nil {
			t.miss(&missed, h.part, h.gone)
		}
	}
	if err != nil {
		t.conn = t.log.replaced(t.conn, err)
		err = t.log.explain("tap", err)
	}
	return out, missed, err
}

// plan lists the partitions that hold more, each time beginning with another one, and
// goes on where they are now.
func (t *tap) plan(v *view, paused []rollcall.Partition, missed *error) (out []*part, available int64) {
	for _, d := range t.destinations {
		for _, p := range v.parts[d] {
			at := t.places[p.partition()]
			if at == nil { // it is new
				at = &tapPlace{p.incarnation, p.first}
				t.places[p.partition()] = at
			}
			switch {
			case at.incarnation != p.incarnation:
				t.miss(missed, p, fmt.Errorf("destination %q was deleted and made again: what was not read of the old one is gone", d))
				*at = tapPlace{p.incarnation, p.first}
			case at.next < p.first:
				t.miss(missed, p, fmt.Errorf("offsets %d to %d were removed (retention, or an operator) before they were read", at.next, p.first-1))
				at.next = p.first
			}
			if at.next < p.end && !slices.Contains(paused, p.partition()) {
				out, available = append(out, p), available+p.end-at.next
			}
		}
	}
	if len(out) > 0 {
		k := t.turn % len(out)
		out = append(out[k:len(out):len(out)], out[:k]...)
	}
	return out, available
}

func (t *tap) miss(missed *error, p *part, what error) {
	*missed = errors.Join(*missed, fmt.Errorf("%w: filelog: %s: %s: %w", rollcall.ErrMissed, t.log.path, p.where(), what))
}

// nextRow is where the next row begins that lies wholly at an offset or later.
func (t *tap) nextRow(p *part, offset int64) (int64, error) {
	next := p.end
	err := t.conn.rows(`SELECT first FROM chunks WHERE id BETWEEN ? AND ? AND first >= ? ORDER BY id LIMIT 1`,
		[]any{chunkID(p.id, offset), chunkID(p.id, mostOffset), offset}, func(r *sql.Rows) (bool, error) { return false, scan(r, &next) })
	return max(next, offset), err
}

// Close implements rollcall.Tap.
func (t *tap) Close() error {
	if t.closed {
		return nil
	}
	t.closed = true
	t.log.subs.Add(-1)
	return t.conn.close()
}
