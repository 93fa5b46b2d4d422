package sqlite_test

import (
	"context"
	"database/sql"
	"encoding/binary"
	"slices"
	"sync"
	"testing"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/interval"
)

// TestBillion: a billion stamped messages of 1,000 lives of one lane each. Every number is
// added, one by one, as a batch adds it; what is stored of them all, in a real file, is
// less than 1 MB.
func TestBillion(t *testing.T) {
	const lives, each = 1000, 1_000_000
	rows := make([]rollcall.RollRow, lives)
	began := time.Now()
	var wg sync.WaitGroup
	for hand := range 2 {
		wg.Go(func() {
			for i := hand; i < lives; i += 2 {
				var done interval.Set
				for n := uint64(1); n <= each; n++ {
					if !done.Add(n) {
						t.Errorf("number %d of life %d is there already", n, i)
						return
					}
				}
				data, err := done.AppendBinary(nil)
				if err != nil {
					t.Error(err)
				}
				var life rollcall.Life
				binary.BigEndian.PutUint64(life[:], uint64(i)*0x9e3779b97f4a7c15)
				rows[i] = rollcall.RollRow{Scope: rollcall.SenderScope(rollcall.Stamp{Life: life, Origin: rollcall.OriginOf("orders"), Sequence: 1}), Data: data}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	s := openNew(t)
	slices.SortFunc(rows, func(a, b rollcall.RollRow) int { return a.Scope.Compare(b.Scope) })
	scopes := make([]rollcall.Scope, lives)
	for i := range rows {
		scopes[i] = rows[i].Scope
	}
	inTx(t, s, func(ctx context.Context, tx rollcall.Tx[*sql.Tx]) {
		_, err := tx.Records().Lock(ctx, "g", scopes)
		must(t, err)
		must(t, tx.Records().Write(ctx, "g", rows))
	})
	stored, err := s.Rolls(t.Context(), "g", scopes)
	must(t, err)
	bytes := 0
	for _, row := range stored {
		roll, err := rollcall.OpenRoll(row)
		must(t, err)
		if roll.Floor() != each || roll.High() != each || !roll.Holds(1, each) {
			t.Fatalf("a roll ends at %d and %d, want %d", roll.Floor(), roll.High(), each)
		}
		bytes += len(row.Data) + len(row.Scope.Bytes())
	}
	if len(stored) != lives || bytes >= 1_000_000 {
		t.Fatalf("%d rolls of %d bytes, want %d and less than 1 MB", len(stored), bytes, lives)
	}
	t.Logf("%d numbers added in %v (%.2f ns each): %d rolls, scopes and data of %d bytes", lives*each, took, float64(took.Nanoseconds())*2/lives/each, lives, bytes)
}
