// Package fault hits processes at chosen steps: the seeded schedule, the
// processes, and the services beside them that survive their deaths.
package fault

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// Kind is what happens to a worker.
type Kind string

// The kinds.
const (
	Kill       Kind = "kill"        // SIGKILL
	Sleep      Kind = "sleep"       // SIGSTOP past the lease, woken when another has done the work
	ReplyLost  Kind = "reply lost"  // the COMMIT happened, its answer is lost
	CommitLost Kind = "commit lost" // the connection broke before the COMMIT: it did not happen
	AckLost    Kind = "ack lost"    // the broker never hears of the settlement
)

// Moment is a place in the handling of a message that every pattern has, in
// its own order. Where one has no such place, Plan.For takes the nearest.
type Moment string

// The moments, as they are called in the report.
const (
	BeforeEffect Moment = "before the effect"
	InEffect     Moment = "inside the effect"
	InRetry      Moment = "while a failed message is to be tried again"
	BeforeCommit Moment = "before COMMIT"
	Committing   Moment = "at COMMIT"
	AfterEffect  Moment = "after the effect, before the record"
	AfterRecord  Moment = "after the record"
	BeforeSettle Moment = "after all work, before the ack"
	Settling     Moment = "at the ack"
	// AfterAck and Marking are of patterns that acknowledge or mark first.
	AfterAck Moment = "after the ack, before the effect"
	Marking  Moment = "at SETNX"
	// StoredUnknown is of the sender.
	StoredUnknown Moment = "after the broker stored, before it knew"
)

// Fault is one fault on one order.
type Fault struct {
	Kind   Kind   `json:"kind"`
	Moment Moment `json:"moment"`
	Order  string `json:"order"`
}

// Order is a message of the run.
type Order struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
	Cents    int64  `json:"cents"`
	// NoID: the message has no id of the application's own, so that a repeat
	// shows by its stamp and its position alone.
	NoID bool `json:"no_id,omitempty"`
}

// Chunk is how many orders the sender hands over at once.
const Chunk = 8

// Plan is a run: what is sent and what happens, the same for every pattern.
type Plan struct {
	Seed   uint64
	Orders []Order
	Faults []Fault // of workers
	Poison string  // fails whenever it is tried
	Shaky  string  // the customer whose first order fails twice, then succeeds
	// SenderKills are the first orders of chunks after which the sender is
	// killed: the broker has stored them, and it does not know.
	SenderKills []int
	Again       []int // orders that the application sends twice
}

// The bounds of a plan: below, faults would fall on one message; above, a run
// is no demonstration any more.
const (
	Fewest = 120
	Most   = 5000
)

// aims are the faults with the place in the run, in percent.
var aims = []struct {
	at     int
	kind   Kind
	moment Moment
}{
	{8, Kill, InEffect},
	{16, Kill, AfterEffect},
	{24, Kill, AfterRecord},
	{32, Kill, InRetry},
	{42, ReplyLost, Committing},
	{46, CommitLost, BeforeCommit},
	{50, AckLost, Settling},
	{58, Kill, BeforeSettle},
	{66, Kill, InEffect},
	{74, Kill, AfterEffect},
	{83, Kill, BeforeSettle},
	{93, Sleep, BeforeEffect},
}

// NewPlan makes the plan of a seed. n is from Fewest to Most.
func NewPlan(seed uint64, n int) *Plan {
	random := rand.New(rand.NewPCG(seed, 0x5eed))
	p := &Plan{Seed: seed, Orders: make([]Order, n), Shaky: "customer-shaky"}
	for i := range p.Orders {
		p.Orders[i] = Order{fmt.Sprintf("order-%04d", i+1), fmt.Sprintf("customer-%02d", random.IntN(20)), int64(random.IntN(9900) + 100), false}
	}
	taken := make(map[int]bool)
	for _, a := range aims {
		i := n*a.at/100 + random.IntN(max(1, n/50))
		taken[i] = true
		p.Faults = append(p.Faults, Fault{a.kind, a.moment, p.Orders[i].ID})
		switch {
		case a.moment == InRetry:
			for _, later := range []int{0, 2, 5} {
				p.Orders[i+later].Customer = p.Shaky
			}
		case a.kind == ReplyLost:
			p.Poison = p.Orders[i-1].ID // near, so that it tends to share a batch
			p.Orders[i-1].Customer = "customer-poison"
			taken[i-1] = true
		}
	}
	p.repeats(random, taken)
	p.anonymous()
	return p
}

// repeats chooses what is sent twice: never an order that a fault is aimed at,
// whose loss a second copy would hide.
func (p *Plan) repeats(random *rand.Rand, taken map[int]bool) {
	chunks := len(p.Orders) / Chunk
	free := func(chunk int) bool {
		for i := range Chunk {
			if taken[chunk*Chunk+i] {
				return false
			}
		}
		return true
	}
	for _, percent := range []int{36, 78} {
		chunk := chunks*percent/100 + random.IntN(2)
		for !free(chunk) {
			chunk = (chunk + 1) % chunks
		}
		p.SenderKills = append(p.SenderKills, chunk*Chunk)
		taken[chunk*Chunk] = true
	}
	for len(p.Again) < 2 {
		i := random.IntN(len(p.Orders) / 2)
		if !taken[i] && !slices.Contains(p.Again, i) && !slices.Contains(p.SenderKills, i/Chunk*Chunk) {
			p.Again = append(p.Again, i)
		}
	}
}

// anonymous takes the ids from the orders around a fault that repeats what was
// committed: one way to recognise a repeat must not stand in for another that
// is broken. What the application sends twice keeps its id.
func (p *Plan) anonymous() {
	for i, o := range p.Orders {
		for _, f := range p.Faults {
			if f.Order != o.ID || f.Kind != ReplyLost && f.Kind != Sleep && f.Kind != AckLost {
				continue
			}
			for j := max(0, i-Chunk); j <= min(i+Chunk, len(p.Orders)-1); j++ {
				p.Orders[j].NoID = !slices.Contains(p.SenderKills, j/Chunk*Chunk) && !slices.Contains(p.Again, j)
			}
		}
	}
}

// Calm takes all that can go wrong out of a plan.
func (p *Plan) Calm() *Plan {
	p.Faults, p.SenderKills, p.Again, p.Poison, p.Shaky = nil, nil, nil, "", ""
	return p
}

// For is the faults at the moments that a pattern has.
func (p *Plan) For(nearest map[Moment]Moment) []Fault {
	out := slices.Clone(p.Faults)
	for i := range out {
		if m, ok := nearest[out[i].Moment]; ok {
			out[i].Moment = m
		}
	}
	return out
}

// ForSender is the faults of the sender, aimed at the last order of a chunk:
// then the whole chunk is stored.
func (p *Plan) ForSender() []Fault {
	var out []Fault
	for _, i := range p.SenderKills {
		out = append(out, Fault{Kill, StoredUnknown, p.Orders[i+Chunk-1].ID})
	}
	return out
}
