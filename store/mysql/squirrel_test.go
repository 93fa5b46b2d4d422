//go:build linux

package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/Masterminds/squirrel"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/mysql"
)

// TestGatheredSquirrel: what squirrel builds runs gathered, its cache of prepared
// statements too.
func TestGatheredSquirrel(t *testing.T) {
	const n = 100
	eachServer(t, func(t *testing.T, server *servers.Server) {
		b := newBench(t, server, mysql.Config{})
		b.send(n, ownKeys)
		b.run(rollcall.ConsumerConfig{Gather: true, Batch: n}, func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
			body := string(m.Body)
			res, err := squirrel.Insert(b.schema+".e").Columns("n", "v").Values(body, squirrel.Expr("? + 1", 4)).RunWith(tx).ExecContext(ctx)
			if err != nil {
				return err
			}
			var v int
			err = squirrel.Select("v").From(b.schema + ".e").Where(squirrel.Eq{"n": []string{body, "-1"}}).RunWith(tx).QueryRowContext(ctx).Scan(&v)
			if rows, _ := res.RowsAffected(); err != nil || rows != 1 || v != 5 {
				return errors.Join(err, errors.New("not what was written"))
			}
			cache := squirrel.NewStmtCache(tx)
			defer func() { _ = cache.Clear() }()
			_, err = squirrel.Update(b.schema+".e").Set("v", squirrel.Expr("v * ?", 2)).Where("n = ?", body).RunWith(cache).ExecContext(ctx)
			return err
		})
		dead, causes := b.dead()
		if got := b.number("SELECT COUNT(*) FROM ~e WHERE v = 10"); got != n || len(dead) != 0 {
			t.Fatalf("%d effects, want %d; dead: %v %q", got, n, dead, causes)
		}
	})
}
