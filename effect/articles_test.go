package effect_test

import (
	"errors"
	"testing"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
)

// The operations that articles about idempotence give as examples, each applied
// twice without a record beneath: which of them change the result.
func TestExamplesOfArticles(t *testing.T) {
	ddl := []string{"CREATE TABLE account (id {key} PRIMARY KEY, balance {int}, status {text}, v {int})", "CREATE TABLE events (id {key}, n {int})",
		"INSERT INTO account VALUES ('a', 100, 'created', 1)"}
	const account, all = "SELECT id, balance, status, v FROM account ORDER BY id", "SELECT id, n FROM events"
	key := []string{"id"}
	of := func(mode effect.Mode, columns map[string]string) effect.Table {
		return effect.Table{Name: "account", Mode: mode, Key: key, Columns: columns}
	}
	balance := map[string]string{"id": "payload.id", "balance": "payload.n"}
	version := of(effect.Versioned, map[string]string{"id": "payload.id", "balance": "payload.n", "v": "payload.v"})
	version.Version = effect.Version{Column: "v", Rule: effect.RuleNext}
	state := of(effect.Transition, map[string]string{"id": "payload.id", "status": "payload.s"})
	state.State = effect.State{Column: "status", Allow: map[string][]string{"created": {"paid"}, "paid": {"shipped"}}}
	events := effect.Table{Name: "events", Mode: effect.Insert, Columns: map[string]string{"id": "payload.id", "n": "payload.n"}}
	for name, c := range map[string]struct {
		table       effect.Table
		message     string
		look        string
		once, twice string // the result after the first and the second time
		second      error  // what the second one says
	}{
		"balance = balance - 10": {of(effect.Add, balance), `{"id":"a","n":-10}`, account,
			"string:a int64:90 string:created int64:1", "string:a int64:80 string:created int64:1", nil},
		"counter = counter + 1": {of(effect.Add, map[string]string{"id": "payload.id", "v": "const:1"}), `{"id":"a"}`, account,
			"string:a int64:100 string:created int64:2", "string:a int64:100 string:created int64:3", nil},
		"insert, no key": {events, `{"id":"e","n":1}`, all, "string:e int64:1", "string:e int64:1\nstring:e int64:1", nil},
		"insert, unique key": {of(effect.Insert, balance), `{"id":"b","n":5}`, account + " DESC",
			"string:b int64:5 <nil>:<nil> <nil>:<nil>\nstring:a int64:100 string:created int64:1", "", rollcall.Repeated},
		"set status = 'paid'": {of(effect.Set, map[string]string{"id": "payload.id", "status": "const:paid"}), `{"id":"a"}`, account,
			"string:a int64:100 string:paid int64:1", "", nil},
		"delete by id": {of(effect.Delete, map[string]string{"id": "payload.id"}), `{"id":"a"}`, account, "", "", nil},
		"upsert":       {of(effect.Upsert, balance), `{"id":"a","n":7}`, account, "string:a int64:7 string:created int64:1", "", nil},
		"update where version = n": {version, `{"id":"a","n":90,"v":2}`, account,
			"string:a int64:90 string:created int64:2", "", rollcall.Stale},
		"state machine": {state, `{"id":"a","s":"paid"}`, account, "string:a int64:100 string:paid int64:1", "", rollcall.Stale},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, ddl, func(t *testing.T, db *database) {
				ts := db.tables(t, c.table)
				for time, want := range []string{c.once, c.twice} {
					if want == "" {
						want = c.once // twice is once
					}
					if err := db.one(t, ts, body("%s", c.message)); !errors.Is(err, map[int]error{1: c.second}[time]) {
						t.Errorf("time %d: %v", time+1, err)
					}
					if got := db.dump(t, c.look); got != want {
						t.Errorf("time %d: %s, want %s", time+1, got, want)
					}
				}
				// What a repeat changes is what is refused without a record.
				if _, needs := c.table.NeedsRecord(false); needs != (c.twice != "") {
					t.Errorf("needs a record: %v", needs)
				}
			})
		})
	}
}
