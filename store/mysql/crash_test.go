//go:build linux

package mysql_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/crashtest"
	"github.com/rollcall-mq/rollcall/store/mysql"
)

var crashStorage = crashtest.Storage[*sql.Tx]{
	Open: func(ctx context.Context, url, schema string) (rollcall.Store[*sql.Tx], func() error, error) {
		s, err := mysql.Open(ctx, url, mysql.Config{Schema: schema})
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	},
	Log: func(folder string) (rollcall.Source, rollcall.Sender, func() error, error) {
		l, err := filelog.Open(filepath.Join(folder, "log.db"), filelog.Config{Partitions: 4, Lease: time.Second})
		if err != nil {
			return nil, nil, nil, err
		}
		return l.Source("orders"), l.Sender(), l.Close, nil
	},
	Record: func(ctx context.Context, tx *sql.Tx, schema string, n int64) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO "+schema+".ledger (number) VALUES (?)", n)
		return err
	},
	Ledger: func(ctx context.Context, url, schema string) (map[int64]int, error) {
		db, err := sql.Open("mysql", url)
		if err != nil {
			return nil, err
		}
		defer func() { _ = db.Close() }()
		found, err := db.QueryContext(ctx, "SELECT number, count(*) FROM "+schema+".ledger GROUP BY number")
		if err != nil {
			return nil, err
		}
		defer func() { _ = found.Close() }()
		out := make(map[int64]int)
		for found.Next() {
			var n int64
			var times int
			if err := found.Scan(&n, &times); err != nil {
				return nil, err
			}
			out[n] = times
		}
		return out, found.Err()
	},
	CutAll: cutAll,
}

// cutAll kills every connection of clients but its own.
func cutAll(ctx context.Context, url string) error {
	db, err := sql.Open("mysql", url)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	found, err := db.QueryContext(ctx, "SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND command <> 'Daemon' AND user = 'root'")
	if err != nil {
		return err
	}
	var ids []int64
	for found.Next() {
		var id int64
		if err := found.Scan(&id); err != nil {
			return err
		}
		ids = append(ids, id)
	}
	if err := found.Err(); err != nil {
		return err
	}
	for _, id := range ids {
		_, _ = db.ExecContext(ctx, fmt.Sprint("KILL ", id)) // it may have gone by itself
	}
	return nil
}

// TestCrash: workers and the server are killed, connections are cut, and each of
// 50,000 messages takes effect once.
func TestCrash(t *testing.T) {
	loads := map[string]crashtest.Load{
		"one sender":             {Messages: 50_000, Senders: 1, Workers: 2, WorkerKills: 6, ServerKills: 3, Cuts: 4},
		"many senders, gathered": {Messages: 50_000, Senders: 40, Workers: 2, Gather: true, WorkerKills: 5, ServerKills: 2, Cuts: 3},
	}
	for kind, spec := range kinds {
		for what, load := range loads {
			t.Run(kind+", "+what, func(t *testing.T) {
				server := servers.Start(t, spec, servers.Config{})
				name := schema()
				s := open(t, server, mysql.Config{Schema: name})
				exec(t, s, "CREATE TABLE "+name+".ledger (number bigint NOT NULL) ENGINE=InnoDB")
				t.Log(s.Version())
				crashtest.Run(t, crashStorage, server, name, load)
			})
		}
	}
}
