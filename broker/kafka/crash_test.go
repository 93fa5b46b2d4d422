package kafka_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/crashtest"
	"github.com/rollcall-mq/rollcall/store/postgres"
)

// onPostgres is Kafka with PostgreSQL as both sides of a crash test see it. The place
// of the log is the brokers.
var onPostgres = crashtest.Storage[pgx.Tx]{
	Open: func(ctx context.Context, url, schema string) (rollcall.Store[pgx.Tx], func() error, error) {
		s, err := postgres.Open(ctx, url, postgres.Config{Schema: schema})
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
const shortSession = 1500 * time.Millisecond

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

// TestCrashOneNode: workers, the database and the only broker are killed while the
// sender sends and 2 processes of 2 workers work; each of 30,000 messages takes effect
// once.
func TestCrashOneNode(t *testing.T) {
	broker := servers.Start(t, servers.Kafka, servers.Config{})
	create(t, admin(t, []string{broker.Addr}), "orders", 6, nil)
	server, schema := database(t)
	for _, load := range []crashtest.Load{
		{Messages: 30_000, Senders: 1, Workers: 2, WorkerKills: 4, ServerKills: 2, BrokerKills: 2, Sending: true},
	} {
		load.Place = broker.Addr
		load.Broker = func() (string, error) {
			pid := broker.Pid()
			if err := broker.Kill(); err != nil {
				return "", err
			}
			return fmt.Sprintf("broker (pid %d) killed", pid), broker.Restart()
		}
		crashtest.Run(t, onPostgres, server, schema, load)
	}
}
