package guarantee

import (
	"strings"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
)

// Strategy is one way to recognise a repeat, as the matrix lists it.
type Strategy struct {
	Name string
	By   []rollcall.Strategy
	Key  []string
}

// Strategies are the rows of the matrix.
func Strategies() []Strategy {
	key := []string{"payload.order"}
	return []Strategy{
		{"auto", nil, nil},
		{"auto, dedup.key", nil, key},
		{"stamp", []rollcall.Strategy{rollcall.ByStamp}, nil},
		{"position", []rollcall.Strategy{rollcall.ByPosition}, nil},
		{"key (id)", []rollcall.Strategy{rollcall.ByKey}, nil},
		{"key, dedup.key", []rollcall.Strategy{rollcall.ByKey}, key},
		{"none", []rollcall.Strategy{rollcall.ByNone}, nil},
		{"record", []rollcall.Strategy{Record}, nil},
		{"lock", []rollcall.Strategy{Lock}, nil},
	}
}

// Shape is one way to write a row, as the matrix lists it.
type Shape struct {
	Name  string
	Table effect.Table
}

// Shapes are the columns of the matrix: the modes, and those with and without
// what their guarantee depends on.
func Shapes() []Shape {
	step := map[string][]string{"created": {"paid"}}
	back := map[string][]string{"open": {"shut"}, "shut": {"open"}}
	t := func(m effect.Mode) effect.Table { return effect.Table{Name: "orders", Mode: m, Key: []string{"id"}} }
	keyless, version, transition, cycle := t(effect.Insert), t(effect.Versioned), t(effect.Transition), t(effect.Transition)
	keyless.Key = nil
	version.Version = effect.Version{Column: "version"}
	transition.State = effect.State{Column: "status", Allow: step}
	cycle.State = effect.State{Column: "status", Allow: back, Initial: []string{"open"}}
	return []Shape{
		{"insert", t(effect.Insert)}, {"insert, no key", keyless}, {"upsert", t(effect.Upsert)}, {"version", version},
		{"transition", transition}, {"transition, cycle", cycle}, {"set", t(effect.Set)}, {"delete", t(effect.Delete)}, {"add", t(effect.Add)},
	}
}

// Cell says which repeats do no harm: R redelivery, T the sender's retry, I sent
// again with its own id, S the application sending twice. Empty: refused, so
// nothing is promised.
func (s Setup) Cell() string {
	if len(s.Refuse()) > 0 {
		return ""
	}
	s = s.withDefaults()
	var out []string
	for _, c := range []struct {
		letter string
		answer answer
	}{{"R", redelivered("")(s)}, {"T", sentAgain(s)}, {"I", ownIDs(s)}, {"S", minted(s)}} {
		if c.answer.outcome.Holds() {
			out = append(out, c.letter)
		}
	}
	return strings.Join(out, " ")
}
