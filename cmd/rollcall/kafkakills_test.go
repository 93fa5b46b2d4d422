//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

// realKafka are the brokers of the tests with processes.
func realKafka(t testing.TB) string { return servers.Shared(t, servers.Kafka).Addr }

// sqlitePlace is a folder with a SQLite file of the business.
func sqlitePlace(t *testing.T) *place {
	p := &place{product: product{name: "sqlite", kind: "sqlite", text: "TEXT"}, store: "sqlite: {path: shop.db}", folder: t.TempDir()}
	p.db = openDB(t, "sqlite", "file:"+filepath.Join(p.folder, "shop.db")+"?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)&_txlock=immediate")
	return p
}

// TestKafkaKills: two processes share the partitions of a topic; one of them is killed
// three times, and the file is sent again in between. The ledger has no unique index
// that could hide a second effect.
func TestKafkaKills(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		kafkaKills(t, sqlitePlace(t), "kills-sqlite")
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		kafkaKills(t, newPlace(t, products[0], servers.Shared(t, products[0].spec)), "kills-postgres")
	})
}

// kafkaPipeline writes killFile with a topic as its source, and makes its tables.
func kafkaPipeline(t *testing.T, p *place, brokers, topic string) {
	t.Helper()
	execute(t, p.db, "CREATE TABLE ledger (id BIGINT NOT NULL)", "CREATE TABLE sums (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)")
	source := fmt.Sprintf("{kafka: {brokers: [%q], topic: %s, session_timeout: 2s}}", brokers, topic)
	named := strings.Replace(killFile, "name: chaos", "name: "+topic, 1) // groups of one cluster are told apart by their names
	p.pipeline(t, "rollcall.yaml", strings.Replace(named, "{embedded: {destination: things, partitions: 4}}", source, 1))
}

// things writes the messages of killFile.
func things(t *testing.T, p *place, messages int) {
	t.Helper()
	var lines strings.Builder
	for i := range messages {
		fmt.Fprintf(&lines, `{"id": %d, "of": %d, "one": 1}`+"\n", i, i%50)
	}
	writeFile(t, p.folder, "things.ndjson", lines.String())
}

func kafkaKills(t *testing.T, p *place, topic string) {
	const messages = 3000
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	brokers := realKafka(t)
	if err := makeTopic(brokers, topic, 4); err != nil {
		t.Fatal(err)
	}
	kafkaPipeline(t, p, brokers, topic)
	things(t, p, messages)
	p.ran(t, "send", "things.ndjson")
	effects := func() int { return number(t, p.db, "SELECT count(*) FROM ledger") }
	workers := []*child{start(t, p.folder, "run"), start(t, p.folder, "run")}
	again := start(t, p.folder, "send", "things.ndjson")
	for kill := range 3 {
		aim := min(effects()+50+random.IntN(messages/5), messages)
		eventually(t, fmt.Sprintf("%d effects before kill %d", aim, kill+1), func() bool { return effects() >= aim })
		victim := random.IntN(len(workers))
		t.Logf("kill %d: SIGKILL with %d effects", kill+1, effects())
		workers[victim].signal(syscall.SIGKILL)
		<-workers[victim].done
		workers[victim] = start(t, p.folder, "run")
	}
	if code := again.wait(); code != 0 {
		t.Fatalf("sending again: exit code %d\n%s", code, again.log.String())
	}
	sum := summary(t, p.ran(t, "run", "--until-empty", "--json"))
	for _, w := range workers {
		w.signal(syscall.SIGTERM)
	}
	for _, w := range workers {
		if code := w.wait(); code != exitInterrupted {
			t.Errorf("a worker that was stopped: exit code %d\n%s", code, w.log.String())
		}
		secretless(t, w)
	}
	want := book{Destination: topic, Stored: messages, Copies: messages, Applied: messages, Drained: true, Balanced: true}
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

// summary is the last line of run --json.
func summary(t *testing.T, out string) runSummary {
	t.Helper()
	var sum runSummary
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &sum); err != nil {
		t.Fatal(err)
	}
	return sum
}

// TestKafkaShared: two processes share the work, each gets some of it, and each says
// the same of all processes.
func TestKafkaShared(t *testing.T) {
	t.Parallel()
	const messages, topic = 200, "shared"
	p, brokers := sqlitePlace(t), realKafka(t)
	if err := makeTopic(brokers, topic, 4); err != nil {
		t.Fatal(err)
	}
	kafkaPipeline(t, p, brokers, topic)
	things(t, p, messages)
	workers := []*child{start(t, p.folder, "run", "--json"), start(t, p.folder, "run", "--json")}
	eventually(t, "both processes have partitions", func() bool { return kafkaMembers(brokers, topic) == 2 })
	p.ran(t, "send", "things.ndjson")
	eventually(t, "all effects", func() bool { return number(t, p.db, "SELECT count(*) FROM ledger") == messages })
	var delivered int64
	for _, w := range workers {
		w.signal(syscall.SIGTERM)
		if code := w.wait(); code != exitInterrupted {
			t.Errorf("exit code %d\n%s", code, w.log.String())
		}
		sum := summary(t, w.out.String())
		if sum.Process.Applied == 0 || !sum.Balanced || sum.Applied != messages {
			t.Errorf("%+v", sum)
		}
		delivered += sum.Process.Applied
	}
	if delivered != messages {
		t.Errorf("both together applied %d, want %d", delivered, messages)
	}
}

// TestKafkaScripts: the scripts say the same of a real cluster.
func TestKafkaScripts(t *testing.T) {
	t.Parallel()
	runScripts(t, map[string]string{"KAFKA": realKafka(t)}, "testdata/script/kafka.txtar", "testdata/script/kafkalost.txtar", "testdata/script/kafkainit.txtar")
}

// kafkaMembers is how many members of a group have partitions; none while the cluster
// does not say.
func kafkaMembers(brokers, group string) (n int) {
	err := withAdmin(brokers, func(ctx context.Context, admin *kadm.Client) error {
		groups, err := admin.DescribeGroups(ctx, group)
		for _, m := range groups[group].Members {
			if c, ok := m.Assigned.AsConsumer(); ok && len(c.Topics) > 0 && len(c.Topics[0].Partitions) > 0 {
				n++
			}
		}
		return err
	})
	if err != nil {
		return 0
	}
	return n
}
