//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

// TestServerModes: every mode, in one transaction, and a request beside them;
// the same file again changes nothing.
func TestServerModes(t *testing.T) {
	eachProduct(t, func(t *testing.T, p *place) {
		l := newLedger(t, true)
		for _, table := range []string{
			"inserted (id %s PRIMARY KEY, amount NUMERIC(12,2) NOT NULL)", "upserted (id %s PRIMARY KEY, amount BIGINT NOT NULL)",
			"versions (id %s PRIMARY KEY, v BIGINT NOT NULL)", "states (id %s PRIMARY KEY, status VARCHAR(20) NOT NULL)",
			"assigned (id %s PRIMARY KEY, n BIGINT NOT NULL)", "removed (id %s PRIMARY KEY)", "added (id %s PRIMARY KEY, n BIGINT NOT NULL)",
		} {
			execute(t, p.db, fmt.Sprintf("CREATE TABLE "+table, p.text))
		}
		execute(t, p.db, "INSERT INTO removed VALUES ('a'), ('keep')")
		p.pipeline(t, "rollcall.yaml", fmt.Sprintf(`
name: modes
source: {embedded: {destination: steps, partitions: 3}}
store: {$STORE}
effect:
  - table: {name: inserted, mode: insert, key: [id], columns: {id: id, amount: payload.price}}
  - table: {name: upserted, mode: upsert, key: [id], columns: {id: payload.id, amount: payload.n}}
  - table: {name: versions, mode: version, key: [id], columns: {id: payload.id, v: payload.n}, version: {column: v}}
  - table: {name: states, mode: transition, key: [id], columns: {id: payload.id, status: payload.status},
            state: {column: status, allow: {created: [paid], paid: [shipped]}}}
  - table: {name: assigned, mode: set, key: [id], columns: {id: payload.id, n: payload.n}}
  - table: {name: removed, mode: delete, key: [id], columns: {id: payload.id}}
  - table: {name: added, mode: add, key: [id], columns: {id: payload.id, n: payload.n}}
  - http: {name: bank, url: "%s/pay", honours: true, networks: [127.0.0.1]}
`, l.URL))
		var lines strings.Builder
		for i, status := range []string{"created", "paid", "shipped"} {
			for _, id := range []string{"a", "A", "b"} {
				fmt.Fprintf(&lines, `{"m": "%s-%d", "id": %q, "n": %d, "price": 9007199.25, "status": %q}`+"\n", id, i, id, i+1, status)
			}
		}
		writeFile(t, p.folder, "steps.ndjson", lines.String())
		for range 2 {
			p.ran(t, "send", "--id", "m", "--key", "id", "steps.ndjson")
			out := p.ran(t, "run", "--until-empty")
			if !strings.Contains(out, "applied 9 ") || !strings.Contains(out, "balanced") || !strings.Contains(out, "http: all requests are sent; refused 0, parked 0") {
				t.Error(out)
			}
			for query, want := range map[string]string{
				"SELECT count(*), min(amount), max(amount) FROM inserted": "9|9007199.25|9007199.25",
				"SELECT id, amount FROM upserted ORDER BY id":             "A|3\na|3\nb|3",
				"SELECT id, v FROM versions ORDER BY id":                  "A|3\na|3\nb|3",
				"SELECT id, status FROM states ORDER BY id":               "A|shipped\na|shipped\nb|shipped",
				"SELECT id, n FROM assigned ORDER BY id":                  "A|3\na|3\nb|3",
				"SELECT id FROM removed":                                  "keep",
				"SELECT id, n FROM added ORDER BY id":                     "A|6\na|6\nb|6",
			} {
				if got := p.rows(t, query); got != want {
					t.Errorf("%s:\n%s\nwant\n%s", query, got, want)
				}
			}
		}
		if n := l.once(t); n != 9 {
			t.Errorf("%d requests took effect, want 9", n)
		}
	})
}

