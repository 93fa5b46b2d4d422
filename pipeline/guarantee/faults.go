package guarantee

import (
	"fmt"
	"maps"
)

// fault is one thing that goes wrong.
type fault struct {
	name   string
	shown  string // by what, with a store of this host; serverShown has those of servers
	within bool   // a repeat can come late, when its record is swept
	of     func(s Setup) answer
}

// faults are those of the report, in its order.
var faults = []fault{
	{"worker killed", "TestCrashCampaign", false, redelivered("record and effect commit together")},
	{"reply to COMMIT lost", "case doubt-guessed", false, redelivered("the batch runs again and finds its record")},
	{"worker paused past its lease", "TestStoppedOutsideTransaction", false, redeliveredTo("the old token is refused in the transaction", "another one gets its messages; the locked record decides who was first")},
	{"rebalance", "case effects-many-workers", false, redeliveredTo("a new owner raises the token and reads the records", "there is none: processes compete and share the locked records")},
	{"delivery repeated, ack lost", "case settle-first", true, redelivered("the record tells")},
	{"sender retries (same stamp)", "scenario X/copies apart", true, sentAgain},
	{"sender restarts, own ids", "case sent-twice", true, ownIDs},
	{"sender restarts, minted ids", "TestDedupKeys", true, minted},
	{"application sends twice", "case sent-twice", true, minted},
	{"same file sent again", "script checktrue", true, sentAgain},
	{"file sent again, grown", "script checktrue", true, grown},
	{"effect fails", "case part-of-a-batch", false, failing},
	{"message kills its worker", "case poison-kills", false, poison},
	{"message lacks identity", "case no-identity", false, unidentified},
	{"repeat after the window", "case window", false, late},
	{"retention overtakes consumer", "script run", false, overtaken},
	{"store restored, commits lost", "", false, always(NotPromised, "effect and record go back together, the log need not")},
	{"log restored from a copy", "TestRestoredLog", false, restored},
	{"log replaced by a new one", "script checktrue", false, replaced},
	{"stopped inside a transaction", "TestStoppedInsideTransaction", false, stoppedInside},
	{"clock set back", "case aside-due", false, always(Once, "clocks decide when to try, never whether")},
	{"operator redrives twice", "scenario X/redriven twice", false, always(Once, "the row aside is the claim: compare-and-set")},
	{"partitions raised", "script send", false, raised},
	{"cache or lock loses memory", "model cache lost", false, always(Once, "none is used")},
}

// serverShown is what shows a fault with a store on a server, where it is
// another thing than on this host.
var serverShown = map[string]string{
	"worker killed":                "TestServerKills",
	"stopped inside a transaction": "TestServerStopped",
	"same file sent again":         "TestServerKills",
	"operator redrives twice":      "TestServerDead",
	"killed during a request":      "TestServerHTTPKilled",
}

// brokerShown is what shows a fault on a broker, where it is another thing than with
// the embedded log.
var brokerShown = map[string]map[string]string{
	Kafka.Name:          kafkaShown,
	RabbitMQStream.Name: with(rabbitShown, map[string]string{"log restored from a copy": "TestStreamMadeAgain", "retention overtakes consumer": "TestRetentionOvertakes"}),
	RabbitMQQueue.Name:  rabbitShown,
	RabbitMQSingle.Name: with(rabbitShown, map[string]string{"rebalance": "TestSingleActiveSwitch"}),
	RocketMQ.Name: {
		"worker killed": "TestProcessesKilled", "delivery repeated, ack lost": "TestYoungBroker", "worker paused past its lease": "TestReceiptExpired",
		"same file sent again": "TestQueueKills", "retention overtakes consumer": "", "log restored from a copy": "", "log replaced by a new one": "", "partitions raised": "",
	},
}

// rabbitShown is what shows a fault on RabbitMQ.
var rabbitShown = map[string]string{
	"worker killed": "TestOnce", "worker paused past its lease": "TestOnce", "delivery repeated, ack lost": "TestCutWhileConsuming",
	"same file sent again": "TestQueueKills", "retention overtakes consumer": "", "log restored from a copy": "", "log replaced by a new one": "", "partitions raised": "",
}

func with(all, more map[string]string) map[string]string {
	out := maps.Clone(all)
	maps.Copy(out, more)
	return out
}

var kafkaShown = map[string]string{
	"worker killed":                "TestKafkaKills",
	"retention overtakes consumer": "script kafkalost",
	"log restored from a copy":     "",
	"log replaced by a new one":    "",
	"same file sent again":         "script kafka",
	"partitions raised":            "",
}

func (f *fault) shownWith(broker Broker, store Store) string {
	if by, ok := brokerShown[broker.Name][f.name]; ok {
		return by
	}
	if by, ok := serverShown[f.name]; ok && store.Deadlines {
		return by
	}
	return f.shown
}

func always(o Outcome, mechanism string) func(Setup) answer {
	return func(Setup) answer { return answer{outcome: o, mechanism: mechanism} }
}

