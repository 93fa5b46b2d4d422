package rollcall

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// bookLimits are sizes, in bytes.
type bookLimits struct {
	record int // of a record
	set    int // of each set of a lane, as internal/interval encodes it
	marks  int // of a lane; not bytes but how many
}

const (
	recordBytes = 256 << 10
	setBytes    = 1024
	// In JSON, at most.
	rangeJSON, markJSONBytes, laneJSONBytes, headJSON = 44, 200, 120, 512
)

// newBookLimits fits one lane into a record, whatever the broker takes.
func newBookLimits(most int) bookLimits {
	l := bookLimits{record: recordBytes, set: setBytes}
	if most > 0 {
		l.record = min(l.record, most-MaxStampSize)
	}
	l.marks = max(2, min(laneMarks, l.record/4/markJSONBytes))
	// A byte of a set is half a range at most, and Maybe may be split by two others.
	room := (l.record - headJSON - l.marks*markJSONBytes) / (2 * rangeJSON)
	l.set = max(33, min(l.set, room))
	return l
}

// size of a lane in JSON, at most.
func (l *BookLane) size() int {
	return laneJSONBytes + len(l.Name)*6 + (len(l.Stored)+len(l.Void)+len(l.Maybe))*rangeJSON + len(l.Marks)*markJSONBytes
}

// draft is a record on its way.
type draft struct {
	page  *page
	lanes []*bookLane
	book  Book
	size  int
}

// What is handed to the broker in one call, at most.
const (
	draftsAtOnce = 64
	bytesAtOnce  = 1 << 20
)

// write what is due, or everything for the last time. An error means that something
// was not stored; it is due again. The word that a record is the last of a page is
// written when all before it is.
func (k *bookkeeper) write(ctx context.Context, last bool) error {
	var drafts []draft
	bytes := 0
	flush := func() error {
		err := k.publish(ctx, drafts)
		drafts, bytes = nil, 0
		return err
	}
	for _, p := range k.due(last) {
		for more, first := true, true; more; first = false {
			var d draft
			d, more = k.draft(p, first, last)
			if len(drafts) == draftsAtOnce || bytes > bytesAtOnce || !first && d.book.Kind == BookEnd {
				if err := flush(); err != nil {
					k.putBack(&d)
					return err
				}
			}
			drafts, bytes = append(drafts, d), bytes+d.size
		}
	}
	return flush()
}

// due are the pages of which a record is to be written.
func (k *bookkeeper) due(last bool) (out []*page) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fresh = false
	now := k.clock.Now()
	for _, p := range k.pages {
		if p.given != nil {
			p.gave(p.given(), now)
		}
		// Also after the clock was set back: nothing would be due for as long.
		if stated := now.Sub(p.stated); p.born && !p.ended && (stated > restate*k.config.Idle || stated < 0) {
			p.all(now)
		}
		if last && !p.ended || k.isDue(p, now) {
			out = append(out, p)
		}
	}
	return append(out, k.closing...)
}

func (k *bookkeeper) isDue(p *page, now time.Time) bool {
	return !p.born || len(p.changed) > 0 || !p.ended && now.Sub(p.written) >= k.config.Idle
}

// all lanes are to be written.
func (p *page) all(now time.Time) {
	noted := p.noted
	for _, l := range p.lanes {
		p.change(l, now)
	}
	p.noted, p.stated = noted, now
}

// draft the next record of a page; more follow when not all that changed has room.
func (k *bookkeeper) draft(p *page, first, last bool) (d draft, more bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.clock.Now()
	k.number++
	d.page = p
	d.book = Book{Kind: BookBeacon, Life: p.key.life, Keeper: p.keeper, Sender: k.config.Sender, Destination: p.key.destination,
		Number: k.number, Time: now, Next: k.config.Idle}
	if first && !p.born {
		d.book.Kind = BookBirth
	}
	size := headJSON + len(d.book.Sender)*6 + len(d.book.Destination)*6
	n := 0
	for _, l := range p.changed {
		lane := l.book()
		if size += lane.size(); size > k.most.record && n > 0 {
			break
		}
		n, d.size = n+1, size
		l.changed = false
		d.book.Lanes = append(d.book.Lanes, lane)
	}
	d.lanes, p.changed = p.changed[:n:n], p.changed[n:]
	if len(p.changed) > 0 {
		return d, true
	}
	p.changed = nil
	// Of what others gave out it is the last word until more comes.
	quiet := !k.own[p.key.life] && p.born && now.Sub(p.noted) >= k.config.Idle
	if last || quiet || k.isClosing(p) {
		d.book.Kind = BookEnd
	}
	return d, false
}

func (k *bookkeeper) isClosing(p *page) bool { return k.pages[p.key] != p }

// publish drafts. What was not stored is due again.
func (k *bookkeeper) publish(ctx context.Context, drafts []draft) error {
	ctx, cancel := context.WithTimeout(ctx, bookPatience)
	defer cancel()
	if len(drafts) == 0 {
		return nil
	}
	err := k.send(ctx, drafts)
	if err != nil {
		k.lanes = nil                                // it may have been made again, or gone
		if !errors.Is(ctx.Err(), context.Canceled) { // else Close writes it
			k.failed(err, len(drafts))
		}
	}
	return err
}

func (k *bookkeeper) send(ctx context.Context, drafts []draft) error {
	results, err := k.results(ctx, drafts)
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range drafts {
		result := PublishResult{Err: err}
		if err == nil && i < len(results) {
			result = results[i]
		}
		if result.Fate != Stored {
			err = errors.Join(err, orUnknown(result.Err))
			drafts[i].putBack(k.clock.Now())
			continue
		}
		k.stored(&drafts[i])
	}
	return err
}

func (k *bookkeeper) results(ctx context.Context, drafts []draft) ([]PublishResult, error) {
	lanes, err := k.side(ctx)
	if err != nil {
		return nil, err
	}
	messages := make([]Message, len(drafts))
	for i := range drafts {
		if messages[i], err = drafts[i].book.Message(); err != nil {
			return nil, err
		}
		messages[i].Destination = k.config.Destination
		messages[i].Partition = lanes.Pick(&messages[i])
	}
	var results []PublishResult
	most := len(messages)
	if n := k.sender.Capabilities().MaxBatch; n > 0 {
		most = min(most, n)
	}
	for len(messages) > 0 {
		n := min(most, len(messages))
		got := k.sender.Publish(ctx, k.config.Destination, messages[:n])
		if len(got) != n {
			return nil, fmt.Errorf("rollcall: the driver gave %d results for %d messages", len(got), n)
		}
		results, messages = append(results, got...), messages[n:]
	}
	return results, nil
}

func (k *bookkeeper) putBack(d *draft) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d.putBack(k.clock.Now())
}

// putBack makes what a record said due again. The caller holds mu.
func (d *draft) putBack(now time.Time) {
	noted := d.page.noted
	for _, l := range d.lanes {
		d.page.change(l, now)
	}
	d.page.noted = noted
}

// stored notes that a record is. The caller holds mu.
func (k *bookkeeper) stored(d *draft) {
	p := d.page
	p.born, p.written = true, d.book.Time
	if p.stated.IsZero() {
		p.stated = d.book.Time
	}
	p.ended = d.book.Kind == BookEnd && len(p.changed) == 0
	if k.isClosing(p) && p.ended {
		for i, c := range k.closing {
			if c == p {
				k.closing = append(k.closing[:i], k.closing[i+1:]...)
				break
			}
		}
	}
}
