package guarantee

import (
	"slices"
	"strings"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
)

// Window is how long records are kept unless the file says otherwise: the
// engine's default.
const Window = 14 * 24 * time.Hour

// Setup is a configuration, as far as guarantees depend on it.
type Setup struct {
	Broker Broker
	Store  Store
	// By lists the strategies. Default: auto.
	By []rollcall.Strategy
	// Key lists what the DedupKey is made of. Default: none; under by: key "id".
	Key []string
	// Window is how long records are kept. Default: 14 days.
	Window time.Duration
	// Retention is how long the broker keeps messages. Default: 0, for ever.
	Retention time.Duration
	// Late is how late the broker can bring a message again. Default: 0, not said.
	Late time.Duration
	// Idle is when a server ends the transaction of a worker that stopped, where
	// one does (Store.Deadlines). Default: 30 seconds.
	Idle time.Duration
	// Attempts is how often a message is tried. Default: 5.
	Attempts int
	// DeadKeep is how long a message stays dead. Default: 0, for ever.
	DeadKeep time.Duration
	// Tables are the effects.
	Tables []effect.Table
	// HTTP are the receivers of requests.
	HTTP []HTTP
	// Redis are the servers of which keys are set.
	Redis []string
	// Publish are the destinations that messages are sent on to.
	Publish []string
}

// HTTP is a receiver of requests.
type HTTP struct {
	Name    string
	Honours bool // it takes a second request with the same key for the first one
}

func (s Setup) withDefaults() Setup {
	if len(s.By) == 0 {
		s.By = []rollcall.Strategy{rollcall.ByAuto}
	}
	if s.Window == 0 {
		s.Window = Window
	}
	if s.Idle == 0 {
		s.Idle = 30 * time.Second
	}
	if s.Attempts == 0 {
		s.Attempts = 5
	}
	return s
}

// records are the marks that a message leaves, auto resolved.
type records struct {
	stamp, position bool
	key             bool // of dedup.key, or the id under by: key
	ownID           bool // the id of messages whose id is the application's own
	business        bool // the key has a part that the application sends again: not just the id
}

func (s Setup) records() records {
	var r records
	for _, by := range s.By {
		switch by {
		case rollcall.ByAuto:
			r.stamp, r.position = true, r.position || s.Broker.Positions
			r.key = r.key || len(s.Key) > 0
			r.ownID = len(s.Key) == 0
		case rollcall.ByStamp:
			r.stamp = true
		case rollcall.ByPosition:
			r.position = true
		case rollcall.ByKey:
			r.key = true
		}
	}
	r.business = r.key && len(s.Key) > 0 && !slices.Contains(s.Key, "id")
	return r
}

// any: something is recorded beside the effect.
func (r records) any() bool { return r.stamp || r.position || r.key }

// NoRecords is Report.Records of by: none.
const NoRecords = "none"

// names are the records for people.
func (r records) names(s Setup) string {
	var out []string
	if r.stamp {
		out = append(out, "stamp")
	}
	if r.position {
		out = append(out, "position")
	}
	if r.key {
		out = append(out, s.keyName())
	}
	if r.ownID {
		out = append(out, "own id")
	}
	if len(out) == 0 {
		return NoRecords
	}
	return strings.Join(out, " + ")
}

func (s Setup) keyName() string {
	if len(s.Key) == 0 {
		return "key (id)"
	}
	return "key (" + strings.Join(s.Key, ", ") + ")"
}
