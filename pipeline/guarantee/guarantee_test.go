package guarantee

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
)

// every calls f with each configuration of the matrix, with lists of two
// effects, and with windows that fit and do not.
func every(f func(name string, s Setup)) {
	shapes := Shapes()
	for _, broker := range Brokers() {
		for _, store := range Stores() {
			for _, strategy := range Strategies() {
				for i := range shapes {
					for j := range shapes {
						for _, retention := range []time.Duration{0, time.Hour, 30 * 24 * time.Hour} {
							s := Setup{Broker: broker, Store: store, By: strategy.By, Key: strategy.Key, Retention: retention}
							s.Tables = []effect.Table{shapes[i].Table}
							if j != i {
								s.Tables = append(s.Tables, shapes[j].Table)
							}
							f(fmt.Sprint(broker.Name, "/", store.Name, "/", strategy.Name, "/", shapes[i].Name, "+", shapes[j].Name, "/", retention), s)
						}
					}
				}
			}
		}
	}
}

// TestEvery: every fault has an answer under every configuration, and what is
// taken keeps the promise under every fault but repeats of senders.
func TestEvery(t *testing.T) {
	taken := 0
	every(func(name string, s Setup) {
		r := s.Report()
		for _, l := range r.Lines {
			if l.Outcome == "" || l.Mechanism == "" || len(l.Fault) > 28 || len(l.Outcome) > 14 {
				t.Fatalf("%s: %+v", name, l)
			}
		}
		refusals := s.Refuse()
		for _, refusal := range refusals {
			if refusal.Field == "" || refusal.What == "" || refusal.Next == "" {
				t.Fatalf("%s: %+v", name, refusal)
			}
		}
		if (s.Cell() == "") != (len(refusals) > 0) {
			t.Fatalf("%s: cell %q, refusals %v", name, s.Cell(), refusals)
		}
		if len(refusals) > 0 {
			return
		}
		taken++
		if s.Later() != strings.HasPrefix(r.Verdict, "nothing is promised") {
			t.Fatalf("%s: %s", name, r.Verdict)
		}
		if !strings.HasPrefix(s.Cell(), "R") {
			t.Fatalf("%s: a redelivery does harm, and it is taken", name)
		}
	})
	if taken < 1000 {
		t.Errorf("%d were taken", taken)
	}
}

