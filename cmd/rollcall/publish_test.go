//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestPublishKilled: one pipeline sends on what took effect, another writes it down.
// The first one is killed three times in the middle, and its file is sent again;
// each message is at the second once, in a ledger without a unique index.
func TestPublishKilled(t *testing.T) {
	t.Parallel()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		publishKilled(t, "steps", "{embedded: {destination: steps, partitions: 2}}", "", "{embedded: {destination: steps-done}}")
	})
	t.Run("kafka", func(t *testing.T) {
		t.Parallel()
		from, _, to := publishTopics(t, "relayed")
		publishKilled(t, "relayed", from, "", to)
	})
	t.Run("embedded to kafka", func(t *testing.T) {
		t.Parallel()
		_, cluster, to := publishTopics(t, "bridged")
		publishKilled(t, "bridged", "{embedded: {destination: bridged}}", cluster, to)
	})
}

// publishTopics makes a topic and that with what is done, and returns both as sources,
// and their cluster as a field of publish.
func publishTopics(t *testing.T, name string) (from, cluster, to string) {
	brokers := realKafka(t)
	source := func(topic string) string {
		if err := makeTopic(brokers, topic, 3); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("{kafka: {brokers: [%q], topic: %s, session_timeout: 2s}}", brokers, topic)
	}
	return source(name), fmt.Sprintf(", kafka: {brokers: [%q]}", brokers), source(name + "-done")
}

func publishKilled(t *testing.T, name, from, cluster, to string) {
	const messages = 600
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	folder := t.TempDir()
	writeFile(t, folder, "rollcall.yaml", fmt.Sprintf(`
name: %s
source: %s
store: {sqlite: {path: orders.db}}
effect:
  - table: {name: placed, mode: insert, columns: {id: payload.id}}
  - publish: {destination: %s-done, key: payload.of%s}
batch: 5
`, name, from, name, cluster))
	writeFile(t, folder, "done.yaml", fmt.Sprintf(`
name: %s-done
source: %s
store: {sqlite: {path: done.db}}
effect: {table: {name: ledger, mode: insert, columns: {id: payload.id, of: key}}}
`, name, to))
	open := func(name, table string) *place {
		p := &place{folder: folder, db: openDB(t, "sqlite", "file:"+filepath.Join(folder, name)+"?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)&_txlock=immediate")}
		execute(t, p.db, table)
		return p
	}
	placed := open("orders.db", "CREATE TABLE placed (id INTEGER NOT NULL)")
	done := open("done.db", "CREATE TABLE ledger (id INTEGER NOT NULL, of TEXT NOT NULL)")
	var lines strings.Builder
	for i := range messages {
		fmt.Fprintf(&lines, `{"id": %d, "of": "c%d"}`+"\n", i, i%7)
	}
	writeFile(t, folder, "orders.ndjson", lines.String())
	ran(t, folder, "send", "orders.ndjson")
	effects := func() int { return number(t, placed.db, "SELECT count(*) FROM placed") }
	for kill := range 3 {
		c := start(t, folder, "run")
		aim := min(effects()+20+random.IntN(messages/6), messages)
		eventually(t, fmt.Sprintf("%d effects before kill %d", aim, kill+1), func() bool { return effects() >= aim })
		c.signal(syscall.SIGKILL)
		<-c.done
		t.Logf("kill %d: SIGKILL with %d effects", kill+1, effects())
	}
	ran(t, folder, "send", "orders.ndjson")
	if out := ran(t, folder, "run", "--until-empty"); !strings.Contains(out, "outbox: all is sent; refused 0, parked 0") {
		t.Errorf("%s", out)
	}
	t.Logf("%s", ran(t, folder, "run", "--until-empty", "done.yaml"))
	want := fmt.Sprintf("%d|%d|0|%d", messages, messages, messages-1)
	if got := placed.rows(t, "SELECT count(*), count(DISTINCT id), min(id), max(id) FROM placed"); got != want {
		t.Errorf("placed: %s, want %s", got, want)
	}
	if got := done.rows(t, "SELECT count(*), count(DISTINCT id), min(id), max(id) FROM ledger"); got != want {
		t.Errorf("ledger: %s, want %s", got, want)
	}
	if n := number(t, done.db, "SELECT count(*) FROM ledger WHERE of <> 'c' || (id % 7)"); n != 0 {
		t.Errorf("%d have another key than they were sent with", n)
	}
}

// TestPublishForeign: a message of a plain client has no id and no stamp. It gets
// both in the outbox, and goes on once, with its headers.
func TestPublishForeign(t *testing.T) {
	brokers, folder := fakeKafka(t), t.TempDir()
	for _, topic := range []string{"plain", "plain-done"} {
		if err := makeTopic(brokers, topic, 1); err != nil {
			t.Fatal(err)
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	record := kgo.Record{Topic: "plain", Key: []byte("k"), Value: []byte(`{"id": 1}`), Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("t-1")}}}
	if err := client.ProduceSync(ctx, &record).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct{ name, effect string }{
		{"plain", "{publish: {destination: plain-done}}"},
		{"plain-done", "{table: {name: ledger, mode: insert, columns: {id: payload.id, key: key, trace: header.trace, mid: id}}}"},
	} {
		writeFile(t, folder, f.name+".yaml", fmt.Sprintf("name: %s\nsource: {kafka: {brokers: [%q], topic: %s}}\nstore: {sqlite: {path: %s.db}}\neffect: %s\n",
			f.name, brokers, f.name, f.name, f.effect))
	}
	p := &place{folder: folder, db: openDB(t, "sqlite", "file:"+filepath.Join(folder, "plain-done.db")+"?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)&_txlock=immediate")}
	execute(t, p.db, "CREATE TABLE ledger (id INTEGER NOT NULL, key TEXT, trace TEXT, mid TEXT)")
	for range 2 {
		ran(t, folder, "run", "--until-empty", "plain.yaml")
		ran(t, folder, "run", "--until-empty", "plain-done.yaml")
	}
	if got := p.rows(t, "SELECT id, key, trace, length(mid) FROM ledger"); got != "1|k|t-1|36" {
		t.Errorf("ledger: %s", got)
	}
}
