package memory

import (
	"bytes"
	"cmp"
	"context"
	"fmt"

	"github.com/rollcall-mq/rollcall"
)

// logRow sorts by the number of the entry within its group.
func logRow(group string, id int64) row { return row{"log", fmt.Sprintf("%q %020d", group, id)} }

// Note implements rollcall.TxRecords.
func (r records) Note(ctx context.Context, group string, entries []rollcall.OperatorEntry) error {
	return r.statement(func() error {
		for _, e := range entries {
			r.session.db.sequence++
			e.ID, e.Detail = r.session.db.sequence, bytes.Clone(e.Detail)
			if err := r.put(ctx, logRow(group, e.ID), e); err != nil {
				return err
			}
		}
		return nil
	})
}

// Entries implements rollcall.Upkeep.
func (u upkeep) Entries(_ context.Context, group string, after int64, most int) (out []rollcall.OperatorEntry, err error) {
	most = cmp.Or(max(most, 0), 100)
	err = u.store.do(func(t *Tx) error {
		t.eachOf("log", group, func(_ row, v any) {
			if e := v.(rollcall.OperatorEntry); e.ID > after && len(out) < most {
				out = append(out, e)
			}
		})
		return nil
	})
	return out, err
}

// Scan implements rollcall.Upkeep: a plain read. Keys of rows sort as scopes do.
func (u upkeep) Scan(_ context.Context, group string, after rollcall.Scope, most int) (out []rollcall.RollRow, err error) {
	most = cmp.Or(max(most, 0), 100)
	err = u.store.do(func(t *Tx) error {
		t.eachOf("roll", group, func(r row, v any) {
			if scope := scopeOf(r); scope.Compare(after) > 0 && len(out) < most {
				out = append(out, rollcall.RollRow{Scope: scope, Data: v.(roll).data})
			}
		})
		return nil
	})
	return out, err
}
