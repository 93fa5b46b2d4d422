package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/brokertest"
	"github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/crashtest"
	"github.com/rollcall-mq/rollcall/store/memory"
	"github.com/rollcall-mq/rollcall/store/postgres"
)

// onPostgres is Kafka with PostgreSQL as both sides of a crash test see it. The place
// of the log is the brokers.
var onPostgres = crashtest.Storage[pgx.Tx]{
	Open: func(ctx context.Context, url, schema string) (rollcall.Store[pgx.Tx], func() error, error) {
		s, err := postgres.Open(ctx, url, postgres.Config{Schema: schema, Idle: time.Second})
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	},
	Log: func(place string) (rollcall.Source, rollcall.Sender, func() error, error) {
		cluster, err := openWhenUp(strings.Split(place, ","))
		if err != nil {
			return nil, nil, nil, err
		}
		s, err := cluster.Source(context.Background(), "orders", kafka.SourceConfig{SessionTimeout: shortSession})
		return s, cluster.Sender(), func() error { cluster.Close(); return nil }, err
	},
	Record: func(ctx context.Context, tx pgx.Tx, schema string, n int64) error {
		_, err := tx.Exec(ctx, "INSERT INTO "+schema+".ledger (number) VALUES ($1)", n)
		return err
	},
	Ledger: func(ctx context.Context, url, schema string) (map[int64]int, error) {
		c, err := pgx.Connect(ctx, url)
		if err != nil {
			return nil, err
		}
		defer func() { _ = c.Close(ctx) }()
		rows, err := c.Query(ctx, "SELECT number, count(*) FROM "+schema+".ledger GROUP BY number")
		if err != nil {
			return nil, err
		}
		out := make(map[int64]int)
		var n int64
		var times int
		_, err = pgx.ForEachRow(rows, []any{&n, &times}, func() error { out[n] = times; return nil })
		return out, err
	},
}

// shortSession is how soon others take over from a member that was killed.
const shortSession = time.Second

// openWhenUp connects: a broker may just be dead.
func openWhenUp(brokers []string) (*kafka.Cluster, error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		cluster, err := kafka.Open(ctx, brokers, kafka.Config{Warn: func(string) {}})
		cancel()
		if err == nil || time.Now().After(deadline) {
			return cluster, err
		}
	}
}

