//go:build linux

package effect_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
	"github.com/rollcall-mq/rollcall/broker/memory"
	"github.com/rollcall-mq/rollcall/effect"
	"github.com/rollcall-mq/rollcall/effect/pgxeffect"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/mysql"
	"github.com/rollcall-mq/rollcall/store/postgres"
)

// The load of a run: of each key three steps, in order, each handed over twice
// with the same stamp (a transport that repeats), and all of it sent again with
// new stamps (an application that repeats).
const endKeys, endSteps = 40, 3

func endLoad() (out []rollcall.Message) {
	states := []string{"new", "paid", "shipped"}
	for range 2 {
		life, numbers := rollcall.NewLife(), make(map[uint32]uint64)
		for step := range endSteps {
			for key := range endKeys {
				m := body(`{"id":"k%d","v":%d,"amount":7,"state":%q}`, key, step+1, states[step])
				m.Key, m.ID, m.Partition = fmt.Sprint("k", key), rollcall.MessageID(fmt.Sprintf("k%d-%d", key, step)), int32(key%4)
				m.Time = time.Now()
				lane := uint32(m.Partition)
				numbers[lane]++
				m.Stamp = rollcall.Stamp{Life: life, Lane: lane, Sequence: numbers[lane], Origin: rollcall.OriginOf("orders"), OwnID: true}
				out = append(out, m, m)
			}
		}
	}
	return out
}

var endBrokers = map[string]func(t *testing.T) (rollcall.Source, rollcall.Sender){
	"memory": func(t *testing.T) (rollcall.Source, rollcall.Sender) {
		b := memory.New(memory.Config{Shape: memory.Replayable, Partitions: 4})
		return b.Source("orders"), b.Sender()
	},
	"filelog": func(t *testing.T) (rollcall.Source, rollcall.Sender) {
		l, err := filelog.Open(filepath.Join(t.TempDir(), "log.db"), filelog.Config{Partitions: 4})
		must(t, err)
		t.Cleanup(func() { must(t, l.Close()) })
		return l.Source("orders"), l.Sender()
	},
}

// modes are one table each, and what must be in it: the same for every server.
var endModes = map[string]struct {
	table effect.Table
	query string
	want  string
}{
	"insert": {effect.Table{Mode: effect.Insert, Key: []string{"id", "v"}, Columns: map[string]string{"id": "payload.id", "v": "payload.v"}},
		"SELECT COUNT(*), COUNT(DISTINCT id) FROM", fmt.Sprint(endKeys*endSteps, " ", endKeys)},
	"upsert": {effect.Table{Mode: effect.Upsert, Key: []string{"id"}, Columns: map[string]string{"id": "payload.id", "v": "payload.v", "state": "payload.state"}},
		"SELECT COUNT(*), MIN(v) FROM", fmt.Sprint(endKeys, " ", endSteps)},
	"version": {effect.Table{Mode: effect.Versioned, Key: []string{"id"}, Version: effect.Version{Column: "v", Rule: effect.RuleNext},
		Columns: map[string]string{"id": "payload.id", "v": "payload.v"}}, "SELECT COUNT(*), MIN(v) FROM", fmt.Sprint(endKeys, " ", endSteps)},
	"transition": {effect.Table{Mode: effect.Transition, Key: []string{"id"}, Columns: map[string]string{"id": "payload.id", "state": "payload.state"},
		State: effect.State{Column: "state", Allow: map[string][]string{"new": {"paid"}, "paid": {"shipped"}}}},
		"SELECT COUNT(*), SUM(CASE WHEN state = 'shipped' THEN 1 ELSE 0 END) FROM", fmt.Sprint(endKeys, " ", endKeys)},
	"add": {effect.Table{Mode: effect.Add, Key: []string{"id"}, Columns: map[string]string{"id": "payload.id", "amount": "payload.amount"}},
		"SELECT MIN(amount), MAX(amount) FROM", fmt.Sprint(7*endSteps, " ", 7*endSteps)},
}