// redeliveredTo is redelivered, with another mechanism where processes compete.
func redeliveredTo(owner, competing string) func(Setup) answer {
	return func(s Setup) answer {
		if s.Broker.Queue() {
			return redelivered(competing)(s)
		}
		return redelivered(owner)(s)
	}
}

// redelivered: the broker brings it again, with stamp, position and key as
// they were: any record tells.
func redelivered(mechanism string) func(Setup) answer {
	return func(s Setup) answer {
		if s.records().any() {
			return answer{Once, mechanism, true}
		}
		return s.byMode(s.delivery())
	}
}

// delivery is how a redelivery comes.
func (s Setup) delivery() repeat {
	if s.Broker.Exclusive {
		return inOrder
	}
	return apart
}

// sentAgain: same stamp, same id, same body, at another position.
func sentAgain(s Setup) answer {
	switch r := s.records(); {
	case r.stamp:
		return answer{Absorbed, "stamp", true}
	case r.key:
		return answer{Absorbed, s.keyName(), true}
	}
	return s.byMode(again)
}

// ownIDs: same id and body under a new stamp; the id is the application's own.
func ownIDs(s Setup) answer {
	switch r := s.records(); {
	case r.key:
		return answer{Absorbed, s.keyName(), true}
	case r.ownID:
		return answer{Absorbed, "own id", true}
	}
	return s.byMode(again)
}

// minted: same body under a new stamp and a new id.
func minted(s Setup) answer {
	if s.records().business {
		return answer{Absorbed, s.keyName(), true}
	}
	return s.byMode(anew)
}

// grown: the lines count anew, only what is in them tells.
func grown(s Setup) answer {
	a := minted(s)
	if r := s.records(); a.outcome == Twice && (r.key || r.ownID) {
		a.mechanism = "all its lines are new; give ids with send --id"
	}
	return a
}

func failing(s Setup) answer {
	return answer{outcome: OnceOrAside, mechanism: fmt.Sprintf("dead after %d attempts, in the transaction of its record", s.Attempts)}
}

func poison(s Setup) answer {
	return answer{outcome: OnceOrAside, mechanism: fmt.Sprintf("attempts are written before it runs again; dead after %d", s.Attempts)}
}

func unidentified(s Setup) answer {
	if s.none() {
		return s.byMode(s.delivery())
	}
	return answer{outcome: OnceOrAside, mechanism: "set aside as no identity"}
}

// late: the records are swept, only the rows themselves remember.
func late(s Setup) answer { return s.byMode(anew) }

func overtaken(s Setup) answer {
	if s.Retention == 0 && s.Broker.Name == Embedded.Name {
		return answer{outcome: Once, mechanism: "nothing is removed: no retention is set"}
	}
	if s.Broker.Name == RocketMQ.Name {
		return answer{outcome: NotPromised, mechanism: "the server removes what is too old, read or not, and does not tell"}
	}
	if s.Broker.Queue() {
		return answer{outcome: Once, mechanism: "a queue keeps what is not acknowledged: no TTL, no drop-head (conditions)"}
	}
	if s.Broker.Name != Embedded.Name {
		return answer{outcome: Counted, mechanism: "run stops and names the offsets; with --accept-lost it goes on and counts them as missing"}
	}
	return answer{outcome: Counted, mechanism: "run counts it as missing and exits 1"}
}

func replaced(s Setup) answer {
	if s.Broker.Queue() {
		return answer{outcome: NotPromised, mechanism: "what is in it is new; the audit misses what was in the one before"}
	}
	return answer{outcome: NotPromised, mechanism: "what is in it is new; run finds that the books do not add up"}
}

func restored(s Setup) answer {
	if s.Broker.Name == Kafka.Name {
		return answer{outcome: Refused, mechanism: "run compares the topic's id, leader epochs and ends of logs with what is done"}
	}
	if s.Broker.Queue() {
		return answer{outcome: NotPromised, mechanism: "a queue has no positions to compare with what is done; the audit finds what is missing"}
	}
	if s.Broker.Name == RabbitMQStream.Name {
		return answer{outcome: Refused, mechanism: "run compares the last message done and the end of the stream with what is there"}
	}
	return answer{outcome: Refused, mechanism: "run looks up the last message done, if younger than " + Span(s.Window/2)}
}

func stoppedInside(s Setup) answer {
	if s.Store.Deadlines {
		return answer{outcome: Once, mechanism: "the server ends its transaction after " + Span(s.Idle)}
	}
	return answer{outcome: Waits, mechanism: "until it goes on or is killed: nobody can end it"}
}

func raised(s Setup) answer {
	if s.Broker.Queue() || s.Broker.Name == RabbitMQStream.Name {
		return answer{outcome: Once, mechanism: "there is one partition"}
	}
	for i := range s.Tables {
		if ordered(&s.Tables[i]) {
			return answer{outcome: NotPromised, mechanism: "a Key moves to another partition: order is not kept across it"}
		}
	}
	return answer{outcome: Once, mechanism: "lanes and partitions have records of their own"}
}
