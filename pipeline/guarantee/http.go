package guarantee

import (
	"slices"

	"github.com/rollcall-mq/rollcall"
)

// httpFaults are those of requests, of files that make any.
var httpFaults = []fault{
	{"no answer to a request", "case outbox-unrepeatable", false, unanswered},
	{"killed during a request", "TestKilledInDoubt", false, unanswered},
	{"receiver refuses (4xx)", "TestRelayParks", false, always(OnceOrAside, "kept in the outbox with the answer; nothing of the tables is undone")},
	{"receiver is down", "TestNoConnection", false, always(Waits, "tried again; requests behind it wait too")},
}

// unanswered: one receiver that does not honour the key is enough.
func unanswered(s Setup) answer {
	if slices.ContainsFunc(s.HTTP, func(h HTTP) bool { return !h.Honours }) {
		return answer{outcome: OnceOrAside, mechanism: "the attempt was noted first: parked, never sent again by itself, unless the receiver honours the key"}
	}
	return answer{outcome: Once, mechanism: "sent again with the same key, which the receiver honours"}
}

// httpConditions are what the user must keep, and what rollcall cannot see.
func (s Setup) httpConditions() (out []string) {
	for _, h := range s.HTTP {
		if h.Honours {
			out = append(out, h.Name+" remembers keys for longer than a message can wait in the outbox: a key that it forgot is a new request")
			continue
		}
		out = append(out, h.Name+" is asked what became of a request in doubt: it lies parked until then (rollcall dead outbox)")
	}
	if len(s.HTTP) > 0 {
		out = append(out, "no other pipeline file or program has an outbox in this store: its relay would not know these receivers")
	}
	return out
}

// refuseHTTP: a request is made anew for each delivery that is not recognised.
func (s Setup) refuseHTTP() (out []Refusal) {
	if len(s.HTTP) > 0 && slices.Contains(s.By, rollcall.ByNone) {
		out = append(out, Refusal{"dedup.by", "http: dedup.by: none records nothing, and each delivery would be a request", "take by: none out of dedup"})
	}
	return out
}
