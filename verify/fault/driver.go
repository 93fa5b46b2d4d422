package fault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/rollcall-mq/rollcall/verify/history"
)

// Driver runs one pattern's workers through its faults until the log is
// worked off.
type Driver struct {
	What   string // for errors
	Faults []Fault
	Start  func(left []int) (*Process, error)
	// Idle reports whether nobody holds a lock of the files: a worker that is
	// stopped must not do so, that would be another fault.
	Idle func() bool
	Add  func(history.Event) error

	left     []int
	sleepers []sleeper
}

type sleeper struct {
	process *Process
	at      Request
}

// Unbitten are the faults whose step nobody came to.
func (d *Driver) Unbitten() []Fault {
	var out []Fault
	for _, n := range d.left {
		out = append(out, d.Faults[n])
	}
	return out
}

// Run starts workers, one after the other dies, until one finds the log worked
// off. Then those that sleep are woken. Nothing runs when it returns.
func (d *Driver) Run(ctx context.Context) (err error) {
	for n := range d.Faults {
		d.left = append(d.left, n)
	}
	defer func() {
		for _, s := range d.sleepers {
			err = errors.Join(err, s.process.End())
		}
	}()
	if err := d.workOff(ctx); err != nil {
		return err
	}
	for _, s := range d.sleepers {
		if err := d.wake(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) workOff(ctx context.Context) error {
	for {
		p, err := d.Start(d.left)
		if err != nil {
			return err
		}
		finished, err := d.watch(ctx, p)
		if err != nil || finished {
			return err
		}
	}
}

// wake lets a sleeper go on where it stood.
func (d *Driver) wake(ctx context.Context, s sleeper) error {
	if err := d.add(history.Wake, s.process, s.at); err != nil {
		return err
	}
	s.process.answer(Reply{ID: s.at.ID, OK: true})
	if err := s.process.signal(syscall.SIGCONT); err != nil {
		return err
	}
	finished, err := d.watch(ctx, s.process)
	if err != nil || finished {
		return err
	}
	return d.workOff(ctx)
}

// watch follows one worker to its end, or to where it sleeps: then it has not
// finished.
func (d *Driver) watch(ctx context.Context, p *Process) (finished bool, err error) {
	asleep := false
	defer func() {
		if !asleep {
			err = errors.Join(err, p.End())
		}
	}()
	for {
		r, reached, err := p.next(ctx, d.What)
		if err != nil || !reached {
			return !reached, err
		}
		d.left = slices.DeleteFunc(d.left, func(n int) bool { return n == r.Fault })
		switch d.Faults[r.Fault].Kind {
		case Kill:
			if err := p.End(); err != nil {
				return false, err
			}
			return false, d.add(history.Kill, p, r)
		case Sleep:
			if err := d.stop(ctx, p); err != nil {
				return false, err
			}
			asleep = true
			d.sleepers = append(d.sleepers, sleeper{p, r})
			return false, d.add(history.Sleep, p, r)
		case ReplyLost:
			err = d.add(history.ReplyLost, p, r)
		case CommitLost:
			err = d.add(history.CommitLost, p, r)
		case AckLost:
			err = d.add(history.AckLost, p, r)
		}
		if err != nil {
			return false, err
		}
		p.answer(Reply{ID: r.ID, OK: true})
	}
}

// stop stops a worker outside of any transaction: it stands at its step, but
// its heartbeat and the like may be writing.
func (d *Driver) stop(ctx context.Context, p *Process) error {
	for deadline := time.Now().Add(patience); ; {
		if err := p.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond) // SIGSTOP reaches every thread
		if d.Idle() {
			return nil
		}
		if err := p.signal(syscall.SIGCONT); err != nil {
			return err
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("%w: %s: process %d was never outside a transaction", ErrStuck, d.What, p.PID())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (d *Driver) add(what history.What, p *Process, r Request) error {
	return d.Add(history.Event{PID: p.PID(), What: what, Step: r.Step, Orders: r.Orders, Target: d.Faults[r.Fault].Order})
}
