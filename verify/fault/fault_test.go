package fault_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall/verify/fault"
)

func TestPlanIsTheSeeds(t *testing.T) {
	if !reflect.DeepEqual(fault.NewPlan(7, 300), fault.NewPlan(7, 300)) {
		t.Error("one seed gives two plans")
	}
	if reflect.DeepEqual(fault.NewPlan(7, 300).Faults, fault.NewPlan(8, 300).Faults) {
		t.Error("two seeds give one plan")
	}
}

// A copy of an order hides its loss, and two faults on one order hide each
// other, so neither may be.
func TestPlanHidesNothing(t *testing.T) {
	for _, n := range []int{fault.Fewest, fault.Fewest + 1, 300, 777, fault.Most} {
		for seed := range uint64(200) {
			p := fault.NewPlan(seed, n)
			twice := make(map[string]bool)
			for _, first := range p.SenderKills {
				for i := range fault.Chunk {
					if id := p.Orders[first+i].ID; twice[id] {
						t.Fatalf("seed %d, %d orders: the sender is killed twice at %s", seed, n, id)
					} else {
						twice[id] = true
					}
				}
			}
			for _, i := range p.Again {
				twice[p.Orders[i].ID] = true
			}
			hit := map[string]bool{p.Poison: true}
			for _, f := range p.Faults {
				if hit[f.Order] || twice[f.Order] {
					t.Fatalf("seed %d, %d orders: %s has two faults, or is sent twice", seed, n, f.Order)
				}
				hit[f.Order] = true
			}
			if twice[p.Poison] || len(p.SenderKills) != 2 || len(p.Again) != 2 {
				t.Fatalf("seed %d, %d orders: %+v", seed, n, p)
			}
		}
	}
}

// The shaky customer's order is the one that is hit while it waits for another
// try.
func TestShakyOrderIsHit(t *testing.T) {
	p := fault.NewPlan(3, 300)
	for _, f := range p.Faults {
		if f.Moment == fault.InRetry {
			i := slices.IndexFunc(p.Orders, func(o fault.Order) bool { return o.Customer == p.Shaky })
			if p.Orders[i].ID != f.Order {
				t.Errorf("%s is hit, the first of the customer is %s", f.Order, p.Orders[i].ID)
			}
		}
	}
	nearest := p.For(map[fault.Moment]fault.Moment{fault.InRetry: fault.InEffect})
	for i, f := range nearest {
		if f.Moment == fault.InRetry || f.Order != p.Faults[i].Order {
			t.Errorf("%+v is not at the nearest moment", f)
		}
	}
}

func TestServices(t *testing.T) {
	s := fault.NewServices("shaky")
	ask := func(op, key, value string, ttl time.Duration) fault.Reply {
		return s.Answer(fault.Request{Op: op, Key: key, Value: value, TTL: ttl})
	}
	if !ask(fault.OpSetNX, "lock", "a", 0).OK || ask(fault.OpSetNX, "lock", "b", 0).OK {
		t.Error("SETNX")
	}
	if ask(fault.OpDelIf, "lock", "b", 0).OK || ask(fault.OpGet, "lock", "", 0).Value != "a" || !ask(fault.OpDelIf, "lock", "a", 0).OK {
		t.Error("only the holder unlocks")
	}
	ask(fault.OpSet, "short", "a", time.Nanosecond)
	time.Sleep(time.Millisecond)
	if ask(fault.OpGet, "short", "", 0).OK || !ask(fault.OpSetNX, "short", "b", time.Hour).OK {
		t.Error("a key outlives its time")
	}
	ask(fault.OpDel, "short", "", 0)
	if ask(fault.OpGet, "short", "", 0).OK {
		t.Error("DEL")
	}
	if !ask(fault.OpCharge, "calm", "", 0).OK {
		t.Error("a calm customer is declined")
	}
	failures := 0
	for deadline := time.Now().Add(10 * time.Second); !ask(fault.OpCharge, "shaky", "", 0).OK; failures++ {
		if time.Now().After(deadline) {
			t.Fatal("after 10 s the shaky customer is still declined")
		}
		time.Sleep(60 * time.Millisecond)
	}
	if failures != 2 {
		t.Errorf("the shaky customer was declined %d times, want twice", failures)
	}
}

// The child's end: a step asks, waits, and says what was lost; without a
// fault it costs nothing; and a parent that is gone is noticed.
func TestInjector(t *testing.T) {
	replies, toChild := io.Pipe()
	fromChild, requests := io.Pipe()
	gone := make(chan struct{})
	link := fault.NewLink(replies, requests, func() { close(gone) })
	go func() {
		for d, e := json.NewDecoder(fromChild), json.NewEncoder(toChild); ; {
			var r fault.Request
			if d.Decode(&r) != nil || r.Op == "" {
				return
			}
			if r.Op != "at" || r.Fault != 1 || !slices.Equal(r.Orders, []string{"a", "b"}) {
				t.Errorf("the child says %+v", r)
			}
			if e.Encode(fault.Reply{ID: r.ID, OK: true}) != nil {
				return
			}
		}
	}()
	in := fault.NewInjector(link, []fault.Fault{
		{Kind: fault.Kill, Moment: fault.InEffect, Order: "a"}, {Kind: fault.ReplyLost, Moment: fault.Committing, Order: "b"}}, []int{1})
	if err := in.At(t.Context(), fault.InEffect, "a"); err != nil {
		t.Errorf("a fault that has bitten: %v", err)
	}
	for _, want := range []error{fault.ErrReplyLost, nil} {
		if err := in.At(t.Context(), fault.Committing, "a", "b"); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	if err := toChild.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Fatal("10 s after the parent is gone the child has not noticed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := link.Ask(ctx, fault.Request{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
