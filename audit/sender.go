package audit

import (
	"cmp"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// SenderState is whether more can come from a life.
type SenderState string

// The states of a sender.
const (
	SenderAlive  SenderState = "alive"
	SenderEnded  SenderState = "ended"    // it said so: no more comes
	SenderGone   SenderState = "gone"     // it fell silent without a word
	SenderUnsaid SenderState = "no-books" // it keeps no books
)

// sender is what the books say of one life.
type sender struct {
	name    string
	heard   time.Time // of the last record, by the sender's clock
	next    time.Duration
	own     bool // it keeps books itself
	ended   bool
	foreign rollcall.BookKind // of the last record of those who send for it
}

// hear takes what a record says of its sender.
func (a *Audit) hear(b *rollcall.Book) {
	s := a.senders[b.Life]
	if s == nil {
		if len(a.senders) >= a.config.MaxLanes {
			return
		}
		s = &sender{}
		a.senders[b.Life] = s
	}
	if b.Keeper == b.Life {
		s.own, s.ended = true, s.ended || b.Kind == rollcall.BookEnd
	}
	if b.Time.After(s.heard) {
		s.heard, s.next = b.Time, b.Next
		if b.Keeper != b.Life { // who sends it again takes over from who died
			s.foreign = b.Kind
		}
	}
	if b.Keeper == b.Life {
		s.name = cmp.Or(b.Sender, s.name)
	} else { // who brings a few back later is not whose they are
		s.name = cmp.Or(s.name, b.Sender)
	}
}

// silence is how many times its own word a sender may be silent.
const silence = 3

// state of a life, now.
func (a *Audit) state(life rollcall.Life, now time.Time) SenderState {
	s := a.senders[life]
	switch {
	case s == nil:
		return SenderUnsaid
	case s.ended || !s.own && s.foreign == rollcall.BookEnd:
		return SenderEnded
	case now.Sub(s.heard) > silence*max(s.next, time.Second):
		return SenderGone
	}
	return SenderAlive
}
