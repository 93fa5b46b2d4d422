package effect_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
)

func TestRefusedConfigurations(t *testing.T) {
	onEach(t, []string{ordersDDL,
		"CREATE TABLE two (id {int} PRIMARY KEY, mail {key} UNIQUE, n {int}, total DOUBLE PRECISION, must {key} NOT NULL DEFAULT '', gen {int} GENERATED ALWAYS AS (n + 1) STORED)",
		"CREATE TABLE strictly (id {int} PRIMARY KEY, must {text} NOT NULL)"}, refusedConfigurations)
}

func refusedConfigurations(t *testing.T, db *database) {
	if db.product == "sqlite" {
		db.exec(t, "CREATE TABLE nocase (id TEXT COLLATE NOCASE PRIMARY KEY, n INTEGER)",
			"CREATE TABLE partial (id TEXT, n INTEGER)", "CREATE UNIQUE INDEX pi ON partial (id) WHERE n > 0")
	}
	key := []string{"id"}
	idN := map[string]string{"id": "payload.id", "n": "payload.n"}
	without := 0
	for name, c := range map[string]struct {
		table effect.Table
		text  string
	}{
		"no such table":     {effect.Table{Name: "order", Mode: effect.Set, Key: key, Columns: idN}, "near: orders"},
		"injected table":    {effect.Table{Name: `orders"; DROP TABLE orders; --`, Mode: effect.Set, Key: key, Columns: idN}, "is not a name"},
		"injected column":   {effect.Table{Name: "orders", Mode: effect.Insert, Columns: map[string]string{`note") VALUES (1); --`: "id"}}, "is not a name"},
		"own tables":        {effect.Table{Name: "rollcall_keys", Mode: effect.Insert, Columns: idN}, "rollcall itself"},
		"no such column":    {effect.Table{Name: "orders", Mode: effect.Insert, Columns: map[string]string{"orderid": "id"}}, "near: order_id"},
		"bad source":        {effect.Table{Name: "orders", Mode: effect.Insert, Columns: map[string]string{"note": "body"}}, "is no source"},
		"bad path":          {effect.Table{Name: "orders", Mode: effect.Insert, Columns: map[string]string{"order_id": "id", "note": "payload.a..b"}}, "a name is missing"},
		"no columns":        {effect.Table{Name: "orders", Mode: effect.Insert}, "none"},
		"no mode":           {effect.Table{Name: "two", Key: key, Columns: idN}, "use insert"},
		"no key":            {effect.Table{Name: "two", Mode: effect.Upsert, Columns: idN}, "needs the columns that name the row"},
		"key without index": {effect.Table{Name: "two", Mode: effect.Insert, Key: []string{"n"}, Columns: idN}, "no unique index on (n)"},
		"key not a column":  {effect.Table{Name: "two", Mode: effect.Insert, Key: []string{"mail"}, Columns: idN}, "is not among columns"},
		"key twice":         {effect.Table{Name: "two", Mode: effect.Insert, Key: []string{"id", "id"}, Columns: idN}, "twice"},
		"nocase index":      {effect.Table{Name: "nocase", Mode: effect.Insert, Key: key, Columns: idN}, "does not compare binary"},
		"partial index":     {effect.Table{Name: "partial", Mode: effect.Insert, Key: key, Columns: idN}, "partial"},
		"second index":      {effect.Table{Name: "two", Mode: effect.Upsert, Key: key, Columns: idN}, "2 unique indexes"},
		"decides wrongly":   {effect.Table{Name: "two", Mode: effect.Upsert, Key: key, Columns: idN, Decide: []string{"n"}}, "is not key"},
		"update the key":    {effect.Table{Name: "two", Mode: effect.Set, Key: key, Columns: idN, Update: key}, "part of the key"},
		"missing not null":  {effect.Table{Name: "strictly", Mode: effect.Set, Key: key, Columns: map[string]string{"id": "id"}}, `"must" is NOT NULL`},
		"generated":         {effect.Table{Name: "two", Mode: effect.Insert, Columns: map[string]string{"gen": "id"}}, "generated"},
		"version in text":   {effect.Table{Name: "two", Mode: effect.Versioned, Key: key, Columns: map[string]string{"id": "id", "mail": "key"}, Version: effect.Version{Column: "mail"}}, "whole number in an INTEGER column"},
		"no version":        {effect.Table{Name: "two", Mode: effect.Versioned, Key: key, Columns: idN}, "version.column"},
		"bad rule":          {effect.Table{Name: "two", Mode: effect.Versioned, Key: key, Columns: idN, Version: effect.Version{Column: "n", Rule: "older"}}, "use newer or next"},
		"empty machine":     {effect.Table{Name: "two", Mode: effect.Transition, Key: key, Columns: idN, State: effect.State{Column: "n"}}, "allow is empty"},
		"no first state":    {effect.Table{Name: "two", Mode: effect.Transition, Key: key, Columns: idN, State: effect.State{Column: "n", Allow: map[string][]string{"a": {"b"}, "b": {"a"}}}}, "initial"},
		"state in integer":  {effect.Table{Name: "two", Mode: effect.Transition, Key: key, Columns: idN, State: effect.State{Column: "n", Allow: map[string][]string{"a": {"b"}}}}, "TEXT column"},
		"add to floats":     {effect.Table{Name: "two", Mode: effect.Add, Key: key, Columns: map[string]string{"id": "id", "total": "payload.t"}}, "sums of floats are not exact"},
		"add nothing":       {effect.Table{Name: "two", Mode: effect.Add, Key: key, Columns: map[string]string{"id": "id"}}, "no column to add to"},
		"bad when":          {effect.Table{Name: "two", Mode: effect.Set, Key: key, Columns: idN, When: "payload.op"}, "SOURCE=TEXT"},
	} {
		if (c.table.Name == "nocase" || c.table.Name == "partial") && db.product != "sqlite" {
			continue // see TestRefusedOnServers
		}
		_, err := effect.NewTablesOn(t.Context(), db.c, db.d, []effect.Table{c.table})
		if !errors.Is(err, rollcall.ErrConfig) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %q", name, err, c.text)
		}
		if early := effect.Check([]effect.Table{c.table})[0]; early != nil {
			without++
			if early.Error() != err.Error() {
				t.Errorf("%s: without a database %v, with one %v", name, early, err)
			}
		}
	}
	if without != 18 {
		t.Errorf("%d mistakes are found without a database", without)
	}
	set := effect.Table{Name: "two", Mode: effect.Set, Key: key, Columns: idN}
	if _, err := effect.NewTablesOn(t.Context(), db.c, db.d, []effect.Table{set, set}); !errors.Is(err, rollcall.ErrConfig) {
		t.Errorf("the same table twice: %v", err)
	}
	set.Mode, set.Decide = effect.Upsert, key
	if _, err := effect.NewTablesOn(t.Context(), db.c, db.d, []effect.Table{set}); err != nil {
		t.Errorf("the deciding key is named: %v", err)
	}
}

