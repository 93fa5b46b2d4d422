package sqlite

import (
	"context"
	"database/sql"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/dialect"
	"github.com/rollcall-mq/rollcall/store/internal/rows"
)

// Note appends to the operator log of the group.
func (t *Tx) Note(ctx context.Context, group string, entries []rollcall.OperatorEntry) error {
	for i := range entries {
		e := rows.NewEntry(group, &entries[i])
		_, err := t.exec(ctx, `INSERT INTO rollcall_log (grp, at, operator, verb, reason, aside, message_id, destination, scope, numbers, detail, crc)
			VALUES `+dialect.List(12), group, e.At, e.Operator, e.Verb, e.Reason, e.Entry.Aside, e.ID, e.Entry.Destination,
			e.Scope, e.Numbers, e.Entry.Detail, e.Crc)
		if err != nil {
			return t.s.wrap("write the operator log", err)
		}
	}
	return nil
}

// Entries reads the operator log of the group.
func (u upkeep) Entries(ctx context.Context, group string, after int64, max int) ([]rollcall.OperatorEntry, error) {
	if err := u.s.open(); err != nil {
		return nil, err
	}
	var out []rollcall.OperatorEntry
	err := each(ctx, u.s.reader, "SELECT "+rows.EntryColumns+" FROM rollcall_log WHERE grp = ? AND id > ? ORDER BY id LIMIT ?",
		[]any{group, after, most(max)}, func(r *sql.Rows) error {
			var row rows.Entry
			if err := r.Scan(row.Dest()...); err != nil {
				return err
			}
			e, err := row.Open()
			out = append(out, e)
			return err
		})
	if err != nil {
		return nil, u.s.wrap("read the operator log", err)
	}
	return out, nil
}

// Scan reads the rolls of the group behind a scope, beside the writer.
func (u upkeep) Scan(ctx context.Context, group string, after rollcall.Scope, max int) ([]rollcall.RollRow, error) {
	if err := u.s.open(); err != nil {
		return nil, err
	}
	var out []rollcall.RollRow
	err := each(ctx, u.s.reader, "SELECT scope, data, crc FROM rollcall_rolls WHERE grp = ? AND scope > ? AND data IS NOT NULL ORDER BY scope LIMIT ?",
		[]any{group, after.Bytes(), most(max)}, func(r *sql.Rows) error {
			var scope, data []byte
			var sum int64
			if err := r.Scan(&scope, &data, &sum); err != nil {
				return err
			}
			row, err := rows.ScanRoll(group, scope, data, sum)
			out = append(out, row)
			return err
		})
	if err != nil {
		return nil, u.s.wrap("walk the rolls", err)
	}
	return out, nil
}
