package guarantee

import (
	"slices"

	"github.com/rollcall-mq/rollcall"
)

// publishFaults are those of messages sent on, of files that send any.
var publishFaults = []fault{
	{"killed while sending on", "TestPublishKilled", false, always(Once, "sent again with the same stamp and id: once at a receiver with rollcall")},
	{"next broker does not answer", "", false, always(Once, "sent again with the same stamp and id; rows behind it wait")},
	{"next broker refuses", "", false, always(OnceOrAside, "kept in the outbox with the reason; nothing of the tables is undone")},
	{"receiver without rollcall", "", false, always(NotPromised, "at least once: a message that was sent again comes twice, with the same id")},
}

// publishConditions are what the user must keep, and what rollcall cannot see.
func (s Setup) publishConditions() (out []string) {
	for _, d := range s.Publish {
		out = append(out, "who reads "+d+" uses rollcall with stamps (dedup.by: auto or stamp), and a dedup.window longer than a row can wait in the outbox")
	}
	if len(s.Publish) > 0 && len(s.HTTP) == 0 {
		out = append(out, "no other pipeline file or program empties the outbox of this store: its relay would not know these destinations")
	}
	return out
}

// refusePublish: a message is sent on anew for each delivery that is not recognised.
func (s Setup) refusePublish() (out []Refusal) {
	if len(s.Publish) > 0 && slices.Contains(s.By, rollcall.ByNone) {
		out = append(out, Refusal{"dedup.by", "publish: dedup.by: none records nothing, and each delivery would be sent on", "take by: none out of dedup"})
	}
	return out
}