// TestServerInit: the file that init writes works as it is, with the table that
// stands in it.
func TestServerInit(t *testing.T) {
	eachProduct(t, func(t *testing.T, p *place) {
		p.ran(t, "init", "--store", p.kind)
		text, err := os.ReadFile(filepath.Join(p.folder, "rollcall.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, p.folder, "rollcall.yaml", strings.Replace(string(text), "${DATABASE_URL}", "${file:dsn}", 1))
		_, table, _ := strings.Cut(string(text), "CREATE TABLE")
		table, _, _ = strings.Cut(table, ";")
		execute(t, p.db, "CREATE TABLE"+table)
		writeFile(t, p.folder, "orders.ndjson", `{"order_id": "o-1", "amount": 250}`+"\n"+`{"order_id": "O-1 ", "amount": 9007199254740993}`+"\n"+`{"order_id": "o-1", "amount": 250}`+"\n")
		p.ran(t, "send", "orders.ndjson")
		if out := p.ran(t, "run", "--until-empty"); !strings.Contains(out, "stored 3 = applied 2 + repeated 1 ") || !strings.Contains(out, "balanced") {
			t.Error(out)
		}
		if got := p.rows(t, "SELECT id, amount FROM orders ORDER BY amount"); got != "o-1|250\nO-1 |9007199254740993" {
			t.Error(got)
		}
	})
}

// TestServerRoles: with the roles that are shipped the one that migrates makes the
// tables, and the one that runs needs no right to make any.
func TestServerRoles(t *testing.T) {
	eachProduct(t, func(t *testing.T, p *place) {
		text, err := os.ReadFile("../../store/" + p.kind + "/roles.sql")
		if err != nil {
			t.Fatal(err)
		}
		business := p.rows(t, map[string]string{"postgres": "SELECT current_database()", "mysql": "SELECT database()"}[p.kind])
		migrate, run := "change me", "change me too"
		if p.kind == "mysql" {
			migrate, run = "change-me-1", "change-me-2"
		}
		script := strings.ReplaceAll(string(text), "shop.*", business+".*") +
			";CREATE TABLE ledger (id BIGINT NOT NULL);GRANT SELECT, INSERT ON ledger TO " + map[string]string{"postgres": "rollcall_run", "mysql": "'rollcall_run'@'%'"}[p.kind]
		admin := openDB(t, p.driver(), adminURL(p))
		for _, statement := range strings.Split(withoutComments(script), ";") {
			if strings.TrimSpace(statement) != "" {
				execute(t, admin, statement)
			}
		}
		p.pipeline(t, "rollcall.yaml", `
name: roles
source: {embedded: {destination: things, partitions: 1}}
store: {`+p.kind+`: {dsn: "${file:dsn}"}}
effect: {table: {name: ledger, mode: insert, columns: {id: payload.id}}}
`)
		as := func(role, secret, database string) {
			dsn := strings.Replace(p.dsn, "app:"+password, role+":"+strings.ReplaceAll(secret, " ", "%20"), 1)
			writeFile(t, p.folder, "dsn", strings.Replace(dsn, "/"+business, "/"+database, 1))
		}
		writeFile(t, p.folder, "things.ndjson", `{"id": 1}`+"\n"+`{"id": 2}`+"\n")
		p.ran(t, "send", "things.ndjson")
		as("rollcall_migrate", migrate, map[string]string{"postgres": business, "mysql": "rollcall"}[p.kind])
		p.ran(t, "dead", "list")
		as("rollcall_run", run, business)
		if out := p.ran(t, "run", "--until-empty"); !strings.Contains(out, "stored 2 = applied 2 ") || !strings.Contains(out, "balanced") {
			t.Error(out)
		}
	})
}

func withoutComments(script string) string {
	var out strings.Builder
	for _, line := range strings.Split(script, "\n") {
		text, _, _ := strings.Cut(line, "--")
		out.WriteString(text + "\n")
	}
	return out.String()
}

// TestServerDead: what a constraint refuses lies aside; redriven, twice, it takes
// effect once; discarded it is gone. Nothing is told that is secret.
func TestServerDead(t *testing.T) {
	eachProduct(t, func(t *testing.T, p *place) {
		execute(t, p.db, "CREATE TABLE entries (id BIGINT NOT NULL, amount BIGINT NOT NULL, CONSTRAINT little CHECK (amount < 10))")
		p.pipeline(t, "rollcall.yaml", `
name: book
source: {embedded: {destination: entries, partitions: 2}}
store: {$STORE}
effect: {table: {name: entries, mode: insert, columns: {id: payload.id, amount: payload.amount}}}
retry: {attempts: 1}
`)
		writeFile(t, p.folder, "in.ndjson", `{"id": 1, "amount": 1}`+"\n"+`{"id": 2, "amount": 20}`+"\n"+`{"id": 3, "amount": 30}`+"\n"+`{"id": 4, "amount": 4}`+"\n")
		p.ran(t, "send", "--id", "id", "in.ndjson")
		if out := p.ran(t, "dead", "list"); !strings.Contains(out, "0 set aside") {
			t.Error(out)
		}
		out := p.ran(t, "run", "--until-empty")
		if !strings.Contains(out, "stored 4 = applied 2 ") || !strings.Contains(out, "dead 2 ") || !strings.Contains(out, "balanced") {
			t.Error(out)
		}
		redriven, discarded := deadRow(t, p, "2"), deadRow(t, p, "3")
		if out := p.ran(t, "dead", "show", redriven); !strings.Contains(out, `{"id": 2, "amount": 20}`) || !strings.Contains(out, "little") {
			t.Error(out)
		}
		p.ran(t, "dead", "redrive", redriven)
		p.ran(t, "run", "--until-empty") // still refused
		execute(t, p.db, "ALTER TABLE entries DROP CONSTRAINT little")
		for _, want := range []string{"redriven: 1", "redriven: 0"} {
			if out := p.ran(t, "dead", "redrive", redriven); !strings.Contains(out, want) {
				t.Errorf("%s, want %s", out, want)
			}
		}
		if out := p.ran(t, "dead", "discard", discarded, "--reason", "a test order"); !strings.Contains(out, "discarded: 1") {
			t.Error(out)
		}
		out = p.ran(t, "run", "--until-empty")
		if !strings.Contains(out, "stored 4 = applied 3 ") || !strings.Contains(out, "discarded 1 ") || !strings.Contains(out, "balanced") {
			t.Error(out)
		}
		if got := p.rows(t, "SELECT id, amount FROM entries ORDER BY id"); got != "1|1\n2|20\n4|4" {
			t.Errorf("effects:\n%s", got)
		}
	})
}

// deadRow is the number of the row of a dead message.
func deadRow(t *testing.T, p *place, message string) string {
	t.Helper()
	for _, line := range strings.Split(p.ran(t, "dead", "list", "--json"), "\n") {
		var row asideObject
		if err := json.Unmarshal([]byte(line), &row); err == nil && row.MessageID == message && row.State == "dead" {
			return fmt.Sprint(row.ID)
		}
	}
	t.Fatalf("message %s is not dead", message)
	return ""
}

// TestServerHTTPKilled is TestHTTPKilled with the outbox on a server.
func TestServerHTTPKilled(t *testing.T) {
	eachProduct(t, func(t *testing.T, p *place) { httpKilled(t, p.store, p.kind == "mysql") })
}

// TestServerKills: two processes work; one of them is killed four times, the
// database server once, and the file is sent again in between. The ledger has no
// unique index that could hide a second effect; each message is in it once, and
// the other table of the same transaction says the same.
func TestServerKills(t *testing.T) {
	t.Parallel()
	for _, kind := range products {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, kind, servers.Start(t, kind.spec, servers.Config{}))
			serverKills(t, p)
		})
	}
}