// With the deciding key named, a conflict with the other index is an error of
// the message, in every mode, and no other row is changed.
func TestConflictWithTheOtherIndex(t *testing.T) {
	ddl := []string{"CREATE TABLE two (id {int} PRIMARY KEY, mail {key} UNIQUE, n {int}, state {text})", "INSERT INTO two VALUES (1, 'a', 1, 's')"}
	columns := map[string]string{"id": "payload.id", "mail": "payload.mail", "n": "payload.n", "state": "const:s"}
	onEach(t, ddl, func(t *testing.T, db *database) {
		for _, mode := range []effect.Mode{effect.Insert, effect.Upsert, effect.Set, effect.Versioned, effect.Transition, effect.Add} {
			ts := db.tables(t, effect.Table{Name: "two", Mode: mode, Key: []string{"id"}, Decide: []string{"id"}, Columns: columns,
				Update: map[effect.Mode][]string{effect.Add: {"n"}}[mode], Version: effect.Version{Column: "n"},
				State: effect.State{Column: "state", Allow: map[string][]string{"s": {"t"}}}})
			err := db.one(t, ts, body(`{"id":2,"mail":"a","n":7}`))
			isData(t, err, "two")
			if class := db.classify(err); class != rollcall.ClassData {
				t.Errorf("%s: class %v of %v", mode, class, err)
			}
			if got := db.dump(t, "SELECT id, mail, n FROM two"); got != "int64:1 string:a int64:1" {
				t.Errorf("%s: %s", mode, got)
			}
		}
		ts := db.tables(t, effect.Table{Name: "two", Mode: effect.Upsert, Key: []string{"id"}, Decide: []string{"id"}, Columns: columns})
		wantOutcomes(t, db.apply(t, ts, body(`{"id":1,"mail":"b","n":2}`), body(`{"id":2,"mail":"a","n":3}`)), nil, nil)
		if got := db.dump(t, "SELECT id, mail, n FROM two ORDER BY id"); got != "int64:1 string:b int64:2\nint64:2 string:a int64:3" {
			t.Error(got)
		}
	})
}

