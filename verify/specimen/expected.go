package specimen

// Expectation is what may and what must come of a pattern under the demo's
// faults.
type Expectation struct {
	MayLose, MayDouble   bool
	MustLose, MustDouble bool
}

// Expected says what the faults of the demo, repeated sends included, may and
// must do to a pattern. A pattern without a record of ids passes every repeat
// on.
func Expected(name string) Expectation {
	switch name {
	case "ack-first":
		return Expectation{MayLose: true, MayDouble: true, MustLose: true}
	case "setnx-first":
		return Expectation{MayLose: true, MustLose: true}
	case "lock-busy-skip":
		return Expectation{MayLose: true, MayDouble: true, MustLose: true}
	case "effect-then-ack", "cache-check", "ttl-lock", "check-then-insert", "offset-unconditional":
		return Expectation{MayDouble: true, MustDouble: true}
	}
	return Expectation{}
}
