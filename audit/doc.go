// Package audit calls the roll: which numbers that senders gave out, and a broker
// acknowledged, did not arrive, which came twice, since when and why.
//
// Three things are laid side by side, for each lane of each life: the books that
// senders keep (rollcall.Book), what lies in the destination (the detector at
// delivery: a tap), and what took effect in a group (the detector at effect: its
// rolls). Truth is what the broker acknowledged: only a number that the books say
// is stored can be lost. What was surely never stored is Void, what nobody can
// know is Unknown, and listed.
//
// A verdict is computed from records, not kept: asked again later, or by another
// process, the same records give the same findings with the same ids, and a number
// that arrives after all is found by itself. What changed between two judgements
// of one Audit are its transitions.
//
// Order of reading, without which there are false alarms: a detector's place is
// read before its numbers. See Group.
package audit