// endToEnd runs two workers for each mode, side by side, and looks into the
// tables.
func endToEnd[X any](t *testing.T, db *database, store rollcall.Store[X], in func(X) effect.Conn) {
	for broker, open := range endBrokers {
		t.Run(broker, func(t *testing.T) {
			source, sender := open(t)
			_, err := sender.Lanes(t.Context(), "orders") // makes the destination
			must(t, err)
			for _, r := range sender.Publish(t.Context(), "orders", endLoad()) {
				must(t, r.Err)
			}
			for mode, c := range endModes {
				key := map[bool]string{true: "id, v", false: "id"}[mode == "insert"]
				c.table.Name = mode + "_" + broker
				db.exec(t, "CREATE TABLE "+c.table.Name+" (id {key} NOT NULL, v {int}, amount {int}, state {text}, PRIMARY KEY ("+key+"))")
				handler := effect.BatchHandler(db.tables(t, c.table), in)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var workers sync.WaitGroup
				for n := range 2 {
					consumer := rollcall.NewBatchConsumer(c.table.Name, source, store, handler,
						rollcall.ConsumerConfig{Batch: 20, Worker: fmt.Sprint("w", n), Retry: rollcall.RetryConfig{First: time.Millisecond, Most: 20 * time.Millisecond}})
					workers.Go(func() {
						if err := consumer.RunUntilEmpty(ctx); err != nil {
							t.Errorf("%s: %v", mode, err)
						}
					})
				}
				workers.Wait()
				if got := plain(db.dump(t, c.query+" "+c.table.Name)); got != c.want {
					t.Errorf("%s: %s, want %s", mode, got, c.want)
				}
				wantCounts(t, store, mode, c.table.Name)
			}
		})
	}
}

// wantCounts: each message was applied once, and nothing is left aside.
func wantCounts[X any](t *testing.T, store rollcall.Store[X], mode, group string) {
	t.Helper()
	tally, err := store.Upkeep().Tally(t.Context(), group)
	must(t, err)
	if len(tally) != 1 || tally[0].Counts.Applied != endKeys*endSteps || tally[0].Waiting+tally[0].Dead+tally[0].Parked != 0 {
		t.Errorf("%s: %+v, want %d applied and nothing aside", mode, tally, endKeys*endSteps)
	}
}

// plain leaves out the types of a dump, and the zeroes of a decimal.
func plain(dump string) string {
	var out []string
	for _, v := range strings.Fields(dump) {
		out = append(out, v[strings.Index(v, ":")+1:])
	}
	return strings.Join(out, " ")
}

// TestEndToEnd: messages that come twice, from two brokers, through the engine
// into tables of each server: every mode ends as if each had come once.
func TestEndToEnd(t *testing.T) {
	for name, spec := range map[string]*servers.Spec{"postgres15": servers.Postgres15, "postgres18": servers.Postgres18} {
		t.Run(name, func(t *testing.T) {
			db := openPostgres(t, spec)
			s, err := postgres.Open(t.Context(), servers.Shared(t, spec).URL()+"&search_path="+db.place, postgres.Config{Schema: db.place})
			must(t, err)
			t.Cleanup(func() { must(t, s.Close()) })
			endToEnd[pgx.Tx](t, db, s, pgxeffect.Tx)
		})
	}
	for name, spec := range map[string]*servers.Spec{"mysql": servers.MySQL, "mariadb": servers.MariaDB} {
		t.Run(name, func(t *testing.T) {
			db := products[name](t)
			s, err := mysql.Open(t.Context(), strings.TrimSuffix(servers.Shared(t, spec).URL(), "test")+db.place, mysql.Config{Schema: db.place})
			must(t, err)
			t.Cleanup(func() { must(t, s.Close()) })
			endToEnd(t, db, s, func(tx *sql.Tx) effect.Conn { return effect.SQL(tx) })
		})
	}
}
