package sqlstore

import (
	"context"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/internal/rows"
)

// Note appends to the operator log of the group.
func (r Records) Note(ctx context.Context, group string, entries []rollcall.OperatorEntry) error {
	for i := range entries {
		e := rows.NewEntry(group, &entries[i])
		query, list := r.D.insert("log", 1, "", value("grp", "text", group), list("at", "bigint", []int64{e.At}),
			value("operator", "bytea", e.Operator), value("verb", "text", e.Verb), value("reason", "bytea", e.Reason),
			value("aside", "bigint", e.Entry.Aside), value("message_id", "bytea", e.ID), value("destination", "text", e.Entry.Destination),
			value("scope", "bytea", e.Scope), value("numbers", "bytea", e.Numbers), value("detail", "bytea", e.Entry.Detail), value("crc", "bigint", e.Crc))
		if err := r.Q.Later(ctx, query, list...); err != nil {
			return r.Database.Wrap("write the operator log", err)
		}
	}
	return nil
}

// Entries reads the operator log of the group.
func (u Upkeep) Entries(ctx context.Context, group string, after int64, max int) ([]rollcall.OperatorEntry, error) {
	q, err := u.Database.Read()
	if err != nil {
		return nil, err
	}
	var out []rollcall.OperatorEntry
	err = q.Query(ctx, "SELECT "+rows.EntryColumns+" FROM rollcall.log WHERE grp = ? AND id > ? ORDER BY id LIMIT ?",
		args(group, after, most(max)), func(r Row) error {
			var row rows.Entry
			if err := r.Scan(row.Dest()...); err != nil {
				return err
			}
			e, err := row.Open()
			out = append(out, e)
			return err
		})
	if err != nil {
		return nil, u.Database.Wrap("read the operator log", err)
	}
	return out, nil
}

// Scan reads the rolls of the group behind a scope, without locks.
func (u Upkeep) Scan(ctx context.Context, group string, after rollcall.Scope, max int) ([]rollcall.RollRow, error) {
	q, err := u.Database.Read()
	if err != nil {
		return nil, err
	}
	var out []rollcall.RollRow
	err = q.Query(ctx, "SELECT scope, data, crc FROM rollcall.rolls WHERE grp = ? AND scope > ? AND data IS NOT NULL ORDER BY scope LIMIT ?",
		args(group, after.Bytes(), most(max)), func(r Row) error {
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
		return nil, u.Database.Wrap("walk the rolls", err)
	}
	return out, nil
}
