package memory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// results implements rollcall.Results.
type results struct {
	*Tx
	marks []int // what Undo goes back to, for each key taken: fn may call Once itself
}

// result is the row of a key.
type result struct {
	content rollcall.Fingerprint
	done    bool
	data    []byte
	at      time.Time
}

func resultRow(scope string, k rollcall.DedupKey) row {
	return row{"result", fmt.Sprintf("%q %x", scope, k)}
}

// Results keeps the first results of rollcall.Once in a transaction.
func (s *Store) Results(tx *Tx) rollcall.Results { return &results{Tx: tx} }

// Take implements rollcall.Results. The lock on the key waits for another
// transaction that took it.
func (r *results) Take(ctx context.Context, scope string, k rollcall.DedupKey, content rollcall.Fingerprint) (out rollcall.Recorded, err error) {
	err = r.statement(func() error {
		at, mark := resultRow(scope, k), len(r.session.undo)
		if err := r.session.lock(ctx, at, true); err != nil {
			return err
		}
		if v, taken := r.session.read(at); taken {
			had := v.(result)
			out = rollcall.Recorded{Done: had.done, Content: had.content, Result: had.data}
			return nil
		}
		r.marks = append(r.marks, mark)
		r.session.write(at, result{content: content, at: r.store.now()})
		out.Fresh = true
		return nil
	})
	return out, err
}

// Keep implements rollcall.Results.
func (r *results) Keep(_ context.Context, scope string, k rollcall.DedupKey, data []byte) error {
	return r.statement(func() error {
		v, taken := r.session.read(resultRow(scope, k))
		if len(r.marks) == 0 || !taken {
			return errNotTaken
		}
		had := v.(result)
		if had.done {
			return errNotTaken
		}
		r.session.write(resultRow(scope, k), result{content: had.content, done: true, data: append([]byte{}, data...), at: r.store.now()})
		r.marks = r.marks[:len(r.marks)-1]
		return nil
	})
}

// Undo implements rollcall.Results.
func (r *results) Undo(context.Context) error {
	return r.statement(func() error {
		last := len(r.marks) - 1
		if last < 0 || r.marks[last] > len(r.session.undo) {
			return errNotTaken
		}
		r.session.rollbackTo(r.marks[last])
		r.marks = r.marks[:last]
		return nil
	})
}

var errNotTaken = errors.New("memory: no key is taken in this transaction")
