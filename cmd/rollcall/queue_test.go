//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

// queueSource is a queue as the source of a pipeline file.
type queueSource struct {
	name   string
	source func(t testing.TB, queue string) string
	stream bool // has positions: books can be balanced
	// product of products is the store, counted from 1; 0: SQLite.
	product int
}

// rabbitSource is a queue that the file declares, on the server that tests share.
func rabbitSource(more string) func(testing.TB, string) string {
	return func(t testing.TB, queue string) string {
		return fmt.Sprintf("{rabbitmq: {addresses: [%q], queue: %s, declare: {}%s}}", servers.Shared(t, servers.RabbitMQ).Addr, queue, more)
	}
}

// rocketSource is a topic, which is made here: gRPC makes none.
func rocketSource(t testing.TB, topic string) string {
	r := servers.SharedRocketMQ(t)
	r.CreateTopic(t, topic, "NORMAL", 4)
	return fmt.Sprintf("{rocketmq: {endpoints: [%q], topic: %s, plaintext: true, invisible: 10s}}", r.Proxy.Addr, topic)
}

var queueSources = []queueSource{
	{"quorum", rabbitSource(""), false, 1},
	{"single", rabbitSource(", single_active: true"), false, 2},
	{"stream", rabbitSource(", type: stream, lease: 2s"), true, 0},
	{"rocketmq", rocketSource, false, 3},
}

// TestQueueKills: two processes work on a queue; one of them is killed three times, and
// the file is sent again in between. The ledger has no unique index that could hide a
// second effect.
func TestQueueKills(t *testing.T) {
	t.Parallel()
	for _, q := range queueSources {
		t.Run(q.name, func(t *testing.T) {
			t.Parallel()
			p := sqlitePlace(t)
			if q.product > 0 {
				p = newPlace(t, products[q.product-1], servers.Shared(t, products[q.product-1].spec))
			}
			queueKills(t, p, "kills-"+q.name, q)
		})
	}
}

func queueKills(t *testing.T, p *place, name string, q queueSource) {
	const messages = 1500
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	queuePipeline(t, p, name, q.source(t, name))
	things(t, p, messages)
	p.ran(t, "send", "things.ndjson")
	effects := func() int { return number(t, p.db, "SELECT count(*) FROM ledger") }
	workers := []*child{start(t, p.folder, "run"), start(t, p.folder, "run")}
	again := start(t, p.folder, "send", "things.ndjson")
	for kill := range 3 {
		aim := min(effects()+50+random.IntN(messages/5), messages)
		eventually(t, fmt.Sprintf("%d effects before kill %d", aim, kill+1), func() bool { return effects() >= aim })
		victim := random.IntN(len(workers))
		t.Logf("kill %d: SIGKILL of process %d with %d effects", kill+1, workers[victim].cmd.Process.Pid, effects())
		workers[victim].signal(syscall.SIGKILL)
		<-workers[victim].done
		workers[victim] = start(t, p.folder, "run")
	}
	if code := again.wait(); code != 0 {
		t.Fatalf("sending again: exit code %d\n%s", code, again.log.String())
	}
	eventually(t, "all effects", func() bool { return effects() >= messages })
	for _, w := range workers {
		w.signal(syscall.SIGTERM)
	}
	for _, w := range workers {
		if code := w.wait(); code != exitInterrupted {
			t.Errorf("a worker that was stopped: exit code %d\n%s", code, w.log.String())
		}
	}
	sum := summary(t, p.ran(t, "run", "--until-empty", "--json"))
	if sum.Applied != messages || sum.Waiting+sum.Dead+sum.Parked+sum.ToGo != 0 || sum.Uncounted == q.stream || sum.Balanced != q.stream {
		t.Errorf("books: %+v", sum.book)
	}
	exactly(t, p, messages)
}

// rabbitConsumers is how many consumers a queue has.
func rabbitConsumers(t *testing.T, queue string) int {
	t.Helper()
	conn, err := amqp.Dial(servers.Shared(t, servers.RabbitMQ).URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		return 0 // nobody has declared it yet
	}
	return q.Consumers
}

