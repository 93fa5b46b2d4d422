package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// Records is what the audit reads of a store: any rollcall.Store has it.
type Records interface {
	Rolls(ctx context.Context, group string, scopes []rollcall.Scope) ([]rollcall.RollRow, error)
	Upkeep() rollcall.Upkeep
}

// Inputs are where a Watch reads. Nothing of it is changed by reading.
type Inputs struct {
	// Log is the destination. Required.
	Log rollcall.Source
	// Side is the side destination, where senders keep their books. Default: nil,
	// there is none, and a hole is suspected at most.
	Side rollcall.Source
	// Tap reads all that lies in Log, without a group: the detector at delivery.
	// Default: false.
	Tap bool
	// Store has the rolls of Config.Group: the detector at effect. Default: nil.
	Store Records
}

// Watch feeds an Audit from the real things, again and again.
type Watch struct {
	audit     *Audit
	in        Inputs
	measure   rollcall.Measurer
	side, tap rollcall.Tap
	sideAt    map[int32]int64
	entries   int64
	ends      []rollcall.Extent // of the log at the first step
	began     time.Time
	missed    []string // what a tap could not read
}

// NewWatch begins to watch a destination. It needs a Log that can be measured
// (rollcall.Measurer), where there are positions, and that can be tapped
// (rollcall.Tapper) where Tap is set.
func NewWatch(ctx context.Context, destination string, in Inputs, config Config) (*Watch, error) {
	can := in.Log.Capabilities()
	if config.Hold == 0 {
		config.Hold = can.MaxHold
	}
	w := &Watch{audit: New(destination, config), in: in, sideAt: make(map[int32]int64)}
	var ok bool
	if !can.Positions {
		w.measure = unmeasured{}
	} else if w.measure, ok = in.Log.(rollcall.Measurer); !ok {
		return nil, fmt.Errorf("%w: audit: %q is on a broker that does not tell where its partitions begin and end", rollcall.ErrConfig, destination)
	}
	var err error
	if in.Side != nil {
		if w.side, err = openTap(ctx, in.Side, time.Time{}); err != nil {
			return nil, err
		}
	}
	if in.Tap {
		w.audit.tap.on = true
		if err = w.begin(ctx); err == nil {
			w.tap, err = openTap(ctx, in.Log, config.Since)
		}
		if err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	return w, nil
}

// unmeasured is a queue: nothing has a place in it.
type unmeasured struct{}

// Measure finds nothing.
func (unmeasured) Measure(context.Context) ([]rollcall.Extent, error) { return nil, nil }

// begin measures before the tap reads: what is below was gone before.
func (w *Watch) begin(ctx context.Context) error {
	extents, err := w.measure.Measure(ctx)
	w.audit.Log(extents)
	return err
}

func openTap(ctx context.Context, from rollcall.Source, since time.Time) (rollcall.Tap, error) {
	t, ok := from.(rollcall.Tapper)
	if can := from.Capabilities(); !ok || !can.Positions {
		return nil, fmt.Errorf("%w: audit: a queue of %s cannot be read without taking what is in it; audit it by a group's rolls, without --tap", rollcall.ErrConfig, can.Broker)
	}
	return t.Tap(ctx, since)
}

// Close ends the taps.
func (w *Watch) Close() error {
	var errs []error
	for _, t := range []rollcall.Tap{w.side, w.tap} {
		if t != nil {
			errs = append(errs, t.Close())
		}
	}
	return errors.Join(errs...)
}

// Step reads what is new, in the order that leaves no room for a false alarm (books,
// then where the log ends, then what was delivered, then where the group is, then
// its rolls), and judges.
func (w *Watch) Step(ctx context.Context, now time.Time) (*Report, error) {
	if err := w.readBooks(ctx); err != nil {
		return nil, fmt.Errorf("audit: the books: %w", err)
	}
	extents, err := w.measure.Measure(ctx)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	w.audit.Log(extents)
	if w.ends == nil {
		w.ends, w.began = extents, now
	}
	if w.tap != nil {
		if err := w.readLog(ctx, extents); err != nil {
			return nil, fmt.Errorf("audit: the tap: %w", err)
		}
	}
	if w.in.Store != nil {
		if err := w.readGroup(ctx, extents); err != nil {
			return nil, fmt.Errorf("audit: group %q: %w", w.audit.config.Group, err)
		}
	}
	r, err := w.audit.Judge(ctx, now, w.in.Log)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if err := w.aside(ctx, r); err != nil {
		return nil, fmt.Errorf("audit: group %q: %w", w.audit.config.Group, err)
	}
	return r, w.notes(ctx, r, extents)
}

// aside adds what the group has set aside: it is in the rolls, and has not taken effect.
func (w *Watch) aside(ctx context.Context, r *Report) error {
	if w.in.Store == nil {
		return nil
	}
	tallies, err := w.in.Store.Upkeep().Tally(ctx, w.audit.config.Group)
	for _, t := range tallies {
		if t.Destination == r.Destination {
			r.Aside = Aside{Waiting: t.Waiting, Dead: t.Dead, Parked: t.Parked}
		}
	}
	return err
}

// stepFor bounds how long one Step reads what lies there: a report of a part is
// better than none for an hour.
const stepFor = 2 * time.Second

// fetchWait is how long one Fetch waits for messages.
const fetchWait = 100 * time.Millisecond

// readBooks reads the side destination up to its present end.
func (w *Watch) readBooks(ctx context.Context) error {
	if w.side == nil {
		return nil
	}
	var ends []rollcall.Extent
	if m, ok := w.in.Side.(rollcall.Measurer); ok {
		var err error
		if ends, err = m.Measure(ctx); err != nil {
			return err
		}
	}
	for deadline := time.Now().Add(time.Minute); ; {
		behind := false
		for _, x := range ends {
			behind = behind || max(w.sideAt[x.Partition.Number], x.First) < x.End
		}
		if !behind {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("they were not read to their end within a minute")
		}
		batches, err := w.side.Fetch(ctx, rollcall.FetchRequest{Max: 1000, Min: 1, Wait: fetchWait})
		for i := range batches {
			w.takeBooks(&batches[i])
		}
		switch {
		case errors.Is(err, rollcall.ErrMissed):
			w.missed = append(w.missed, err.Error())
		case err != nil:
			return err
		}
	}
}

func (w *Watch) takeBooks(b *rollcall.Batch) {
	for i := range b.Deliveries {
		d := &b.Deliveries[i]
		w.sideAt[b.Partition.Number] = max(w.sideAt[b.Partition.Number], d.Position.Offset+1)
		_ = w.audit.Book(&d.Message) // it is counted, and told in a note
	}
	for _, c := range b.Covered {
		w.sideAt[b.Partition.Number] = max(w.sideAt[b.Partition.Number], c.Last+1)
	}
}

// readLog reads the destination up to the ends, or for as long as a step may take.
func (w *Watch) readLog(ctx context.Context, ends []rollcall.Extent) error {
	for deadline := time.Now().Add(stepFor); time.Now().Before(deadline); {
		if w.audit.read(ends) {
			return nil
		}
		batches, err := w.tap.Fetch(ctx, rollcall.FetchRequest{Max: 5000, Min: 1, Wait: fetchWait})
		for i := range batches {
			w.audit.Deliver(&batches[i])
		}
		switch {
		case errors.Is(err, rollcall.ErrMissed):
			w.missed = append(w.missed, err.Error())
		case err != nil:
			return err
		}
	}
	return nil
}

// read reports whether the tap has read up to the ends.
func (a *Audit) read(ends []rollcall.Extent) bool {
	for _, x := range ends {
		if max(a.tap.next[x.Partition.Number], x.First) < x.End {
			return false
		}
	}
	return true
}

// readGroup reads the group's place, then the rolls of senders, then what operators
// did.
func (w *Watch) readGroup(ctx context.Context, extents []rollcall.Extent) error {
	places, err := w.readPlaces(ctx, extents)
	if err != nil {
		return err
	}
	w.audit.Group(places)
	var after rollcall.Scope
	for {
		rows, err := w.in.Store.Upkeep().Scan(ctx, w.audit.config.Group, after, rollPage)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := w.audit.Done(row); err != nil {
				return err
			}
		}
		if len(rows) < rollPage {
			break
		}
		after = rows[len(rows)-1].Scope
	}
	for {
		entries, err := w.in.Store.Upkeep().Entries(ctx, w.audit.config.Group, w.entries, rollPage)
		if err != nil {
			return err
		}
		for i := range entries {
			w.entries = entries[i].ID
			_ = w.audit.Waive(&entries[i]) // others than waivers are no error here
		}
		if len(entries) < rollPage {
			return nil
		}
	}
}

