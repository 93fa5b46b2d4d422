package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/postgres"
)

// TestBadValues: a value that the server refuses is its message's failure, with
// the server's code in the cause; the others take effect.
func TestBadValues(t *testing.T) {
	for name, c := range map[string]struct{ text, value, code string }{
		"no number":             {"INSERT INTO ~odd (n) VALUES (cast($1::text as int))", "abc", "22P02"},
		"too large":             {"INSERT INTO ~odd (n) VALUES (cast($1::text as int))", "99999999999", "22003"},
		"too long":              {"INSERT INTO ~odd (short) VALUES ($1)", "abcd", "22001"},
		"NUL in text":           {"INSERT INTO ~odd (t) VALUES ($1)", "a\x00b", "22021"},
		"not UTF-8":             {"INSERT INTO ~odd (t) VALUES ($1)", "a\xff", "22021"},
		"NUL in jsonb":          {"INSERT INTO ~odd (j) VALUES (cast($1::text as jsonb))", `{"a":"\u0000"}`, "22P05"},
		"no JSON":               {"INSERT INTO ~odd (j) VALUES (cast($1::text as jsonb))", `{`, "22P02"},
		"NULL":                  {"INSERT INTO ~odd (must) VALUES (NULLIF($1::text, ''))", "", "23502"},
		"a second unique index": {"INSERT INTO ~odd (mail) VALUES ($1)", "taken", "23505"},
		"a foreign key":         {"INSERT INTO ~odd (parent) VALUES (cast($1::text as int))", "7", "23503"},
		"a check":               {"INSERT INTO ~odd (n) VALUES (cast($1::text as int))", "-1", "23514"},
	} {
		for _, gather := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", gathered ", gather), func(t *testing.T) {
				t.Parallel()
				cause := oddOne(t, rollcall.ConsumerConfig{Gather: gather}, func(ctx context.Context, b *bench, tx pgx.Tx) error {
					return execValue(ctx, tx, strings.ReplaceAll(c.text, "~", b.schema+"."), c.value)
				})
				if !strings.Contains(cause, c.code) {
					t.Errorf("cause %q, want %s in it", cause, c.code)
				}
			})
		}
	}
}

func execValue(ctx context.Context, tx pgx.Tx, text, value string) error {
	_, err := tx.Exec(ctx, text, value)
	return err
}

// TestSchemaChanges: what an operator does to tables while a consumer runs costs
// no message and doubles none: it pauses where it cannot work, says why, and goes
// on.
func TestSchemaChanges(t *testing.T) {
	for name, c := range map[string]struct{ before, after, says string }{
		"another type":          {"ALTER TABLE ~ledger ALTER n TYPE bigint", "ALTER TABLE ~ledger ALTER n TYPE int", ""},
		"a column goes":         {"ALTER TABLE ~ledger RENAME n TO m", "ALTER TABLE ~ledger RENAME m TO n", "42703"},
		"the table goes":        {"ALTER TABLE ~ledger RENAME TO gone", "ALTER TABLE ~gone RENAME TO ledger", "42P01"},
		"its index goes":        {"ALTER TABLE ~ledger DROP CONSTRAINT ledger_pkey", "ALTER TABLE ~ledger ADD PRIMARY KEY (n)", "a unique index is gone"},
		"the keys' index goes":  {"ALTER TABLE ~inbox DROP CONSTRAINT inbox_pkey", "ALTER TABLE ~inbox ADD PRIMARY KEY (grp, dedup_key)", "a unique index is gone"},
		"the rolls' index goes": {"ALTER TABLE ~rolls DROP CONSTRAINT rolls_pkey", "ALTER TABLE ~rolls ADD PRIMARY KEY (grp, scope)", "a unique index is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const n = 600
			b := newBench(t, "CREATE TABLE ~ledger (n int PRIMARY KEY)", "CREATE TABLE ~counted (n int)")
			b.own = true
			b.send(n, func(i int) string { return fmt.Sprint("k", i) })
			ddl := func(text string) { exec(t, b.store, strings.ReplaceAll(text, "~", b.schema+".")) }
			seen := new(pauses)
			var once sync.Once
			var operator sync.WaitGroup
			change := func() {
				operator.Go(func() {
					ddl(c.before)
					time.Sleep(200 * time.Millisecond)
					ddl(c.after)
				})
			}
			b.run(rollcall.ConsumerConfig{Batch: 20, Observer: seen, Dedup: rollcall.DedupConfig{By: []rollcall.Strategy{rollcall.ByKey, rollcall.ByStamp}}},
				func(ctx context.Context, tx pgx.Tx, m rollcall.Message) error {
					if string(m.Body) == "100" {
						once.Do(change)
					}
					_, err := tx.Exec(ctx, "INSERT INTO "+b.schema+".counted VALUES ($1)", string(m.Body))
					if err == nil {
						err = tx.QueryRow(ctx, "INSERT INTO "+b.schema+".ledger (n) VALUES ($1) ON CONFLICT (n) DO NOTHING RETURNING n", string(m.Body)).Scan(new(int))
					}
					return err
				})
			operator.Wait()
			if dead := b.number("SELECT count(*) FROM ~asides"); dead != 0 {
				t.Errorf("%d set aside", dead)
			}
			if effects, distinct := b.number("SELECT count(*) FROM ~counted"), b.number("SELECT count(DISTINCT n) FROM ~counted"); effects != n || distinct != n {
				t.Errorf("%d effects of %d messages, want %d", effects, distinct, n)
			}
			if !seen.says(c.says) && c.says != "" {
				t.Errorf("no pause says %q: %q", c.says, seen.all())
			}
		})
	}
}

// TestServersStatementTimeout: ours is what counts, not one that an operator has
// set for the role.
func TestServersStatementTimeout(t *testing.T) {
	server := servers.Start(t, servers.Postgres15, servers.Config{Settings: map[string]string{"statement_timeout": "50ms"}})
	s, err := postgres.Open(t.Context(), server.URL(), postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	exec(t, s, "SELECT pg_sleep(0.2)")
}
