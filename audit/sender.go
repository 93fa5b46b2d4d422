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
	keepers map[rollcall.Life]bool // others who send for it: whether they are done
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
	if b.Keeper != b.Life {
		if s.keepers == nil {
			s.keepers = make(map[rollcall.Life]bool)
		}
		s.keepers[b.Keeper] = s.keepers[b.Keeper] || b.Kind == rollcall.BookEnd
	} else {
		s.own, s.ended = true, s.ended || b.Kind == rollcall.BookEnd
	}
	if b.Time.After(s.heard) {
		s.heard, s.next = b.Time, b.Next
	}
	if b.Keeper == b.Life { // its own word counts more than that of who sent for it
		s.name = cmp.Or(b.Sender, s.name)
	} else {
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
	case s.ended || !s.own && s.allDone():
		return SenderEnded
	case now.Sub(s.heard) > silence*max(s.next, time.Second):
		return SenderGone
	}
	return SenderAlive
}

// allDone: who sends for it has said that no more comes.
func (s *sender) allDone() bool {
	for _, done := range s.keepers {
		if !done {
			return false
		}
	}
	return true
}
