//go:build linux

package main

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// deadFile is a pipeline whose messages are dead until somebody mends the rule of
// the table; it has no unique index, so each effect is a row.
const deadFile = `
name: letters
source: {embedded: {destination: letters, partitions: 2}}
store: {$STORE}
effect: {table: {name: ledger, mode: insert, columns: {id: payload.id}}}
retry: {attempts: 1}
dead_letters: {keep: 1h}
`

// deadLetters makes n dead letters in a folder.
func deadLetters(t *testing.T, folder, store string, n int) {
	t.Helper()
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, "{\"id\": %d}\n", i)
	}
	for name, text := range map[string]string{"rollcall.yaml": strings.ReplaceAll(deadFile, "$STORE", store), "letters.ndjson": lines.String()} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ran(t, folder, "send", "letters.ndjson")
	if out := ran(t, folder, "run", "--until-empty"); !strings.Contains(out, fmt.Sprintf("applied 0 + repeated 0 + stale 0 + filtered 0 + discarded 0 + waiting 0 + dead %d ", n)) {
		t.Fatalf("not all are dead:\n%s", out)
	}
}

// redriveTogether is the test of the promise: 100 dead letters, the cause mended,
// two redrives at once, one of them killed in the middle, nobody consuming; then
// they are finished and run. Every message takes effect exactly once.
func redriveTogether(t *testing.T, folder string, db *sql.DB, waiting string) {
	t.Helper()
	const n = 100
	first := start(t, folder, "dead", "redrive", "--all", "--yes", "--rate", "40", "--operator", "first")
	second := start(t, folder, "dead", "redrive", "--all", "--yes", "--rate", "40", "--operator", "second")
	eventually(t, "some rows are redriven, and not all", func() bool { return number(t, db, waiting) > n/4 })
	first.signal(syscall.SIGKILL)
	<-first.done
	if left := number(t, db, waiting); left >= n {
		t.Fatalf("%d rows were redriven before the kill: it was to come in the middle", left)
	}
	if code := second.wait(); code != 0 {
		t.Fatalf("the redrive that was not killed: exit code %d\n%s", code, second.log.String())
	}
	if n := number(t, db, "SELECT count(*) FROM ledger"); n != 0 {
		t.Fatalf("%d effects while nobody consumes", n)
	}
	ran(t, folder, "dead", "redrive", "--all", "--yes") // what the killed one alone had in hand
	if out := ran(t, folder, "run", "--until-empty"); !strings.Contains(out, "applied 100 ") || !strings.Contains(out, "dead 0 ") || !strings.Contains(out, "balanced") {
		t.Errorf("books:\n%s", out)
	}
	if all, distinct := number(t, db, "SELECT count(*) FROM ledger"), number(t, db, "SELECT count(DISTINCT id) FROM ledger"); all != n || distinct != n {
		t.Errorf("%d effects of %d messages, want %d of each once", all, distinct, n)
	}
	if out := ran(t, folder, "dead", "log"); !strings.HasSuffix(out, "\n100 entries\n") || strings.Count(out, "  redrive  row ") != n {
		t.Errorf("the operator log has not one entry a row:\n%s", out)
	}
}

func TestRedriveTogether(t *testing.T) {
	folder := t.TempDir()
	db := sqliteShop(t, folder)
	deadLetters(t, folder, "sqlite: {path: shop.db}", 100)
	execute(t, db, "DROP TRIGGER closed")
	redriveTogether(t, folder, db, "SELECT count(*) FROM rollcall_asides WHERE state = 'waiting'")
}

func TestRedriveTogetherPostgres(t *testing.T) {
	onProducts(t, products[:1], func(t *testing.T, p *place) {
		execute(t, p.db, "CREATE TABLE ledger (id bigint NOT NULL CHECK (id < 0))", "ALTER TABLE ledger OWNER TO app")
		deadLetters(t, p.folder, p.store, 100)
		execute(t, p.db, "ALTER TABLE ledger DROP CONSTRAINT ledger_id_check")
		redriveTogether(t, p.folder, p.db, "SELECT count(*) FROM rollcall.asides WHERE state = 'waiting'")
	})
}

// TestRedriveInterrupted: Ctrl-C ends a redrive between two transactions; it says
// how far it came, and the next one goes on.
func TestRedriveInterrupted(t *testing.T) {
	folder := t.TempDir()
	db := sqliteShop(t, folder)
	deadLetters(t, folder, "sqlite: {path: shop.db}", 60)
	waiting := func() int { return number(t, db, "SELECT count(*) FROM rollcall_asides WHERE state = 'waiting'") }
	slow := start(t, folder, "--json", "dead", "redrive", "--all", "--yes", "--rate", "10")
	eventually(t, "some rows are redriven", func() bool { return waiting() > 2 })
	slow.signal(syscall.SIGINT)
	if code := slow.wait(); code != exitInterrupted {
		t.Fatalf("exit code %d\n%s", code, slow.log.String())
	}
	n := waiting()
	if want := fmt.Sprintf(`"changed":%d,"dry_run":false,"interrupted":true`, n); n >= 60 || !strings.Contains(slow.out.String(), want) {
		t.Errorf("%d rows wait, want %s in\n%s", n, want, slow.out.String())
	}
	if out := ran(t, folder, "dead", "redrive", "--all", "--yes"); out != fmt.Sprintf("redriven: %d\n", 60-n) {
		t.Errorf("the next one says %s", out)
	}
}

// TestExpires: what is dead for longer than dead_letters.keep is discarded by a
// run, counted, and the operator log keeps its body.
func TestExpires(t *testing.T) {
	folder := t.TempDir()
	db := sqliteShop(t, folder)
	deadLetters(t, folder, "sqlite: {path: shop.db}", 3)
	execute(t, db, fmt.Sprintf("UPDATE rollcall_asides SET updated = updated - %d WHERE id < 3", 2*time.Hour))
	run := start(t, folder, "run")
	eventually(t, "two are discarded", func() bool {
		return number(t, db, "SELECT count(*) FROM rollcall_asides WHERE state = 'discarded'") == 2
	})
	run.signal(syscall.SIGTERM)
	if code := run.wait(); code != exitInterrupted || !strings.Contains(run.out.String(), "discarded 2 + waiting 0 + dead 1 ") || !strings.Contains(run.out.String(), "balanced") {
		t.Errorf("exit code %d\n%s%s", code, run.out.String(), run.log.String())
	}
	if !strings.Contains(run.log.String(), "2 dead letters were discarded because of their age") {
		t.Errorf("nobody is told:\n%s", run.log.String())
	}
	if out := ran(t, folder, "dead", "log", "--json"); strings.Count(out, `"verb":"expire","reason":"dead for longer than dead_letters.keep (1h0m0s)"`) != 2 || !strings.Contains(out, `"detail":"{\"id\": `) {
		t.Errorf("the operator log:\n%s", out)
	}
}

// sqliteShop is a database whose ledger takes nothing.
func sqliteShop(t *testing.T, folder string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(folder, "shop.db")+"?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	execute(t, db, "CREATE TABLE ledger (id INTEGER NOT NULL)", "CREATE TRIGGER closed BEFORE INSERT ON ledger BEGIN SELECT RAISE(ABORT, 'closed'); END")
	return db
}
