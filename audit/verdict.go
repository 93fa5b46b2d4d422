package audit

// Verdict is what the audit says of numbers.
type Verdict string

// The verdicts. Every one can be revoked by what is found later, but Present.
const (
	Present   Verdict = "present"   // found
	Duplicate Verdict = "duplicate" // found more than once
	Open      Verdict = "open"      // missing: a hole younger than the grace
	Suspected Verdict = "suspected" // missing for longer, and where it is is not known yet
	Lost      Verdict = "lost"      // missing, everything behind it was looked at, and the cause is as found
	Late      Verdict = "late"      // found after it was Suspected or Lost
	Void      Verdict = "void"      // surely never stored
	Unknown   Verdict = "unknown"   // it may be stored or not: nobody knows, and nobody can be blamed
	Waived    Verdict = "waived"    // missing, and accepted as such by an operator
)

// missing reports whether it is one of the three that count as missing.
func (v Verdict) missing() bool { return v == Open || v == Suspected || v == Lost }

// Cause is why numbers are missing, void or unknown.
type Cause string

// The causes.
const (
	CauseNeverAcked Cause = "never-acknowledged" // the broker never confirmed it
	CauseBroker     Cause = "broker-lost"        // acknowledged, and its place in the log holds no such message
	CauseRemoved    Cause = "removed"            // retention, or somebody deleted records, before it was done
	CauseCutOff     Cause = "cut-off"            // the log ends before its place: cut off, or restored from an older copy
	CauseRecreated  Cause = "recreated"          // the destination was deleted and made again
	CauseCompacted  Cause = "compacted"          // a later message of its key took its place before it was done
	CauseAborted    Cause = "aborted"            // its transaction was aborted
	CauseSkipped    Cause = "skipped"            // it lies in the log, and the group has passed it without doing it
	CauseNoBooks    Cause = "no-books"           // its sender keeps no books: lost, or never sent
	CauseSenderGone Cause = "sender-gone"        // its sender ended without a word
	CauseNotFound   Cause = "not-found"          // acknowledged and not found; the broker tells no positions
	CauseUnseen     Cause = "not-looked-up"      // acknowledged and passed by; its place is still to be looked at
)

// What a cause means, in one line for people.
var meanings = map[Cause]string{
	CauseNeverAcked: "the broker never confirmed it",
	CauseBroker:     "the broker acknowledged it, and its place in the log holds no such message",
	CauseRemoved:    "it was removed (retention, or somebody deleted records) before it was done",
	CauseCutOff:     "the log ends before its place: it was cut off, or restored from an older copy",
	CauseRecreated:  "the destination was deleted and made again",
	CauseCompacted:  "compaction removed it for a later message of its key",
	CauseAborted:    "its transaction was aborted",
	CauseSkipped:    "it lies in the log, and the group has passed it without doing it",
	CauseNoBooks:    "its sender keeps no books: it is lost, or was never sent",
	CauseSenderGone: "its sender ended before anybody knew",
	CauseNotFound:   "the broker acknowledged it, later ones arrived, and it did not",
	CauseUnseen:     "the broker acknowledged it, and its place was not looked up yet",
}

// Why is what a cause means.
func (c Cause) Why() string { return meanings[c] }

// What an operator can do about a cause, in one line.
var nextSteps = map[Cause]string{
	CauseNeverAcked: "nothing: the sender was told; it sends again, or gave up",
	CauseBroker:     "bring it back from its source: rollcall dead recover; then see replication, acks and fsync of the broker",
	CauseRemoved:    "bring it back from its source: rollcall dead recover; then lengthen the retention or speed up the group",
	CauseCutOff:     "bring it back from its source: rollcall dead recover; forbid unclean leader elections",
	CauseRecreated:  "bring it back from its source: rollcall dead recover; or waive it: rollcall audit waive",
	CauseCompacted:  "if only the last message of a key matters waive it: rollcall audit waive; else do not compact",
	CauseAborted:    "nothing: the sender took it back",
	CauseSkipped:    "bring it back from the log: rollcall dead recover --at",
	CauseNoBooks:    "ask the sender whether it used the number; then rollcall dead recover, or rollcall audit waive",
	CauseSenderGone: "ask the sender's source what it had sent; what is sent again with the same stamp is absorbed",
	CauseNotFound:   "bring it back from its source: rollcall dead recover",
	CauseUnseen:     "wait, or run rollcall audit --tap to read the whole log",
}

// Next is what to do about a cause.
func (c Cause) Next() string { return nextSteps[c] }