const killFile = `
name: chaos
source: {embedded: {destination: things, partitions: 4}}
store: {$STORE}
effect:
  - table: {name: ledger, mode: insert, columns: {id: payload.id}}
  - table: {name: sums, mode: add, key: [id], columns: {id: payload.of, n: payload.one}}
batch: 20
`

// revive replaces the workers that ended. None may, but one that looked for the
// server just when that was killed: it says so and ends with 3.
func revive(t *testing.T, p *place, workers []*child, serverKilled bool) {
	t.Helper()
	for i, w := range workers {
		select {
		case <-w.done:
			if code := w.wait(); code != exitServer || !serverKilled {
				t.Fatalf("a worker ended by itself: exit code %d\n%s", code, w.log.String())
			}
			workers[i] = start(t, p.folder, "run")
		default:
		}
	}
}

func serverKills(t *testing.T, p *place) {
	const messages = 3000
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	execute(t, p.db, "CREATE TABLE ledger (id BIGINT NOT NULL)", "CREATE TABLE sums (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)")
	p.pipeline(t, "rollcall.yaml", killFile)
	var lines strings.Builder
	for i := range messages {
		fmt.Fprintf(&lines, `{"id": %d, "of": %d, "one": 1}`+"\n", i, i%50)
	}
	writeFile(t, p.folder, "things.ndjson", lines.String())
	p.ran(t, "send", "things.ndjson")
	effects := func() int { return number(t, p.db, "SELECT count(*) FROM ledger") }
	workers := []*child{start(t, p.folder, "run"), start(t, p.folder, "run")}
	again := start(t, p.folder, "send", "things.ndjson")
	for kill := range 5 {
		aim := min(effects()+50+random.IntN(messages/8), messages)
		eventually(t, fmt.Sprintf("%d effects before kill %d", aim, kill+1), func() bool { return effects() >= aim })
		if kill == 2 {
			if err := p.server.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := p.server.Restart(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		revive(t, p, workers, kill > 2)
		victim := random.IntN(len(workers))
		t.Logf("kill %d: SIGKILL with %d effects", kill+1, effects())
		workers[victim].signal(syscall.SIGKILL)
		<-workers[victim].done
		workers[victim] = start(t, p.folder, "run")
	}
	if code := again.wait(); code != 0 {
		t.Fatalf("sending again: exit code %d\n%s", code, again.log.String())
	}
	var sum runSummary
	out := strings.Split(strings.TrimSpace(p.ran(t, "run", "--until-empty", "--json")), "\n")
	if err := json.Unmarshal([]byte(out[len(out)-1]), &sum); err != nil {
		t.Fatal(err)
	}
	revive(t, p, workers, true)
	for _, w := range workers {
		w.signal(syscall.SIGTERM)
	}
	for _, w := range workers {
		if code := w.wait(); code != exitInterrupted {
			t.Errorf("a worker that was stopped: exit code %d\n%s", code, w.log.String())
		}
		secretless(t, w)
	}
	want := book{Destination: "things", Stored: messages, Copies: messages, Applied: messages, Drained: true, Balanced: true}
	if sum.book != want {
		t.Errorf("books:\n got %+v\nwant %+v", sum.book, want)
	}
	if got, want := p.rows(t, "SELECT count(*), count(DISTINCT id), min(id), max(id) FROM ledger"), fmt.Sprintf("%d|%d|0|%d", messages, messages, messages-1); got != want {
		t.Errorf("ledger: %s, want %s", got, want)
	}
	if got, want := p.rows(t, "SELECT count(*), min(n), max(n) FROM sums"), fmt.Sprintf("50|%d|%d", messages/50, messages/50); got != want {
		t.Errorf("sums: %s, want %s", got, want)
	}
}

// TestServerStopped: a worker is stopped (SIGSTOP) inside its transaction. The
// server ends that after store.….idle, and another worker takes over; nothing
// is there twice, also after the first one woke up.
func TestServerStopped(t *testing.T) {
	eachProduct(t, func(t *testing.T, p *place) {
		const messages = 200
		execute(t, p.db, "CREATE TABLE ledger (id BIGINT NOT NULL)", "CREATE TABLE sums (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)", "INSERT INTO sums VALUES (7, 0)")
		p.pipeline(t, "rollcall.yaml", strings.Replace(killFile, "{$STORE}", "{"+strings.TrimSuffix(p.store, "}")+", idle: 1s}}", 1))
		var lines strings.Builder
		for i := range messages {
			fmt.Fprintf(&lines, `{"id": %d, "of": 7, "one": 1}`+"\n", i)
		}
		writeFile(t, p.folder, "things.ndjson", lines.String())
		p.ran(t, "send", "things.ndjson")

		held, err := p.db.Begin() // the row that every transaction writes: the worker waits for it inside its own
		if err != nil {
			t.Fatal(err)
		}
		if _, err := held.Exec("UPDATE sums SET n = n WHERE id = 7"); err != nil {
			t.Fatal(err)
		}
		stopped := start(t, p.folder, "run")
		waiting := map[string]string{
			"postgres": "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rollcall' AND wait_event_type = 'Lock' AND datname = current_database()",
			"mysql": "SELECT count(*) FROM information_schema.innodb_trx t JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id " +
				"WHERE t.trx_state = 'LOCK WAIT' AND p.db = DATABASE()",
		}[p.kind]
		admin := openDB(t, p.driver(), adminURL(p))
		eventually(t, "a worker waits inside its transaction", func() bool {
			time.Sleep(150 * time.Millisecond) // innodb_trx is a copy that asking more often keeps from being renewed
			return number(t, admin, waiting) > 0
		})
		stopped.signal(syscall.SIGSTOP)
		if err := held.Rollback(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		out := p.ran(t, "run", "--until-empty")
		t.Logf("the other worker was done after %v", time.Since(began).Round(10*time.Millisecond))
		if !strings.Contains(out, "applied 200 ") || !strings.Contains(out, "balanced") {
			t.Error(out)
		}
		stopped.signal(syscall.SIGCONT)
		stopped.signal(syscall.SIGTERM)
		if code := stopped.wait(); code != exitInterrupted {
			t.Errorf("the worker that slept: exit code %d\n%s", code, stopped.log.String())
		}
		if got, want := p.rows(t, "SELECT count(*), count(DISTINCT id) FROM ledger"), "200|200"; got != want {
			t.Errorf("ledger: %s, want %s", got, want)
		}
		if got := p.rows(t, "SELECT n FROM sums"); got != "200" {
			t.Errorf("sum %s, want 200", got)
		}
	})
}

// adminURL is the server's own user in the database of the place.
func adminURL(p *place) string {
	if p.kind == "mysql" {
		return strings.Replace(p.dsn, "app:"+password, "root", 1)
	}
	return strings.Replace(p.dsn, "app:"+password, "postgres", 1)
}
