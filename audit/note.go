package audit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// Note is something that a reader of a report must know, beside verdicts of numbers.
type Note struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
	Next string `json:"next"`
}

// The kinds of notes.
const (
	NoteNoBooks     = "no-books"     // nobody keeps books on this destination
	NoteBadBooks    = "bad-books"    // messages on the side destination are none
	NoteSenderGone  = "sender-gone"  // a sender fell silent without a word
	NoteUnstamped   = "unstamped"    // messages without numbers: what of them is missing cannot be seen
	NoteNotAudited  = "not-audited"  // more lanes than Config.MaxLanes
	NoteStoreBehind = "store-behind" // the broker has noted more than the store says is done
	NoteLogBehind   = "log-behind"   // the log ends before what the group has done
	NoteMissed      = "missed"       // a part of a log could not be read by the tap
	NoteClock       = "clock"        // a sender's clock is ahead of ours
)

// notes adds what is to be known.
func (w *Watch) notes(ctx context.Context, r *Report, extents []rollcall.Extent) error {
	c := r.Traffic
	if c.Books == 0 && len(r.Lanes) > 0 {
		r.note(NoteNoBooks, "let senders keep books (they do by default, but not on RocketMQ), or read docs/stamp.md for those in other languages",
			"no sender keeps books on %q: a hole is suspected, never lost, and the last messages of a sender cannot be missed", r.Destination)
	}
	if c.BadBooks > 0 {
		r.note(NoteBadBooks, "see who writes there: docs/stamp.md says what a record is", "%d messages on the side destination are no records of books", c.BadBooks)
	}
	if c.Unstamped > 0 {
		r.note(NoteUnstamped, "let their senders stamp: docs/stamp.md", "%d of %d messages have no stamp: what of them is missing cannot be seen; %d have a key and %d of these are repeats, %d have none", c.Unstamped, c.Messages, c.Keyed, c.Repeated, c.Unkeyed)
	}
	if c.NotAudited > 0 {
		r.note(NoteNotAudited, "raise --max-lanes, if these are real senders", "%d messages, rolls and entries of books are of lanes beyond the first %d: they are not audited", c.NotAudited, w.audit.config.MaxLanes)
	}
	if len(w.missed) > 0 {
		r.note(NoteMissed, "what was there is not audited at delivery; a group's rolls say what became of it", "the tap could not read everything: %s", some(w.missed))
	}
	for n, roll := range w.audit.group.done {
		if x, ok := w.audit.log.extents[n]; ok && roll != nil && int64(roll.High()) > x.End {
			r.note(NoteLogBehind, "put the right log back; new messages in this one would count as done: rollcall run refuses it",
				"partition %d: the group has done offset %d, and the log ends at %d: it was restored from an older copy, or cut off", n, roll.High()-1, x.End)
		}
	}
	w.audit.noteSenders(r)
	return w.noteStore(ctx, r, extents)
}

func (r *Report) note(kind, next, format string, args ...any) {
	r.Notes = append(r.Notes, Note{kind, fmt.Sprintf(format, args...), next})
}

// mostNamed is how many senders one note names.
const mostNamed = 10

// noteSenders names the senders that fell silent, and clocks that are ahead.
func (a *Audit) noteSenders(r *Report) {
	var gone, ahead []string
	for life, s := range a.senders {
		name := fmt.Sprintf("%s (life %s), last heard at %s", orUnnamed(s.name), life, s.heard.UTC().Format(time.RFC3339))
		if a.state(life, r.Time) == SenderGone {
			gone = append(gone, name)
		}
		if s.heard.Sub(r.Time) > time.Minute {
			ahead = append(ahead, name)
		}
	}
	if len(gone) > 0 {
		r.note(NoteSenderGone, "if it was rollcall send, send the same file again: what is stored is absorbed; else what it had not sent is with its source. What it had sent is audited up to its last record",
			"%d senders fell silent without a word: %s", len(gone), some(gone))
	}
	if len(ahead) > 0 {
		r.note(NoteClock, "set its clock: how long a hole is open, and what is too old to be audited, goes by it", "the clocks of %d senders are ahead of ours: %s", len(ahead), some(ahead))
	}
}

func some(names []string) string {
	slices.Sort(names)
	if len(names) > mostNamed {
		return fmt.Sprintf("%s, and %d more", strings.Join(names[:mostNamed], "; "), len(names)-mostNamed)
	}
	return strings.Join(names, "; ")
}

func orUnnamed(name string) string {
	if name == "" {
		return "a sender without a name"
	}
	return name
}

// noteStore compares the store with what the broker has noted: settling comes after
// committing, so a store that is behind was restored from an older copy.
func (w *Watch) noteStore(ctx context.Context, r *Report, extents []rollcall.Extent) error {
	noter, ok := w.in.Log.(rollcall.Noter)
	if !ok || w.in.Store == nil {
		return nil
	}
	noted, err := noter.Noted(ctx, w.audit.config.Group)
	if err != nil {
		return fmt.Errorf("audit: what the broker has noted of group %q: %w", w.audit.config.Group, err)
	}
	places, err := w.readPlaces(ctx, extents) // newer than what was noted, and than this report
	if err != nil {
		return err
	}
	for _, x := range extents {
		at, roll := noted[x.Partition], places[x.Partition.Number]
		if at > x.First && (roll == nil || !roll.Holds(uint64(x.First)+1, uint64(at))) {
			r.note(NoteStoreBehind, "what lies in the log from there on is done again by the next run, and takes effect again if the effects were not restored with the store; see docs/audit.md",
				"partition %d: the broker has noted that everything below offset %d is done, and the store does not say so: it was restored from an older copy, or is another one", x.Partition.Number, at)
		}
	}
	return nil
}
