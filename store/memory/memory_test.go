package memory_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/memory"
	"github.com/rollcall-mq/rollcall/store/storetest"
)

func TestStore(t *testing.T) { storetest.Run(t, harness) }

func harness(t testing.TB) storetest.Storage[*memory.Tx] {
	db := memory.NewDatabase(memory.Config{})
	holder, err := memory.Open(db).Begin(context.Background())
	if err == nil {
		err = holder.User().Put(context.Background(), "slow", "row", true)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Rollback() })
	return storetest.Storage[*memory.Tx]{
		Open:   func(testing.TB) rollcall.Store[*memory.Tx] { return memory.Open(db) },
		Record: func(ctx context.Context, tx *memory.Tx, line string) error { return tx.Append(ctx, "ledger", line) },
		Ledger: func(testing.TB) []string {
			var out []string
			for _, line := range db.All("ledger") {
				out = append(out, line.(string))
			}
			return out
		},
		Slow: func(ctx context.Context, tx *memory.Tx) error {
			return tx.Put(ctx, "slow", "row", true) // waits for holder
		},
		Writers:   true,
		Deadlocks: db.Deadlocks,
		LateCommit: func() {
			used := false
			db.OnCommit(func() memory.CommitFault {
				if used {
					return memory.CommitFault{}
				}
				used = true
				return memory.CommitFault{Lost: true, Late: 50 * time.Millisecond}
			})
		},
		ShortDeadline: func() { db.SetIdle(200 * time.Millisecond) },
		Results: func(s rollcall.Store[*memory.Tx], tx *memory.Tx) rollcall.Results {
			return s.(*memory.Store).Results(tx)
		},
	}
}

func TestOnce(t *testing.T) { storetest.RunOnce(t, harness) }

func TestClaims(t *testing.T) {
	storetest.RunClaims(t, func(testing.TB) storetest.ClaimStorage {
		db, begun := memory.NewDatabase(memory.Config{}), time.Now()
		var passed atomic.Int64
		open := func() *memory.Store {
			s := memory.Open(db)
			s.SetNow(func() time.Time { return begun.Add(time.Duration(passed.Load())) })
			return s
		}
		return storetest.ClaimStorage{
			Open: func(testing.TB) rollcall.Claims { return open().Claims() },
			Pass: func(d time.Duration) { passed.Add(int64(d)) },
			Sweep: func(t testing.TB, group string, window time.Duration) {
				if _, err := open().Upkeep().Sweep(context.Background(), group, window); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}