// exactly: each of the things took effect once.
func exactly(t *testing.T, p *place, messages int) {
	t.Helper()
	if got, want := p.rows(t, "SELECT count(*), count(DISTINCT id), min(id), max(id) FROM ledger"), fmt.Sprintf("%d|%d|0|%d", messages, messages, messages-1); got != want {
		t.Errorf("ledger: %s, want %s", got, want)
	}
	if got, want := p.rows(t, "SELECT count(*), min(n), max(n) FROM sums"), fmt.Sprintf("50|%d|%d", messages/50, messages/50); got != want {
		t.Errorf("sums: %s, want %s", got, want)
	}
}

// queuePipeline writes killFile with another source, and makes its tables.
// The group of a pipeline on RocketMQ has its name; gRPC makes none.
func rocketGroup(t *testing.T, name, source string) {
	if strings.Contains(source, "rocketmq:") {
		servers.SharedRocketMQ(t).CreateGroup(t, name, false, 1000)
	}
}

func queuePipeline(t *testing.T, p *place, name, source string) {
	t.Helper()
	rocketGroup(t, name, source)
	execute(t, p.db, "CREATE TABLE ledger (id BIGINT NOT NULL)", "CREATE TABLE sums (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)")
	p.pipeline(t, "rollcall.yaml", queueFile(name, source))
}

func queueFile(name, source string) string {
	named := strings.Replace(killFile, "name: chaos", "name: "+name, 1)
	return strings.Replace(named, "{embedded: {destination: things, partitions: 4}}", source, 1)
}

// TestQueueScripts: what a user types, and reads, on real queues.
func TestQueueScripts(t *testing.T) {
	t.Parallel()
	rocket := servers.SharedRocketMQ(t)
	rocket.CreateTopic(t, "script-orders", "NORMAL", 4)
	rocket.CreateGroup(t, "rocket-billing", false, 1000)
	runScripts(t, map[string]string{"RABBITMQ": servers.Shared(t, servers.RabbitMQ).Addr, "ROCKETMQ": rocket.Proxy.Addr},
		"testdata/queues/rabbitmq.txtar", "testdata/queues/rocketmq.txtar")
}

// TestQueueShared: one sender, eight processes on one quorum queue: each gets at least
// half of its equal share, and none is ever fenced.
func TestQueueShared(t *testing.T) {
	t.Parallel()
	const messages, processes, name = 8000, 8, "shared-quorum"
	p := newPlace(t, products[0], servers.Shared(t, products[0].spec))
	queuePipeline(t, p, name, rabbitSource(", prefetch: 100")(t, name))
	things(t, p, messages)
	var workers []*child
	for range processes {
		workers = append(workers, start(t, p.folder, "run", "--json"))
	}
	eventually(t, "eight consumers", func() bool { return rabbitConsumers(t, name) == processes })
	p.ran(t, "send", "things.ndjson")
	eventually(t, "all effects", func() bool { return number(t, p.db, "SELECT count(*) FROM ledger") >= messages })
	for _, w := range workers {
		w.signal(syscall.SIGTERM)
	}
	for i, w := range workers {
		if code := w.wait(); code != exitInterrupted {
			t.Errorf("exit code %d\n%s", code, w.log.String())
		}
		if strings.Contains(w.log.String(), "taken over") {
			t.Errorf("process %d was fenced:\n%s", i, w.log.String())
		}
		n := summary(t, w.out.String()).Process.Applied
		t.Logf("process %d applied %d, %d %% of its equal share", i, n, 100*n*processes/messages)
		if n < messages/processes/2 {
			t.Errorf("process %d applied %d of %d, less than half of its equal share", i, n, messages)
		}
	}
	exactly(t, p, messages)
}