// database makes a server with a ledger that has no index, which would hide doubles.
func database(t *testing.T) (server *servers.Server, schema string) {
	t.Helper()
	server, schema = servers.Start(t, servers.Postgres18, servers.Config{}), "once"
	s, err := postgres.Open(t.Context(), server.URL(), postgres.Config{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	c, err := pgx.Connect(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	if _, err := c.Exec(t.Context(), "CREATE TABLE "+schema+".ledger (number bigint NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	t.Logf("PostgreSQL %s", s.Version())
	return server, schema
}

// TestCrashOneNode: workers, the database and the only broker are killed, and the broker
// stopped, while the sender sends and 2 processes of 2 workers work; each of 30,000 messages takes effect
// once.
func TestCrashOneNode(t *testing.T) {
	t.Parallel()
	broker := servers.Start(t, servers.Kafka, servers.Config{})
	create(t, admin(t, []string{broker.Addr}), "orders", 6, nil)
	server, schema := database(t)
	crashtest.Run(t, onPostgres, server, schema, crashtest.Load{
		Messages: 30_000, Senders: 1, Workers: 2, WorkerKills: 4, ServerKills: 2, BrokerKills: 3, Sending: true, Pace: time.Second, Place: broker.Addr,
		Broker: inTurn(broker),
	})
}

// inTurn kills nodes, one after the other, and lets each come back; every second one is
// stopped by SIGSTOP for longer than the cluster waits for it instead.
func inTurn(nodes ...*servers.Server) func() (string, error) {
	next := 0
	return func() (string, error) {
		i := next % len(nodes)
		next++
		if next%2 == 0 {
			const long = 4 * time.Second
			if err := nodes[i].Pause(); err != nil {
				return "", err
			}
			time.Sleep(long)
			return fmt.Sprintf("node %d (pid %d) stopped for %v", i+1, nodes[i].Pid(), long), nodes[i].Resume()
		}
		pid := nodes[i].Pid()
		if err := nodes[i].Kill(); err != nil {
			return "", err
		}
		time.Sleep(time.Second) // the others, if there are any, go on without it
		return fmt.Sprintf("node %d (pid %d) killed", i+1, pid), nodes[i].Restart()
	}
}

// TestZombies: workers are stopped with messages in work until others have their
// partitions, twenty times; each is fenced when it wakes. One sender.
func TestZombies(t *testing.T) {
	t.Parallel()
	broker := servers.Start(t, servers.Kafka, servers.Config{})
	create(t, admin(t, []string{broker.Addr}), "orders", 6, nil)
	server, schema := database(t)
	crashtest.Run(t, onPostgres, server, schema, crashtest.Load{Messages: 60_000, Senders: 1, Workers: 2, Pace: 2 * time.Second,
		Stops: 20, StopFor: 2 * shortSession, Sending: true, Place: broker.Addr})
}

// TestThreeNodes: the kit on three nodes, and then one node after the other is killed
// or stopped and comes back during 100,000 messages into PostgreSQL, workers too; the comparison is
// exact.
func TestThreeNodes(t *testing.T) {
	t.Parallel()
	nodes := servers.StartKafka(t, 3, servers.Config{})
	t.Run("kit", func(t *testing.T) { brokertest.Run(t, harness(nodes.Brokers())) })
	create(t, admin(t, nodes.Brokers()), "orders", 6, nil)
	server, schema := database(t)
	crashtest.Run(t, onPostgres, server, schema, crashtest.Load{
		Messages: 100_000, Senders: 40, Workers: 2, WorkerKills: 3, BrokerKills: 3, Sending: true, Pace: 300 * time.Millisecond, Place: strings.Join(nodes.Brokers(), ","),
		Broker: inTurn(nodes.Nodes...),
	})
}

// TestUncleanElection: a node that missed messages becomes the leader, and the log has
// other messages at offsets that are done. A group that runs hears of it, and one that
// comes later is refused; offsets and leader epochs are named.
func TestUncleanElection(t *testing.T) {
	t.Parallel()
	nodes := servers.StartKafka(t, 3, servers.Config{})
	a := admin(t, nodes.Brokers())
	topic := unclean(t, a)
	cluster := open(t, nodes.Brokers())
	send(t, cluster, topic, 10, 0)
	leader, follower := replicas(t, a, topic)
	if err := nodes.Nodes[follower-1].Kill(); err != nil {
		t.Fatal(err)
	}
	wait(t, "the follower to fall out", func() bool { return len(partition(t, a, topic).ISR) == 1 })
	send(t, cluster, topic, 10, 10) // on the leader alone
	db := memory.NewDatabase(memory.Config{})
	if got, err := ledger(t, source(t, cluster, topic), aGroup, db, rollcall.ConsumerConfig{}); err != nil || len(got) != 20 {
		t.Fatalf("%d effects, %v", len(got), err)
	}
	running := subscribe(t, source(t, cluster, topic), "running")
	running.owner.done(running.read(20)[19])
	if err := nodes.Nodes[leader-1].Kill(); err != nil {
		t.Fatal(err)
	}
	if err := nodes.Nodes[follower-1].Restart(); err != nil {
		t.Fatal(err)
	}
	elect(t, a, topic)
	wait(t, "the one that missed messages to lead", func() bool { return partition(t, a, topic).Leader == follower })
	fresh := open(t, nodes.Brokers())
	send(t, fresh, topic, 15, 100) // its log has 25 messages now, others than before from offset 10 on
	told := running.damage()
	t.Logf("running: %v", told)
	wantWords(t, told, topic, "cut off")
	_, err := ledger(t, source(t, fresh, topic), aGroup, db, rollcall.ConsumerConfig{})
	t.Logf("later: %v", err)
	wantWords(t, err, topic)
	if !errors.Is(err, rollcall.ErrDamaged) {
		t.Errorf("later: %v, want ErrDamaged", err)
	}
}

// unclean makes a topic of one partition on two nodes whose next leader may be one that
// has missed messages.
func unclean(t *testing.T, a administrator) string {
	t.Helper()
	yes, one := "true", "1"
	topic := fmt.Sprintf("unclean-%d", names.Add(1))
	made, err := a.CreateTopic(t.Context(), 1, 2, map[string]*string{"unclean.leader.election.enable": &yes, "min.insync.replicas": &one}, topic)
	if err != nil {
		t.Fatal(err)
	}
	known(t, a, topic, made.ID)
	ready(t, a, topic, 1)
	return topic
}

func partition(t *testing.T, a administrator, topic string) kadm.PartitionDetail {
	t.Helper()
	m, err := a.Metadata(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return m.Topics[topic].Partitions[0]
}

func replicas(t *testing.T, a administrator, topic string) (leader, follower int32) {
	t.Helper()
	p := partition(t, a, topic)
	for _, r := range p.Replicas {
		if r != p.Leader {
			follower = r
		}
	}
	return p.Leader, follower
}

// elect asks for whoever is there.
func elect(t *testing.T, a administrator, topic string) {
	t.Helper()
	var set kadm.TopicsSet
	set.Add(topic, 0)
	wait(t, "an election among those that are there", func() bool {
		_, err := a.ElectLeaders(t.Context(), kadm.ElectLiveReplica, set)
		return err == nil
	})
}
