package memory

import (
	"context"
	"fmt"

	"github.com/rollcall-mq/rollcall"
)

// outbox implements rollcall.Outbox[*Tx] and rollcall.Attempts.
type outbox struct{ store *Store }

func outboxRow(id int64) row { return row{"outbox", fmt.Sprintf("%020d", id)} }

// Enqueue implements rollcall.Outbox.
func (o outbox) Enqueue(ctx context.Context, tx *Tx, messages []rollcall.Message) error {
	return tx.statement(func() error {
		for _, m := range messages {
			o.store.db.sequence++
			id := o.store.db.sequence
			if err := tx.put(ctx, outboxRow(id), rollcall.OutboxRow{ID: id, Message: m}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Pending implements rollcall.Outbox.
func (o outbox) Pending(_ context.Context, most int) ([]rollcall.OutboxRow, error) {
	var out []rollcall.OutboxRow
	err := o.store.do(func(t *Tx) error {
		t.session.scan("outbox", func(_ string, v any) {
			if x := v.(rollcall.OutboxRow); !kept(x) && len(out) < most {
				out = append(out, x)
			}
		})
		return nil
	})
	return out, err
}

// Stamp implements rollcall.Outbox.
func (o outbox) Stamp(ctx context.Context, hold rollcall.Hold, rows []rollcall.OutboxRow) error {
	return o.store.do(func(t *Tx) error {
		if err := t.fence(ctx, hold); err != nil {
			return err
		}
		for _, x := range rows {
			if err := t.put(ctx, outboxRow(x.ID), x); err != nil {
				return err
			}
		}
		return nil
	})
}

// Remove implements rollcall.Outbox.
func (o outbox) Remove(ctx context.Context, hold rollcall.Hold, rows []rollcall.OutboxRow) error {
	return o.store.do(func(t *Tx) error {
		if err := t.fence(ctx, hold); err != nil {
			return err
		}
		for _, x := range rows {
			var keep any
			if x.Refusal != "" {
				keep = x
			}
			if err := t.put(ctx, outboxRow(x.ID), keep); err != nil {
				return err
			}
		}
		return nil
	})
}

// kept rows wait for an operator.
func kept(x rollcall.OutboxRow) bool { return x.Refusal != "" || x.Doubt != "" }

// take locks a row and reads it.
func (t *Tx) take(ctx context.Context, id int64) (x rollcall.OutboxRow, found bool, err error) {
	at := outboxRow(id)
	if err := t.session.lock(ctx, at, true); err != nil {
		return x, false, err
	}
	v, found := t.session.read(at)
	if found {
		x = v.(rollcall.OutboxRow)
	}
	return x, found, nil
}

// Open implements rollcall.Attempts.
func (o outbox) Open(ctx context.Context, hold rollcall.Hold, rows []rollcall.OutboxRow) error {
	return o.store.do(func(t *Tx) error {
		if err := t.fence(ctx, hold); err != nil {
			return err
		}
		for _, row := range rows {
			x, found, err := t.take(ctx, row.ID)
			if err != nil {
				return err
			}
			if !found || x.Attempt != 0 || kept(x) {
				return fmt.Errorf("memory: row %d of the outbox does not wait to be sent; nothing was written", row.ID)
			}
			x.Attempt = hold.Token
			if err := t.put(ctx, outboxRow(row.ID), x); err != nil {
				return err
			}
		}
		return nil
	})
}

// Settle implements rollcall.Attempts.
func (o outbox) Settle(ctx context.Context, row rollcall.OutboxRow, fate rollcall.Fate) (noted bool, err error) {
	err = o.store.do(func(t *Tx) error {
		x, found, err := t.take(ctx, row.ID)
		if err != nil || !found || x.Attempt == 0 || x.Attempt != row.Attempt || x.Refusal != "" {
			return err
		}
		noted = true
		if fate == rollcall.Stored {
			return t.put(ctx, outboxRow(row.ID), nil)
		}
		x.Refusal, x.Doubt = row.Refusal, row.Doubt
		if x.Doubt == "" {
			x.Attempt = 0
		}
		return t.put(ctx, outboxRow(row.ID), x)
	})
	return noted && err == nil, err
}

// Kept implements rollcall.Attempts.
func (o outbox) Kept(_ context.Context, after int64, most int) ([]rollcall.OutboxRow, error) {
	var out []rollcall.OutboxRow
	err := o.store.do(func(t *Tx) error {
		t.session.scan("outbox", func(_ string, v any) {
			if x := v.(rollcall.OutboxRow); kept(x) && x.ID > after && len(out) < most {
				out = append(out, x)
			}
		})
		return nil
	})
	return out, err
}

// Redrive implements rollcall.Attempts.
func (o outbox) Redrive(ctx context.Context, ids []int64) (int, error) {
	return o.decide(ctx, ids, func(x rollcall.OutboxRow) any {
		return rollcall.OutboxRow{ID: x.ID, Message: x.Message}
	})
}

// Discard implements rollcall.Attempts.
func (o outbox) Discard(ctx context.Context, ids []int64) (int, error) {
	return o.decide(ctx, ids, func(rollcall.OutboxRow) any { return nil })
}

func (o outbox) decide(ctx context.Context, ids []int64, to func(rollcall.OutboxRow) any) (n int, err error) {
	err = o.store.do(func(t *Tx) error {
		n = 0
		for _, id := range ids {
			x, found, err := t.take(ctx, id)
			if err != nil {
				return err
			}
			if !found || !kept(x) {
				continue
			}
			n++
			if err := t.put(ctx, outboxRow(id), to(x)); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}
