package check_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall/verify/check"
	"github.com/rollcall-mq/rollcall/verify/fault"
	"github.com/rollcall-mq/rollcall/verify/history"
)

// good is a run of four orders, each of which took effect once.
func good() *check.Run {
	r := &check.Run{Name: "p", Plan: &fault.Plan{}}
	for i := range 4 {
		id := fmt.Sprintf("order-%d", i)
		r.Plan.Orders = append(r.Plan.Orders, fault.Order{ID: id, Cents: 5})
		r.Sender = append(r.Sender, history.Event{What: history.Send, Orders: []string{id}}, history.Event{What: history.Stored, Orders: []string{id}})
		r.Effects = append(r.Effects, check.Effect{ID: id, Cents: 5, PID: 3, At: int64(i)})
		r.Balance += 5
	}
	return r
}

func (l labelled) run() check.Verdict {
	r := good()
	l.change(r)
	return check.Judge(r)
}

// labelled is a history with what a person says of it.
type labelled struct {
	name                        string
	change                      func(*check.Run)
	lost, doubled, doubt, kills int
	marks, cause                string
	problem                     bool
}

func effect(r *check.Run, id string) {
	r.Effects = append(r.Effects, check.Effect{ID: id, Cents: 5, PID: 4, At: time.Now().UnixNano()})
	r.Balance += 5
}

func drop(r *check.Run, i int) {
	r.Effects = append(r.Effects[:i], r.Effects[i+1:]...)
	r.Balance -= 5
}

func hit(what history.What, order string, with ...string) history.Event {
	return history.Event{PID: 77, What: what, Step: "inside the effect", Target: order, Orders: append([]string{order}, with...)}
}

var histories = []labelled{
	{name: "all once", change: func(*check.Run) {}, marks: "...."},
	{name: "lost by a kill", change: func(r *check.Run) { drop(r, 1); r.Worker = []history.Event{hit(history.Kill, "order-1")} },
		lost: 1, kills: 1, marks: ".x..", cause: "worker 77 was killed inside the effect"},
	{name: "lost with another in hand", change: func(r *check.Run) { drop(r, 1); r.Worker = []history.Event{hit(history.Kill, "order-0", "order-1")} },
		lost: 1, kills: 1, marks: ".x..", cause: "worker 77 was killed"},
	{name: "lost for no reason", change: func(r *check.Run) { drop(r, 3) }, lost: 1, marks: "...x", cause: check.Unexplained},
	{name: "a kill with nothing in hand is none", change: func(r *check.Run) { r.Worker = []history.Event{{What: history.Kill}} }, marks: "...."},
	{name: "doubled by a lost ack", change: func(r *check.Run) { effect(r, "order-0"); r.Worker = []history.Event{hit(history.AckLost, "order-0")} },
		doubled: 1, marks: "2...", cause: "ack of worker 77 was lost"},
	{name: "doubled by a sleeper", change: func(r *check.Run) { effect(r, "order-0"); r.Worker = []history.Event{hit(history.Sleep, "order-0")} },
		doubled: 1, marks: "2...", cause: "worker 77 slept past its lease"},
	{name: "doubled after a wake", change: func(r *check.Run) {
		r.Worker = []history.Event{{What: history.Wake, PID: 9, Time: time.Now().Add(-time.Second)}}
		effect(r, "order-2")
	}, doubled: 1, marks: "..2.", cause: "worker 9, awake again, set the offset back"},
	{name: "sent twice by the application", change: func(r *check.Run) {
		r.Sender = append(r.Sender, history.Event{What: history.Send, Orders: []string{"order-2"}})
		effect(r, "order-2")
	}, doubled: 1, marks: "..2.", cause: "the application sent it twice"},
	{name: "sent twice by a second life", change: func(r *check.Run) {
		r.Sender = append(r.Sender, hit(history.Kill, "order-2"), history.Event{What: history.Send, Orders: []string{"order-2"}})
		effect(r, "order-2")
	}, doubled: 1, marks: "..2.", cause: "sender 77 was killed after the broker had stored it"},
	{name: "no answer to a send: once or never", change: func(r *check.Run) { r.Sender = r.Sender[:len(r.Sender)-1]; drop(r, 3) }, marks: "...."},
	{name: "refused and seen all the same", change: func(r *check.Run) { r.Sender[7].What = history.Refused },
		doubled: 1, marks: "...2", cause: check.Unexplained},
	{name: "set aside for all to see", change: func(r *check.Run) { drop(r, 2); r.Rejected = []string{"order-2"} }, marks: "..-."},
	{name: "set aside, but what it wrote stayed", change: func(r *check.Run) { r.Rejected = []string{"order-2"} },
		doubled: 1, marks: "..2.", cause: "it was rejected"},
	{name: "parked", change: func(r *check.Run) { drop(r, 2); r.Parked = []string{"order-2"} }, doubt: 1, marks: "..?."},
	{name: "an effect of nothing", change: func(r *check.Run) { effect(r, "order-9") }, doubled: 1, marks: "....", cause: "nobody sent it"},
	{name: "the balance differs", change: func(r *check.Run) { r.Balance++ }, marks: "....", problem: true},
	{name: "it never finished", change: func(r *check.Run) { r.Stuck = "not finished" }, marks: "....", problem: true},
}

func TestLabelledHistories(t *testing.T) {
	for _, l := range histories {
		t.Run(l.name, func(t *testing.T) {
			v := l.run()
			if v.Lost != l.lost || v.Doubled != l.doubled || v.InDoubt != l.doubt || v.Killed != l.kills || string(v.Marks) != l.marks {
				t.Errorf("lost %d, doubled %d, in doubt %d, kills %d, %s", v.Lost, v.Doubled, v.InDoubt, v.Killed, v.Marks)
			}
			if (v.Problem != "") != l.problem || v.Safe() != (l.lost+l.doubled == 0 && !l.problem) {
				t.Errorf("problem %q, safe %v", v.Problem, v.Safe())
			}
			if len(v.Findings) != l.lost+l.doubled {
				t.Fatalf("findings: %+v", v.Findings)
			}
			if len(v.Findings) > 0 && !strings.Contains(v.Findings[0].Cause, l.cause) {
				t.Errorf("cause %q, want %q", v.Findings[0].Cause, l.cause)
			}
		})
	}
}