// TestBridges: a file goes from Kafka by way of RabbitMQ and RocketMQ to Kafka, and every
// bridge is killed in the middle. A group that has worked off a part at the first topic
// goes on at the last one: ids and stamps are the same there, so nothing happens twice.
func TestBridges(t *testing.T) {
	t.Parallel()
	const messages = 600
	p, brokers := sqlitePlace(t), realKafka(t)
	for _, topic := range []string{"bridge-begin", "bridge-end"} {
		if err := makeTopic(brokers, topic, 3); err != nil {
			t.Fatal(err)
		}
	}
	kafkaSource := func(topic string) string {
		return fmt.Sprintf("{kafka: {brokers: [%q], topic: %s, session_timeout: 2s}}", brokers, topic)
	}
	queue, topic := rabbitSource("")(t, "bridge-queue"), rocketSource(t, "bridge-topic")
	queuePipeline(t, p, "bridged-billing", kafkaSource("bridge-begin"))
	p.pipeline(t, "moved.yaml", queueFile("bridged-billing", kafkaSource("bridge-end")))
	things(t, p, messages)
	p.ran(t, "send", "things.ndjson")
	billing := start(t, p.folder, "run")
	effects := func() int { return number(t, p.db, "SELECT count(*) FROM ledger") }
	eventually(t, "a part of the effects", func() bool { return effects() >= 60 })
	billing.signal(syscall.SIGKILL)
	<-billing.done
	before := effects()
	t.Logf("the group did %d of %d at the first topic", before, messages)

	rabbit := fmt.Sprintf("rabbitmq: {addresses: [%q]}", servers.Shared(t, servers.RabbitMQ).Addr)
	rocket := fmt.Sprintf("rocketmq: {endpoints: [%q], plaintext: true}", servers.SharedRocketMQ(t).Proxy.Addr)
	// The queue of the first bridge is made by whoever reads it.
	bridge(t, p, "2-rabbit-rocket", queue, "bridge-topic", rocket)
	p.ran(t, "run", "--until-empty", "2-rabbit-rocket.yaml")
	bridge(t, p, "1-kafka-rabbit", kafkaSource("bridge-begin"), "bridge-queue", rabbit)
	bridge(t, p, "3-rocket-kafka", topic, "bridge-end", fmt.Sprintf("kafka: {brokers: [%q]}", brokers))
	for _, name := range []string{"1-kafka-rabbit", "2-rabbit-rocket", "3-rocket-kafka"} {
		killedBridge(t, p, name, messages)
	}
	t.Logf("%s", p.ran(t, "run", "--until-empty", "moved.yaml"))
	exactly(t, p, messages)
	if effects() <= before {
		t.Error("the group did nothing at the last topic")
	}
}

// bridge writes a pipeline that sends on all that it gets.
func bridge(t *testing.T, p *place, name, from, to, broker string) {
	t.Helper()
	rocketGroup(t, "b"+name, from)
	writeFile(t, p.folder, name+".yaml", fmt.Sprintf("name: b%s\nsource: %s\nstore: {sqlite: {path: b%s.db}}\nbatch: 20\neffect: {publish: {destination: %s, %s}}\n",
		name, from, name, to, broker))
}

// killedBridge runs a bridge, kills it once in the middle, and lets another one finish.
func killedBridge(t *testing.T, p *place, name string, messages int) {
	t.Helper()
	c := start(t, p.folder, "run", "--json", name+".yaml")
	db := openDB(t, "sqlite", "file:"+p.folder+"/b"+name+".db?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)&_txlock=immediate")
	done := func() int {
		var n int
		_ = db.QueryRow("SELECT coalesce(sum(applied), 0) FROM rollcall_counts").Scan(&n) // the table comes with the first run
		return n
	}
	eventually(t, name+" to have sent something on", func() bool { return done() >= 40 })
	c.signal(syscall.SIGKILL)
	<-c.done
	t.Logf("%s: SIGKILL of process %d after %d messages", name, c.cmd.Process.Pid, done())
	// A queue is empty though the dead process may hold something still: RocketMQ brings
	// it after source.rocketmq.invisible.
	eventually(t, name+" to have sent everything on", func() bool {
		out := p.ran(t, "run", "--until-empty", name+".yaml")
		if !strings.Contains(out, "outbox: all is sent; refused 0, parked 0") {
			t.Fatalf("%s: %s", name, out)
		}
		return done() >= messages
	})
}
