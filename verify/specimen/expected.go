package specimen

import "github.com/rollcall-mq/rollcall/verify/model"

// Expectation is what may and what must come of a pattern under the demo's
// faults.
type Expectation struct {
	MayLose, MayDouble   bool
	MustLose, MustDouble bool
}

// inTheModel are the names of rows that differ from the pattern's.
var inTheModel = map[string]string{"rollcall": "rollcall auto on X"}

// Expected says what may come of a pattern: what the model's exploration found
// under the same faults and repeats. A run that shows anything else is outside
// the model. What must come of it is what the demo's schedule aims at; a run in
// which it does not come proved nothing.
func Expected(name string) Expectation {
	row := name
	if other, ok := inTheModel[name]; ok {
		row = other
	}
	e := must[name]
	e.MayLose, e.MayDouble, _ = model.Load().May(row)
	return e
}

// must is less than the model allows where the schedule does not aim at it: a
// pattern without a record of ids also passes on every repeat of the sender.
var must = map[string]Expectation{
	"ack-first":            {MustLose: true},
	"effect-then-ack":      {MustDouble: true},
	"cache-check":          {MustDouble: true},
	"setnx-first":          {MustLose: true},
	"ttl-lock":             {MustDouble: true},
	"lock-busy-skip":       {MustLose: true},
	"check-then-insert":    {MustDouble: true},
	"offset-unconditional": {MustDouble: true},
}
