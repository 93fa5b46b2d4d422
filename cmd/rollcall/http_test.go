package main

import (
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// ledger is an HTTP receiver that outlives the pipeline: it counts what it did,
// by key, and can do something between doing and answering.
type ledger struct {
	*httptest.Server
	honours bool

	mu       sync.Mutex
	requests int
	effects  map[string]int
	between  func(requests int)
}

func newLedger(t *testing.T, honours bool) *ledger {
	l := &ledger{honours: honours, effects: make(map[string]int)}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		l.mu.Lock()
		l.requests++
		if !l.honours || l.effects[key] == 0 {
			l.effects[key]++
		}
		n, between := l.requests, l.between
		l.mu.Unlock()
		if between != nil {
			between(n)
		}
	}))
	t.Cleanup(l.Close)
	return l
}

// then sets what is done between effect and answer.
func (l *ledger) then(between func(requests int)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.between = between
}

func (l *ledger) asked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.requests
}

// once is how many keys took effect; more than once is an error.
func (l *ledger) once(t *testing.T) int {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, n := range l.effects {
		if n != 1 {
			t.Errorf("key %s took effect %d times", key, n)
		}
	}
	return len(l.effects)
}

// TestHTTPKilled: run is killed with SIGKILL between what the receiver did and
// its answer, twice, and run again. Each message takes effect once. What is in
// doubt with a receiver that does not honour the key is shown and decided.
func TestHTTPKilled(t *testing.T) {
	for _, honours := range []bool{true, false} {
		t.Run(fmt.Sprint("honours ", honours), func(t *testing.T) { httpKilled(t, "sqlite: {path: shop.db}", honours) })
	}
}

func httpKilled(t *testing.T, store string, honours bool) {
	const messages = 12
	folder, l := t.TempDir(), newLedger(t, honours)
	writeFile(t, folder, "rollcall.yaml", fmt.Sprintf(`
name: pay
source: {embedded: {destination: orders, partitions: 2}}
store: {%s}
effect: {http: {name: bank, url: "%s/pay", honours: %v, networks: [127.0.0.1], secret: "${SECRET:-s}"}}
`, store, l.URL, honours))
	var lines strings.Builder
	for i := range messages {
		fmt.Fprintf(&lines, `{"id": %d}`+"\n", i)
	}
	writeFile(t, folder, "orders.ndjson", lines.String())
	ran(t, folder, "send", "--id", "id", "orders.ndjson")
	for _, at := range []int{3, 7} {
		victims := make(chan *child, 1)
		l.then(func(n int) {
			if n == at {
				c := <-victims
				t.Logf("SIGKILL for process %d with request %d in flight", c.cmd.Process.Pid, n)
				_ = c.cmd.Process.Signal(syscall.SIGKILL) // wait says whether it hit
				<-c.done
			}
		})
		c := start(t, folder, "run")
		victims <- c
		if code := c.wait(); code != -1 {
			t.Fatalf("run ended with exit code %d before it was killed\n%s", code, c.log.String())
		}
	}
	out := ran(t, folder, "run", "--until-empty")
	if honours {
		if !strings.Contains(out, "http: all requests are sent; refused 0, parked 0") || l.asked() < messages+2 {
			t.Errorf("%d requests, want at least two again\n%s", l.asked(), out)
		}
	} else {
		httpDecided(t, folder, l, out)
	}
	ran(t, folder, "send", "--id", "id", "orders.ndjson")
	ran(t, folder, "run", "--until-empty")
	if n := l.once(t); n != messages {
		t.Errorf("%d messages took effect, want %d", n, messages)
	}
}

