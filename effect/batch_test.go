package effect_test

import (
	"errors"
	"flag"
	"fmt"
	"testing"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
	"pgregory.net/rapid"
)

// every mode, over a table of its own, and one that shares a message between tables.
func everyMode() map[string][]effect.Table {
	columns := map[string]string{"order_id": "payload.id", "status": "payload.s", "amount": "payload.n", "note": "payload.note?"}
	of := func(mode effect.Mode) effect.Table {
		return effect.Table{Name: "orders", Mode: mode, Key: []string{"order_id"}, Columns: columns}
	}
	upsert, version, next, transition, add := of(effect.Upsert), of(effect.Versioned), of(effect.Versioned), of(effect.Transition), of(effect.Add)
	upsert.Update = []string{"amount"}
	version.Version = effect.Version{Column: "amount"}
	next.Version = effect.Version{Column: "amount", Rule: effect.RuleNext}
	transition.State = effect.State{Column: "status", Allow: map[string][]string{"a": {"b", "c"}, "b": {"d"}, "d": {"b"}}}
	add.Update = []string{"amount"}
	put, del := of(effect.Set), of(effect.Delete)
	put.When, del.When = "payload.op!=d", "payload.op=d"
	other := effect.Table{Name: "other", Mode: effect.Add, Key: []string{"x", "y"}, Update: []string{"n"},
		Columns: map[string]string{"x": "payload.id", "y": "payload.s", "n": "payload.n"}}
	return map[string][]effect.Table{
		"insert": {of(effect.Insert)}, "upsert": {upsert}, "version": {version}, "next": {next}, "transition": {transition},
		"set": {of(effect.Set)}, "delete": {of(effect.Delete)}, "add": {add}, "set and delete": {put, del},
		"insert and add": {of(effect.Insert), other}, "add and version": {other, version},
	}
}

const everything = "SELECT 1, order_id, status, amount, note FROM orders UNION ALL SELECT 2, x, y, n, NULL FROM other ORDER BY 1, 2, 3"

// A batch ends exactly as its messages one after another: rows and outcomes.
func TestBatchEqualsOneByOne(t *testing.T) {
	for name, list := range everyMode() {
		t.Run(name, func(t *testing.T) {
			onEach(t, nil, func(t *testing.T, batched *database) {
				single := products[batched.name](t)
				for _, db := range []*database{batched, single} {
					db.exec(t, ordersDDL, "CREATE TABLE other (x {key}, y {key}, n {int}, PRIMARY KEY (x, y))")
				}
				ts := batched.tables(t, list...)
				if batched.product != "sqlite" { // every statement is a turn to the server
					defer flag.Set("rapid.checks", flag.Lookup("rapid.checks").Value.String())
					must(t, flag.Set("rapid.checks", "20"))
				}
				rapid.Check(t, func(r *rapid.T) { batchEqualsSingles(t, r, batched.begin(t), single.begin(t), ts) })
			})
		})
	}
}

func batchEqualsSingles(t *testing.T, r *rapid.T, one, two transaction, ts *effect.Tables) {
	defer one.rollback()
	defer two.rollback()
	for range rapid.IntRange(1, 3).Draw(r, "batches") {
		ms := rapid.SliceOfN(rapid.Custom(drawMessage), 1, 45).Draw(r, "messages")
		got, err := one.batch(ts, ms)
		must(t, err)
		for i := range ms {
			if want := two.one(ts, ms[i]); !sameOutcome(got[i], want) {
				r.Fatalf("message %d %s: batch %v, single %v", i, ms[i].Body, got[i], want)
			}
		}
		if g, w := dumpOf(t, one.c, everything), dumpOf(t, two.c, everything); g != w {
			r.Fatalf("batch:\n%s\none by one:\n%s", g, w)
		}
	}
}

func drawMessage(r *rapid.T) rollcall.Message {
	id := rapid.SampledFrom([]string{"k1", "k2", "k3", "A", "a"}).Draw(r, "id")
	op := rapid.SampledFrom([]string{"u", "u", "d"}).Draw(r, "op")
	n := rapid.SampledFrom([]string{"1", "2", "3", "4", "9223372036854775807", "-3", `"x"`}).Draw(r, "n")
	state := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(r, "s")
	note := rapid.SampledFrom([]string{"", `,"note":"x"`, `,"note":null`}).Draw(r, "note")
	return body(`{"id":%q,"op":%q,"n":%s,"s":%q%s}`, id, op, n, state, note)
}

func sameOutcome(a, b error) bool {
	for _, o := range []error{rollcall.Stale, rollcall.Early, rollcall.Repeated, rollcall.Filtered} {
		if errors.Is(a, o) != errors.Is(b, o) {
			return false
		}
	}
	return fmt.Sprint(a) == fmt.Sprint(b)
}
