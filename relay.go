package rollcall

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/rollcall-mq/rollcall/internal/backoff"
	"github.com/rollcall-mq/rollcall/internal/failpoint"
)

// RelayConfig is the settings of a Relay. The zero value is safe.
type RelayConfig struct {
	// Batch is the most rows sent at once. Default: 500.
	Batch int
	// Clock is where time comes from. Default: the system's.
	Clock Clock
	// Name is the scope of the relay's token: relays of one outbox have one
	// name. Default: "relay".
	Name string
	// Observer is told what happens. Default: SlogObserver(slog.Default()).
	Observer Observer
	// Poll is how often an empty outbox is looked at. Default: 50 ms.
	Poll time.Duration
	// Standby is how long a relay that was fenced waits before it takes over
	// again. Default: 5 s.
	Standby time.Duration
	// Books are what the relay writes down of the numbers that it gives out and sends.
	// Default: see BooksConfig.
	Books BooksConfig
}

// Relay pumps an outbox to a broker. The stamp is in the row before the first
// send, so that a relay that dies and one that takes over send the same
// number, which is absorbed. Rows leave in the order of their ids. Several
// relays are safe: the store's token lets one at a time write.
type Relay[X any] struct {
	store  Store[X]
	sender Sender
	config RelayConfig
	life   Life
	stamps map[string]*stamper
	books  *bookkeeper
}

// NewRelay makes a relay with a new life.
func NewRelay[X any](store Store[X], sender Sender, config RelayConfig) *Relay[X] {
	config.Batch = orDefault(config.Batch, 500)
	config.Poll = orDefault(config.Poll, 50*time.Millisecond)
	config.Standby = orDefault(config.Standby, 5*time.Second)
	if config.Clock == nil {
		config.Clock = systemClock{}
	}
	if config.Observer == nil {
		config.Observer = SlogObserver(slog.Default())
	}
	if config.Name == "" {
		config.Name = "relay"
	}
	return &Relay[X]{store: store, sender: sender, config: config, life: NewLife(), stamps: make(map[string]*stamper)}
}

// Run pumps until ctx ends. Errors of the environment are waited out.
func (r *Relay[X]) Run(ctx context.Context) error {
	return r.loop(ctx, false)
}

// Drain pumps until the outbox is empty.
func (r *Relay[X]) Drain(ctx context.Context) error {
	return r.loop(ctx, true)
}

func (r *Relay[X]) loop(ctx context.Context, untilEmpty bool) error {
	r.books = newBookkeeper(r.sender, r.config.Books, r.config.Clock, r.config.Observer, r.life)
	defer r.endLife(ctx)
	var hold Hold
	for try := 0; ctx.Err() == nil; {
		sent, err := 0, error(nil)
		if hold.Token == 0 {
			hold, err = r.acquire(ctx)
		}
		if err == nil {
			sent, err = r.pump(ctx, hold)
		}
		switch {
		case errors.Is(err, ErrFenced):
			hold = Hold{}
			r.config.Observer.Observe(Fenced{Err: err})
			_ = r.config.Clock.Sleep(ctx, r.config.Standby)
		case err != nil && ctx.Err() == nil:
			d := backoff.Delay(try, 20*time.Millisecond, 5*time.Second)
			try++
			r.config.Observer.Observe(Paused{"relay", err, d})
			_ = r.config.Clock.Sleep(ctx, d)
		case sent > 0:
			try = 0
		case untilEmpty:
			return r.store.Release(ctx, []Hold{hold})
		default:
			_ = r.config.Clock.Sleep(ctx, r.config.Poll)
		}
	}
	if untilEmpty {
		return context.Cause(ctx)
	}
	rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	return r.store.Release(rctx, []Hold{hold})
}

// endLife gives out no more numbers of this life, and says so.
func (r *Relay[X]) endLife(ctx context.Context) {
	r.books.close(context.WithoutCancel(ctx))
	r.life, r.stamps = NewLife(), make(map[string]*stamper)
}

// relayGroup is the group of relay tokens: no consumer group may have this
// name.
const relayGroup = "rollcall/relay"

func (r *Relay[X]) acquire(ctx context.Context) (Hold, error) {
	holder := Holder{Worker: r.config.Name}
	got, err := r.store.Acquire(ctx, relayGroup, []Holder{holder})
	if err != nil {
		return Hold{}, err
	}
	return Hold{relayGroup, holder, got[0].Token}, nil
}

