package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/internal/rows"
	"github.com/rollcall-mq/rollcall/store/postgres"
	"github.com/rollcall-mq/rollcall/store/storetest"
)

func TestClaims(t *testing.T) {
	eachServer(t, func(t *testing.T, server *servers.Server) {
		storetest.RunClaims(t, func(t testing.TB) storetest.ClaimStorage {
			name := schema()
			open := func(t testing.TB) *postgres.Store {
				s, err := postgres.Open(context.Background(), server.URL(), postgres.Config{Schema: name, Connections: 8})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = s.Close() })
				return s
			}
			first := open(t)
			return storetest.ClaimStorage{
				Open: func(t testing.TB) rollcall.Claims { return open(t).Claims() },
				Pass: func(d time.Duration) { age(t, first, name, d) },
				Sweep: func(t testing.TB, group string, window time.Duration) {
					if _, err := first.Upkeep().Sweep(t.Context(), group, window); err != nil {
						t.Fatal(err)
					}
				},
			}
		})
	})
}

// age makes every claim older: the server's clock cannot be set.
func age(t testing.TB, s *postgres.Store, schema string, d time.Duration) {
	t.Helper()
	err := pgx.BeginFunc(context.Background(), s.DB(), func(tx pgx.Tx) error {
		found, err := tx.Query(context.Background(), "SELECT grp, dedup_key, token, done, ends, result FROM "+schema+".claims FOR UPDATE")
		if err != nil {
			return err
		}
		all, err := pgx.CollectRows(found, func(r pgx.CollectableRow) (c rows.Claim, err error) {
			return c, r.Scan(&c.Group, &c.Key, &c.Token, &c.Done, &c.Until, &c.Result)
		})
		for _, c := range all {
			c.Until -= d.Nanoseconds()
			if err == nil {
				_, err = tx.Exec(context.Background(), "UPDATE "+schema+".claims SET ends = $1, crc = $2 WHERE grp = $3 AND dedup_key = $4",
					c.Until, c.Sum(), c.Group, c.Key)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
