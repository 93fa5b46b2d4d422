package model

import "slices"

// Scenarios are what is explored: the cases of protocol-cases and what was
// added to them by reasoning. Each is as small as shows its case, since every
// interleaving of it is visited.
func Scenarios() []*Scenario {
	all := slices.Concat(orderScenarios(), repeatScenarios(), asideScenarios(), keyScenarios(), timeScenarios())
	for _, s := range all {
		s.LockFirst = s.Shape != Shared && s.Hands <= 1 // as the engine does
		if s.Attempts == 0 {
			s.Attempts = 2
		}
		if s.Batch == 0 {
			s.Batch = 2
		}
	}
	return all
}

// scenario is one whose rolls decide by all that its shape has.
func scenario(name string, shape Shape, s Scenario) *Scenario {
	s.Name, s.Shape = shape.String()+"/"+name, shape
	if !s.Stamp && !s.Position {
		s.Stamp, s.Position = true, shape == Replayable
	}
	return &s
}

// copies are entries of messages by their numbers, from 1.
func copies(messages ...int) []Entry {
	out := make([]Entry, len(messages))
	for i, m := range messages {
		out[i].Message = m - 1
	}
	return out
}

// late makes the last entry come some time later.
func late(entries []Entry) []Entry {
	entries[len(entries)-1].Late = true
	return entries
}

// together is how often a message fails before it is set aside when it ran with
// others: with all, in its chunk, and alone.
const together = 3

var shapes = []Shape{Replayable, Exclusive, Shared}

func orderScenarios() (out []*Scenario) {
	for _, shape := range shapes {
		out = append(out,
			scenario("two messages of one key", shape, Scenario{Messages: []Message{{Key: "a"}, {Key: "a"}}, Entries: copies(1, 2),
				Faults: 2, Allow: AllFaults}),
			scenario("one at a time", shape, Scenario{Messages: []Message{{Key: "a"}, {Key: "a"}}, Entries: copies(1, 2),
				Batch: 1, Faults: 1, Allow: AllFaults}),
			scenario("late acquire", shape, Scenario{Messages: []Message{{}}, Entries: copies(1), Faults: 2, Allow: Timeout | Rebalance}),
			scenario("stopped", shape, Scenario{Messages: []Message{{}}, Entries: copies(1), Faults: 2, Allow: Freeze | Crash}))
	}
	return append(out,
		scenario("covered positions", Replayable, Scenario{Messages: []Message{{}, {}}, Batch: 3,
			Entries: []Entry{{Message: 0}, {Hole: true}, {Message: 1}}, Faults: 1, Allow: AllFaults}),
		scenario("a hole alone", Replayable, Scenario{Messages: []Message{{}}, Batch: 1,
			Entries: []Entry{{Hole: true}, {Message: 0}}, Faults: 1, Allow: Crash | ReplyLost}),
		scenario("clean rebalance", Replayable, Scenario{Messages: []Message{{Key: "a"}, {}}, Entries: copies(1, 2), Batch: 1,
			Faults: 2, Allow: Rebalance, NoSuspects: true}),
		scenario("side by side", Replayable, Scenario{Messages: []Message{{Key: "a", Fails: together}, {Key: "c"}}, Entries: copies(1, 2, 1), Batch: 3,
			Hands: 2, Faults: 1, Allow: Crash | ReplyLost | Timeout}),
		scenario("side by side, failing", Replayable, Scenario{Messages: []Message{{Key: "a", Fails: together}, {Key: "a"}, {Key: "c"}}, Entries: copies(1, 2, 3), Batch: 3,
			Hands: 2, Faults: 1, Allow: Crash}),
	)
}

func repeatScenarios() (out []*Scenario) {
	for _, shape := range shapes {
		out = append(out,
			scenario("copy in a batch", shape, Scenario{Messages: []Message{{Key: "a"}}, Entries: copies(1, 1), Faults: 2, Allow: AllFaults}),
			scenario("copies apart", shape, Scenario{Messages: []Message{{}}, Entries: copies(1, 1), Batch: 1, Faults: 2, Allow: Crash | ReplyLost | Timeout}),
			scenario("copy of a failing one", shape, Scenario{Messages: []Message{{Key: "a", Fails: 1}}, Entries: copies(1, 1), Batch: 1,
				Faults: 1, Allow: Crash | ReplyLost | Timeout}),
			scenario("a gap", shape, Scenario{Messages: []Message{{}, {}}, Entries: late(copies(2, 1)), Batch: 1, Faults: 1, Allow: AllFaults}))
	}
	return append(out,
		scenario("two senders", Shared, Scenario{Messages: []Message{{Sender: 1}, {Sender: 0}}, Entries: copies(1, 2, 1, 2), Faults: 1, Allow: Crash | ReplyLost | Timeout}),
		scenario("two senders, crossed", Shared, Scenario{Messages: []Message{{Sender: 1}, {Sender: 0}, {Sender: 0}, {Sender: 1}},
			Entries: copies(1, 2, 3, 4), Faults: 1, Allow: Crash}))
}