// pump sends the oldest rows and removes what is stored.
func (r *Relay[X]) pump(ctx context.Context, hold Hold) (int, error) {
	rows, err := r.store.Outbox().Pending(ctx, r.config.Batch)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	if damaged := takeDamaged(&rows); len(damaged) > 0 {
		if err := r.finish(ctx, hold, damaged); err != nil || len(rows) == 0 {
			return len(damaged), err
		}
	}
	fresh, err := r.stampRows(ctx, rows)
	if err != nil {
		return 0, err
	}
	if err := failpoint.Hit(ctx, "relay-stamping", len(fresh)); err != nil {
		return 0, err
	}
	if len(fresh) > 0 {
		// A Stamp in doubt leaves numbers that may be in rows: this life gives
		// them out no more.
		if err := r.store.Outbox().Stamp(ctx, hold, fresh); err != nil {
			r.noteStamps(fresh, err)
			r.life, r.stamps = NewLife(), make(map[string]*stamper)
			r.books.owns(r.life)
			return 0, err
		}
	}
	if err := failpoint.Hit(ctx, "relay-stamped", len(rows)); err != nil {
		return 0, err
	}
	finished, settled, err := r.send(ctx, hold, rows)
	if ferr := failpoint.Hit(ctx, "relay-sent", len(rows)); ferr != nil {
		return 0, ferr
	}
	if len(finished) > 0 {
		if rerr := r.finish(ctx, hold, finished); rerr != nil {
			return 0, rerr
		}
	}
	return len(finished) + settled, err
}

// finish removes rows that are Stored, keeps those with a Refusal, and tells of
// these.
func (r *Relay[X]) finish(ctx context.Context, hold Hold, rows []OutboxRow) error {
	err := r.store.Outbox().Remove(ctx, hold, rows)
	for i := range rows {
		if err == nil && rows[i].Refusal != "" {
			r.tell(rows[i])
		}
	}
	return err
}

// takeDamaged takes rows that cannot be read out, each with its Damage for a
// Refusal: one of them must not stop all the others.
func takeDamaged(rows *[]OutboxRow) (damaged []OutboxRow) {
	*rows = slices.DeleteFunc(*rows, func(row OutboxRow) bool {
		if row.Damage == "" {
			return false
		}
		row.Refusal = row.Damage
		damaged = append(damaged, row)
		return true
	})
	return damaged
}

// stampRows numbers the rows that have no stamp yet, and picks the partition of those that
// came with another sender's.
func (r *Relay[X]) stampRows(ctx context.Context, rows []OutboxRow) ([]OutboxRow, error) {
	now := r.config.Clock.Now()
	var fresh []OutboxRow
	for i := range rows {
		m := &rows[i].Message
		if !m.Stamp.IsZero() && m.Partition != Unpicked {
			continue
		}
		s, err := r.stamper(ctx, m.Destination)
		if err != nil {
			return nil, fmt.Errorf("outbox row %d: %w", rows[i].ID, err)
		}
		others := !m.Stamp.IsZero()
		if s.stamp(m, now); others {
			continue
		}
		r.books.gave(m.Destination, s.lanes, &m.Stamp)
		fresh = append(fresh, rows[i])
	}
	return fresh, nil
}

func (r *Relay[X]) stamper(ctx context.Context, destination string) (*stamper, error) {
	if s := r.stamps[destination]; s != nil {
		return s, nil
	}
	lanes, err := r.sender.Lanes(ctx, destination)
	if err != nil {
		return nil, err
	}
	s := newStamper(r.life, destination, lanes)
	r.stamps[destination] = s
	return s, nil
}

// send publishes runs of rows of one destination, in order, and returns those
// that are finished: Stored, or Refused with the reason. It stops behind a run
// that has an Unknown, which is sent again before anything later. Where a
// message must not be sent twice it goes alone, is settled at once, and counts
// in settled.
func (r *Relay[X]) send(ctx context.Context, hold Hold, rows []OutboxRow) (finished []OutboxRow, settled int, err error) {
	for first := 0; first < len(rows); {
		if r.unrepeatable(rows[first].Message.Destination) {
			if err := r.sendOnce(ctx, hold, rows[first]); err != nil {
				return finished, settled, err
			}
			settled++
			first++
			continue
		}
		last := first
		var messages []Message
		for last < len(rows) && rows[last].Message.Destination == rows[first].Message.Destination {
			messages = append(messages, rows[last].Message)
			last++
		}
		results := r.sender.Publish(ctx, rows[first].Message.Destination, messages)
		r.noteFates(rows[first:last], results)
		for i, result := range results {
			row := rows[first+i]
			switch result.Fate {
			case Stored:
				finished = append(finished, row)
			case Refused:
				if errors.Is(result.Err, ErrNoDestination) { // an operator's mistake of a moment, for all rows the same
					err = cmp.Or(err, notStored(row, fmt.Errorf("%w: %w", ErrTryAgain, result.Err)))
					continue
				}
				row.Refusal = result.Err.Error()
				finished = append(finished, row)
			default:
				err = notStored(row, result.Err)
			}
		}
		if err != nil {
			return finished, settled, err
		}
		first = last
	}
	return finished, settled, nil
}

func notStored(row OutboxRow, err error) error {
	if errors.Is(err, ErrTryAgain) {
		return fmt.Errorf("outbox row %d: %w", row.ID, err)
	}
	return fmt.Errorf("outbox row %d: %w: %w", row.ID, ErrInDoubt, orUnknown(err))
}
