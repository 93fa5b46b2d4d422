package guarantee

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rollcall-mq/rollcall/effect"
)

// repeat says what of a message is the same when it comes again.
type repeat int

const (
	inOrder repeat = iota // all of it: a redelivery, and what came last comes last again
	apart                 // all of it: a redelivery, perhaps behind a newer message
	again                 // id and body: it is sent at another time
	anew                  // the body only
)

// byMode is what the rows themselves make of a repeat that no record sees.
// One table that answers Repeated or Stale is enough: then the others of the
// list are left alone.
func (s Setup) byMode(r repeat) answer {
	same := len(s.Tables) > 0
	for i := range s.Tables {
		t := &s.Tables[i]
		_, cycle := t.NeedsRecord(false)
		switch {
		case differing(t, t.Key, r) != "":
			same = false // it names another row
		case t.Mode == effect.Insert && len(t.Key) > 0:
			return byIndex(t, r)
		case t.Mode == effect.Versioned:
			return answer{outcome: Stale, mechanism: fmt.Sprintf("version in %s.%s", t.Name, t.Version.Column)}
		case t.Mode == effect.Transition && !cycle:
			return answer{outcome: Stale, mechanism: fmt.Sprintf("state in %s.%s", t.Name, t.State.Column)}
		case !ordered(t):
			same = false
		}
	}
	switch {
	case same && r == inOrder:
		return answer{outcome: Absorbed, mechanism: "the same rows are written again, in order"}
	case same:
		return answer{outcome: Twice, mechanism: "written again, perhaps over a newer row"}
	}
	return answer{outcome: Twice, mechanism: "nothing recognises it"}
}

// byIndex: a row with the same key and other content is no repeat; the message
// lies aside.
func byIndex(t *effect.Table, r repeat) answer {
	index := "unique index on " + columns(t)
	if column := differing(t, slices.Sorted(maps.Keys(t.Columns)), r); column != "" {
		return answer{outcome: OnceOrAside, mechanism: index + "; dead, because " + column + " differs"}
	}
	return answer{outcome: Absorbed, mechanism: index}
}

// differing is the first of the columns whose value is another one when the
// message comes again, if any: what rollcall gave to the sending, not what the
// sender wrote.
func differing(t *effect.Table, names []string, r repeat) string {
	for _, name := range names {
		switch source := t.Columns[name]; {
		case source == "time" && r >= again, source == "id" && r == anew:
			return name
		}
	}
	return ""
}

func columns(t *effect.Table) string { return t.Name + " (" + strings.Join(t.Key, ", ") + ")" }

// ordered: the outcome depends on the order of messages of one row.
func ordered(t *effect.Table) bool {
	return t.Mode == effect.Set || t.Mode == effect.Delete || t.Mode == effect.Upsert
}