func asideScenarios() (out []*Scenario) {
	for _, shape := range shapes {
		out = append(out,
			scenario("one fails", shape, Scenario{Messages: []Message{{Key: "a", Fails: together}, {Key: "a"}}, Entries: copies(1, 2),
				Faults: 1, Allow: Crash | ReplyLost | Timeout | Cut}),
			scenario("one fails, the transaction with it", shape, Scenario{Messages: []Message{{Key: "a", Fails: together}, {Key: "a"}}, Entries: copies(1, 2),
				Faults: 2, Allow: UndoLost}),
			scenario("one fails, two faults", shape, Scenario{Messages: []Message{{Fails: 1}}, Entries: copies(1), Faults: 2, Allow: Crash | ReplyLost}),
			scenario("one fails, the next comes later", shape, Scenario{Messages: []Message{{Key: "a", Fails: 1}, {Key: "a"}}, Entries: late(copies(1, 2)),
				Batch: 1, Faults: 1, Allow: ReplyLost}),
			scenario("redriven twice", shape, Scenario{Messages: []Message{{Key: "a", Fails: 3}}, Entries: copies(1), Redrives: 2,
				Faults: 1, Allow: ReplyLost}),
			scenario("poison", shape, Scenario{Messages: []Message{{Key: "a", Poison: true}, {Key: "a"}}, Entries: copies(1, 2), Redrives: 1}),
			scenario("killer", shape, Scenario{Messages: []Message{{Kills: 6}, {}}, Entries: copies(1, 2)}),
			scenario("killer, lost reply", shape, Scenario{Messages: []Message{{Kills: 4}}, Entries: copies(1), Faults: 1, Allow: ReplyLost | Crash}),
			scenario("killer redriven", shape, Scenario{Messages: []Message{{Kills: 8}}, Entries: copies(1), Redrives: 1}),
			scenario("unknown number", shape, Scenario{Messages: []Message{{Lost: true}, {}}, Entries: copies(1, 2), Redrives: 1,
				Faults: 1, Allow: AllFaults}),
			scenario("too early", shape, Scenario{Messages: []Message{{Key: "a", After: 2}, {Key: "a"}}, Entries: copies(1, 2),
				Faults: 1, Allow: Crash | ReplyLost | Timeout}),
			scenario("too early, apart", shape, Scenario{Messages: []Message{{Key: "a", After: 2}, {Key: "a"}}, Entries: late(copies(1, 2)), Batch: 1,
				Faults: 1, Allow: Crash}))
	}
	return append(out,
		scenario("slow, not dead", Shared, Scenario{Messages: []Message{{}}, Entries: copies(1), Redrives: 1, Faults: 3, Allow: Timeout | Crash}),
		scenario("dead by another worker", Replayable, Scenario{Messages: []Message{{Key: "a", Fails: together + 1}, {Key: "a"}}, Entries: copies(1, 2)}))
}

func keyScenarios() (out []*Scenario) {
	for _, shape := range shapes {
		out = append(out,
			scenario("sent twice", shape, Scenario{Messages: []Message{{Key: "a", Dedup: 1}, {Key: "a", Dedup: 1}}, Entries: copies(1, 2), Keyed: true,
				Faults: 2, Allow: Crash | ReplyLost | Timeout}),
			scenario("sent twice, apart", shape, Scenario{Messages: []Message{{Dedup: 1}, {Dedup: 1}}, Entries: copies(1, 2), Keyed: true, Batch: 1,
				Faults: 1, Allow: AllFaults}),
			scenario("sent twice behind a failure", shape, Scenario{Messages: []Message{{Key: "a", Fails: together}, {Key: "a", Dedup: 1}, {Key: "a", Dedup: 1}},
				Entries: copies(1, 2, 3), Batch: 3, Keyed: true, Faults: 0}),
			scenario("sent twice behind a failure, apart", shape, Scenario{Messages: []Message{{Key: "a", Fails: 1}, {Key: "a", Dedup: 1}, {Key: "a", Dedup: 1}},
				Entries: copies(1, 2, 3), Batch: 1, Keyed: true}),
			scenario("keys alone", shape, Scenario{Messages: []Message{{Dedup: 1}, {Dedup: 2}}, Entries: copies(1, 2), Keyed: true, Position: false, Stamp: false,
				Faults: 1, Allow: AllFaults}),
			scenario("key held", shape, Scenario{Messages: []Message{{Dedup: 1, Fails: 2}, {Dedup: 1}}, Entries: late(copies(1, 2)), Keyed: true, Batch: 1,
				Redrives: 2, Discards: 1, Attempts: 2}))
	}
	return append(out,
		scenario("key held, lost reply", Shared, Scenario{Messages: []Message{{Dedup: 1, Fails: 1}, {Dedup: 1}}, Entries: late(copies(1, 2)), Keyed: true,
			Batch: 1, Redrives: 2, Attempts: 1, Faults: 1, Allow: ReplyLost}),
		scenario("keys crossed", Shared, Scenario{Messages: []Message{{Dedup: 1}, {Dedup: 2}, {Dedup: 2}, {Dedup: 1}}, Entries: copies(1, 2, 3, 4), Keyed: true,
			Faults: 1, Allow: Crash}))
}

func timeScenarios() (out []*Scenario) {
	for _, shape := range shapes {
		out = append(out,
			scenario("sleeper", shape, Scenario{Messages: []Message{{}}, Entries: copies(1), Stamp: true, Sweeps: 1, Faults: 2, Allow: Freeze | Timeout | Crash}),
			scenario("sleeper with a key", shape, Scenario{Messages: []Message{{Dedup: 1}}, Entries: copies(1), Keyed: true, Sweeps: 1,
				Faults: 2, Allow: Freeze | Timeout}),
			scenario("swept while dead", shape, Scenario{Messages: []Message{{Dedup: 1, Fails: 2}, {Dedup: 1}}, Entries: late(copies(1, 2)), Keyed: true,
				Batch: 1, Sweeps: 1, Redrives: 1}))
	}
	return out
}