func TestRefuse(t *testing.T) {
	table := func(m effect.Mode) []effect.Table { return []effect.Table{{Name: "t", Mode: m, Key: []string{"id"}}} }
	none := []rollcall.Strategy{rollcall.ByNone}
	machine := table(effect.Transition)
	machine[0].State.Allow = map[string][]string{"a": {"b"}, "b": {"a"}}
	for name, c := range map[string]struct {
		s           Setup
		field, what string // empty: it is taken
	}{
		"add, none":                {Setup{Broker: Embedded, Store: SQLite, By: none, Tables: table(effect.Add)}, "effect[0].table.mode", "counts a repeat twice"},
		"add, second entry":        {Setup{Broker: Embedded, Store: SQLite, By: none, Tables: append(table(effect.Insert), table(effect.Add)...)}, "effect[1].table.mode", "counts a repeat twice"},
		"set, none, exclusive":     {Setup{Broker: Embedded, Store: SQLite, By: none, Tables: table(effect.Set)}, "", ""},
		"set, none, shared":        {Setup{Broker: RabbitMQQueue, Store: SQLite, By: none, Tables: table(effect.Set)}, "effect[0].table.mode", "on shared partitions"},
		"delete, none, shared":     {Setup{Broker: RocketMQ, Store: SQLite, By: none, Tables: table(effect.Delete)}, "effect[0].table.mode", "on shared partitions"},
		"set, stamp, shared":       {Setup{Broker: RabbitMQQueue, Store: SQLite, By: []rollcall.Strategy{rollcall.ByStamp}, Tables: table(effect.Set)}, "", ""},
		"cycle, none":              {Setup{Broker: Embedded, Store: SQLite, By: none, Tables: machine}, "effect[0].table.mode", `"a" can be reached again`},
		"position, shared":         {Setup{Broker: RabbitMQQueue, Store: SQLite, By: []rollcall.Strategy{rollcall.ByPosition}}, "dedup.by[0]", "has no positions"},
		"lock":                     {Setup{Broker: Embedded, Store: SQLite, By: []rollcall.Strategy{Lock}}, "dedup.by[0]", "never alone"},
		"redis":                    {Setup{Broker: Embedded, Store: Redis}, "store", "claims only"},
		"retention":                {Setup{Broker: Embedded, Store: SQLite, Retention: 15 * 24 * time.Hour}, "source.embedded.retention", "kept for 15d"},
		"retention covered":        {Setup{Broker: Embedded, Store: SQLite, Retention: 15 * 24 * time.Hour, Window: 15 * 24 * time.Hour}, "", ""},
		"late":                     {Setup{Broker: Embedded, Store: SQLite, Late: time.Hour, Window: 59 * time.Minute}, "source.late", "1h late, but dedup.window is 59m"},
		"late covered":             {Setup{Broker: Embedded, Store: SQLite, Late: time.Hour, Window: time.Hour}, "", ""},
		"late covers no retention": {Setup{Broker: Embedded, Store: SQLite, Late: time.Hour, Retention: 2 * time.Hour, Window: time.Hour}, "source.embedded.retention", "kept for 2h"},
	} {
		got := c.s.Refuse()
		if c.field == "" && len(got) > 0 || c.field != "" && (len(got) != 1 || got[0].Field != c.field || !strings.Contains(got[0].What, c.what)) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestCatches holds the report against docs/guarantees.md: what each strategy
// catches when the row itself recognises nothing.
func TestCatches(t *testing.T) {
	add := []effect.Table{{Name: "t", Mode: effect.Add, Key: []string{"id"}}}
	for _, s := range Strategies() {
		want := map[string][]string{ // the repeats that pass
			"auto":            {"sender restarts, minted ids", "application sends twice", "file sent again, grown"},
			"auto, dedup.key": {},
			"stamp":           {"sender restarts, own ids", "sender restarts, minted ids", "application sends twice", "file sent again, grown"},
			"position": {"sender retries (same stamp)", "sender restarts, own ids", "sender restarts, minted ids", "application sends twice",
				"same file sent again", "file sent again, grown"},
			"key (id)":       {"sender restarts, minted ids", "application sends twice", "file sent again, grown"},
			"key, dedup.key": {},
		}[s.Name]
		if want == nil {
			continue // refused
		}
		r := Setup{Broker: Embedded, Store: SQLite, By: s.By, Key: s.Key, Tables: add}.Report()
		if got := r.Of(Twice); !slices.Equal(got, append(want, "repeat after the window")) {
			t.Errorf("%s: these pass: %q", s.Name, got)
		}
	}
}

// TestDiffering: what rollcall gives to a sending is another value when the
// message is sent again: no index takes it for the same row.
func TestDiffering(t *testing.T) {
	for _, c := range []struct {
		id, at              string // where the columns come from
		again, minted, late Outcome
	}{
		{"payload.id", "payload.at", Absorbed, Absorbed, Absorbed},
		{"payload.id", "time", OnceOrAside, OnceOrAside, OnceOrAside},
		{"payload.id", "id", Absorbed, OnceOrAside, OnceOrAside},
		{"id", "payload.at", Absorbed, Twice, Twice},
		{"time", "payload.at", Twice, Twice, Twice},
	} {
		s := Setup{Broker: Embedded, Store: SQLite, By: []rollcall.Strategy{rollcall.ByPosition}}
		s.Tables = []effect.Table{{Name: "t", Mode: effect.Insert, Key: []string{"id"}, Columns: map[string]string{"id": c.id, "at": c.at}}}
		for _, l := range s.Report().Lines {
			want, ok := map[string]Outcome{"worker killed": Once, "same file sent again": c.again, "application sends twice": c.minted,
				"repeat after the window": c.late}[l.Fault]
			if ok && l.Outcome != want {
				t.Errorf("id from %s, at from %s: %s: %s, want %s", c.id, c.at, l.Fault, l.Outcome, want)
			}
			if strings.Contains(l.Mechanism, "index") && l.Window != "" {
				t.Errorf("%s: an index does not end after %s", l.Fault, l.Window)
			}
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", time.Minute: "1m", 90 * time.Minute: "1h30m", time.Hour: "1h", 24 * time.Hour: "1d", 36 * time.Hour: "1d12h",
		Window: "14d", 24*time.Hour + time.Millisecond: "1d1ms", time.Hour + time.Second: "1h0m1s", 10 * time.Minute: "10m", 20 * time.Hour: "20h",
	} {
		if got := Span(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

// TestServerStores: what a server must be is a condition, and its deadline stands
// in the report.
func TestServerStores(t *testing.T) {
	for _, c := range []struct {
		store     Store
		idle      time.Duration
		condition string // empty: none of the store's own
		stopped   string
	}{
		{SQLite, 0, "", "nobody can end it"},
		{Postgres, 0, "fsync", "after 30s"},
		{MySQL, 5 * time.Second, "innodb_flush_log_at_trx_commit", "after 5s"},
	} {
		r := Setup{Broker: Embedded, Store: c.store, Idle: c.idle}.Report()
		all := strings.Join(r.Conditions, "\n")
		if got := strings.Contains(all, "fsync") || strings.Contains(all, "innodb"); got != (c.condition != "") || !strings.Contains(all, c.condition) {
			t.Errorf("%s: conditions\n%s", c.store.Name, all)
		}
		for _, l := range r.Lines {
			if l.Fault == "stopped inside a transaction" && !strings.Contains(l.Mechanism, c.stopped) {
				t.Errorf("%s: %s", c.store.Name, l.Mechanism)
			}
		}
	}
}