func TestNeedsRecord(t *testing.T) {
	machine := effect.State{Allow: map[string][]string{"a": {"b"}}}
	for _, c := range []struct {
		table          effect.Table
		always, shared bool
	}{
		{effect.Table{Mode: effect.Add}, true, true},
		{effect.Table{Mode: effect.Insert}, true, true},
		{effect.Table{Mode: effect.Insert, Key: []string{"id"}}, false, false},
		{effect.Table{Mode: effect.Upsert}, false, true},
		{effect.Table{Mode: effect.Set}, false, true},
		{effect.Table{Mode: effect.Delete}, false, true},
		{effect.Table{Mode: effect.Versioned}, false, false},
		{effect.Table{Mode: effect.Transition, State: machine}, false, false},
	} {
		_, always := c.table.NeedsRecord(false)
		_, shared := c.table.NeedsRecord(true)
		if always != c.always || shared != c.shared {
			t.Errorf("%s: %v %v", c.table.Mode, always, shared)
		}
	}
}

// Nothing of a message becomes SQL.
func TestInjection(t *testing.T) {
	onEach(t, []string{ordersDDL}, func(t *testing.T, db *database) {
		ts := db.tables(t, effect.Table{Name: "orders", Mode: effect.Set, Key: []string{"order_id"}, Columns: orderColumns})
		for _, evil := range []string{`'); DROP TABLE orders; --`, `" OR 1=1 --`, "?1", "x'00'", "\x00; COMMIT", ":a", "NULL", "$1", "\\'; --", "{a,b}", "`"} {
			if err := db.one(t, ts, body(`{"id":%q,"amount":1,"note":%q}`, evil, evil)); err != nil && !strings.Contains(err.Error(), "not JSON") {
				t.Error(err)
			}
		}
		if got := db.dump(t, "SELECT count(*) FROM orders WHERE order_id = note"); got != "int64:10" {
			t.Error(got)
		}
	})
}

// TestUnanswered: a database that does not answer is not taken for a mistake in
// the tables, at whatever question it happens.
func TestUnanswered(t *testing.T) {
	onEach(t, []string{ordersDDL}, func(t *testing.T, db *database) {
		orders := []effect.Table{{Name: "orders", Mode: effect.Insert, Columns: map[string]string{"order_id": "id"}}}
		asked := 0
		for after := 0; ; after++ {
			_, err := effect.NewTablesOn(t.Context(), failing{db.c, &asked, after}, db.d, orders)
			if asked <= after {
				must(t, err)
				break
			}
			if !errors.Is(err, errAway) || errors.Is(err, rollcall.ErrConfig) {
				t.Errorf("question %d: %v", after+1, err)
			}
			asked = 0
		}
		if asked < 3 {
			t.Errorf("only %d questions", asked)
		}
	})
}

var errAway = errors.New("the server is away")

// failing answers so many questions and no more.
type failing struct {
	effect.Conn
	asked *int
	after int
}

func (f failing) Query(ctx context.Context, query string, args ...any) (effect.Rows, error) {
	if *f.asked++; *f.asked > f.after {
		return nil, errAway
	}
	return f.Conn.Query(ctx, query, args...)
}
