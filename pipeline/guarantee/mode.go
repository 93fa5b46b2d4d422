package guarantee

import (
	"fmt"
	"strings"

	"github.com/rollcall-mq/rollcall/effect"
)

// byMode is what the rows themselves make of a repeat that no record sees.
// One table that answers Repeated or Stale is enough: then the others of the
// list are left alone. inOrder: the repeat is a redelivery in the order of the
// partition, so that what came last is written last again.
func (s Setup) byMode(inOrder bool) answer {
	same := len(s.Tables) > 0
	for i := range s.Tables {
		t := &s.Tables[i]
		switch t.Mode {
		case effect.Insert:
			if len(t.Key) > 0 {
				return answer{Absorbed, "unique index on " + columns(t)}
			}
			same = false
		case effect.Versioned:
			return answer{Stale, fmt.Sprintf("version in %s.%s", t.Name, t.Version.Column)}
		case effect.Transition:
			if _, cycle := t.NeedsRecord(false); !cycle {
				return answer{Stale, fmt.Sprintf("state in %s.%s", t.Name, t.State.Column)}
			}
			same = false
		case effect.Add:
			same = false
		}
	}
	switch {
	case same && inOrder:
		return answer{Absorbed, "the same rows are written again, in order"}
	case same:
		return answer{Twice, "written again, perhaps over a newer row"}
	}
	return answer{Twice, "nothing recognises it"}
}

func columns(t *effect.Table) string { return t.Name + " (" + strings.Join(t.Key, ", ") + ")" }

// ordered: the outcome depends on the order of messages of one row.
func ordered(t *effect.Table) bool {
	return t.Mode == effect.Set || t.Mode == effect.Delete || t.Mode == effect.Upsert
}