// httpDecided does what an operator does: asks the receiver by key. One of the
// two rows is redriven to show that it is sent then, on purpose.
func httpDecided(t *testing.T, folder string, l *ledger, out string) {
	t.Helper()
	if !strings.Contains(out, "http: all requests are sent; refused 0, parked 2") {
		t.Errorf("%s", out)
	}
	if c := start(t, folder, "run", "--until-empty", "--fail-on", "dead"); c.wait() != exitFindings {
		t.Errorf("--fail-on dead: %s", c.log.String())
	}
	list := ran(t, folder, "dead", "outbox")
	rows := regexp.MustCompile(`(?m)^(\d+)  parked  http:bank, message \d+, key ([0-9a-f]{32}): the relay that sent it ended`).FindAllStringSubmatch(list, -1)
	if len(rows) != 2 || !strings.Contains(list, "2 requests kept") {
		t.Fatalf("%s", list)
	}
	for _, row := range rows {
		l.mu.Lock()
		if l.effects[row[2]] != 1 {
			t.Errorf("key %s took effect %d times", row[2], l.effects[row[2]])
		}
		l.mu.Unlock()
	}
	if out := ran(t, folder, "dead", "outbox", "--discard", rows[0][1]); !strings.Contains(out, "redriven: 0, discarded: 1") {
		t.Error(out)
	}
	l.mu.Lock()
	delete(l.effects, rows[1][2]) // as if it had not been done
	l.mu.Unlock()
	ran(t, folder, "dead", "outbox", "--redrive", rows[1][1])
	ran(t, folder, "run", "--until-empty")
	if out := ran(t, folder, "dead", "outbox", "--json"); !strings.Contains(out, `{"type":"summary","verb":"dead outbox","listed":0`) {
		t.Error(out)
	}
}

func writeFile(t *testing.T, folder, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestHTTPStopped: SIGTERM lets the request in hand finish: nothing is in doubt.
func TestHTTPStopped(t *testing.T) {
	folder, l := t.TempDir(), newLedger(t, false)
	writeFile(t, folder, "rollcall.yaml", fmt.Sprintf(`
name: pay
source: {embedded: {destination: orders, partitions: 1}}
store: {sqlite: {path: shop.db}}
effect: {http: {url: "%s/pay", networks: [127.0.0.1]}}
`, l.URL))
	writeFile(t, folder, "orders.ndjson", `{"id": 1}`+"\n"+`{"id": 2}`+"\n")
	ran(t, folder, "send", "orders.ndjson")
	answer := make(chan struct{})
	l.then(func(n int) {
		if n == 1 {
			<-answer
		}
	})
	c := start(t, folder, "run")
	eventually(t, "the first request to arrive", func() bool { return l.asked() == 1 })
	c.signal(syscall.SIGTERM)
	eventually(t, "run to stop", func() bool { return strings.Contains(c.log.String(), "stopping") })
	time.Sleep(200 * time.Millisecond) // it must wait for the answer
	close(answer)
	if code := c.wait(); code != exitInterrupted || !strings.Contains(c.out.String(), "http: some requests wait to be sent; refused 0, parked 0") {
		t.Errorf("exit code %d\n%s%s", code, c.out.String(), c.log.String())
	}
	if out := ran(t, folder, "run", "--until-empty"); !strings.Contains(out, "http: all requests are sent; refused 0, parked 0") || l.once(t) != 2 {
		t.Error(out)
	}
}

// TestHTTPBesideTable: a request is made for a message whose row was written,
// not for one that was a repeat there, and a refusal is shown.
func TestHTTPBesideTable(t *testing.T) {
	folder, l := t.TempDir(), newLedger(t, false)
	writeFile(t, folder, "rollcall.yaml", fmt.Sprintf(`
name: pay
source: {embedded: {destination: orders, partitions: 1}}
store: {sqlite: {path: shop.db}}
effect:
  - table: {name: orders, mode: insert, key: [id], columns: {id: payload.id}}
  - http: {name: bank, url: "%s/pay", networks: [127.0.0.1]}
  - http: {name: nobody, url: "%s/", networks: ["127.0.0.0/8"]}
`, l.URL, newRefusing(t)))
	if err := withDB(filepath.Join(folder, "shop.db"), func(db *sql.DB) error {
		_, err := db.Exec(`CREATE TABLE orders (id TEXT PRIMARY KEY); INSERT INTO orders VALUES ('2')`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	writeFile(t, folder, "orders.ndjson", `{"id": "1"}`+"\n"+`{"id": "2"}`+"\n"+`{"id": "3"}`+"\n")
	ran(t, folder, "send", "orders.ndjson")
	out := ran(t, folder, "run", "--until-empty")
	if !strings.Contains(out, "http: all requests are sent; refused 2, parked 0") || l.once(t) != 2 {
		t.Errorf("%d requests, want 2\n%s", l.asked(), out)
	}
	if list := ran(t, folder, "dead", "outbox"); strings.Count(list, `refused  http:nobody, message `) != 2 || !strings.Contains(list, `answered 403 Forbidden: "not here"`) {
		t.Error(list)
	}
}

// newRefusing is a receiver that takes nothing.
func newRefusing(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not here", http.StatusForbidden) }))
	t.Cleanup(s.Close)
	return s.URL
}