const rollPage = 1000

// readPlaces reads how far the group has worked off each partition.
func (w *Watch) readPlaces(ctx context.Context, extents []rollcall.Extent) (map[int32]*rollcall.Roll, error) {
	scopes := make([]rollcall.Scope, len(extents))
	for i, x := range extents {
		scopes[i] = rollcall.PartitionScope(x.Partition, x.Incarnation)
	}
	rows, err := w.in.Store.Rolls(ctx, w.audit.config.Group, scopes)
	if err != nil {
		return nil, err
	}
	rolls := make(map[int32]*rollcall.Roll, len(rows))
	for i, row := range rows {
		if rolls[extents[i].Partition.Number], err = rollcall.OpenRoll(row); err != nil {
			return nil, err
		}
	}
	return rolls, nil
}

// Sealed reports whether a report is final for all that lay in the destination when
// the watch began: each detector has passed it, and nothing of it is open or
// suspected.
func (w *Watch) Sealed(r *Report) bool {
	if w.tap != nil && !w.audit.read(w.ends) {
		return false
	}
	if w.in.Store != nil {
		for _, x := range w.ends {
			if x.End > x.First && w.audit.group.reached[x.Partition.Number] < x.End {
				return false
			}
		}
	}
	return w.decided(r)
}

// Answered reports whether a report is final for what was acknowledged before the
// watch began, as far as the detectors have come: what the group has still to do is
// not waited for, what the tap has still to read is.
func (w *Watch) Answered(r *Report) bool {
	_, looks := w.in.Log.(rollcall.Peeker)
	if looks && len(w.audit.wanted) > 0 {
		return false // there is more to look up than one step does
	}
	return (w.tap == nil || w.audit.read(w.ends)) && w.decided(r)
}

// decided reports whether nothing that was acknowledged before the watch began can
// get another verdict by waiting.
func (w *Watch) decided(r *Report) bool {
	for _, f := range r.Findings {
		waiting := f.Verdict == Open || f.Verdict == Suspected && f.Cause != CauseNoBooks
		if waiting && !f.Since.After(w.began) {
			return false
		}
	}
	return true
}
