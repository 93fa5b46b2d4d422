package pipeline

import (
	"context"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect/httpsend"
)

// RedisRow makes the outbox row that sets a key of a server that the file names
// (redisset.Message: the driver is not linked here).
type RedisRow func(server, key string, number uint64, value []byte) rollcall.Message

// WithOutbox wraps the handler of the tables (nil: there are none): for each message
// that took effect there, and for no other, it writes a row for each effect of
// the file that lies outside of the database into the outbox of the same
// transaction. X is the type of the store's transactions.
func WithOutbox[X any](f *File, outbox rollcall.Outbox[X], tables rollcall.BatchHandler[X], row RedisRow) rollcall.BatchHandler[X] {
	receivers, sets, forwards := f.receivers(), f.sets(), f.forwards()
	if len(receivers)+len(sets)+len(forwards) == 0 {
		return tables
	}
	return func(ctx context.Context, tx X, ms []rollcall.Message) ([]error, error) {
		// What a message lacks for a row is known before the tables run: a message
		// that fails must leave no trace in them.
		outcomes, rows := make([]error, len(ms)), make([][]rollcall.Message, len(ms))
		var good []int
		for i := range ms {
			if rows[i], outcomes[i] = outboxRows(sets, forwards, &ms[i], row); outcomes[i] == nil {
				good = append(good, i)
			}
		}
		if err := through(ctx, tx, tables, ms, good, outcomes); err != nil {
			return nil, err
		}
		var all []rollcall.Message
		for _, i := range good {
			if outcomes[i] != nil {
				continue
			}
			for _, h := range receivers {
				all = append(all, rollcall.Message{Destination: httpsend.Prefix + h.Name, ID: ms[i].ID, Key: ms[i].Key, Body: ms[i].Body, Time: ms[i].Time})
			}
			all = append(all, rows[i]...)
		}
		if len(all) == 0 {
			return outcomes, nil
		}
		return outcomes, outbox.Enqueue(ctx, tx, all)
	}
}

// outboxRows are the rows of a message that it may lack something for.
func outboxRows(sets []set, forwards []forward, m *rollcall.Message, row RedisRow) ([]rollcall.Message, error) {
	rows, err := redisRows(sets, m, row)
	if err != nil {
		return nil, err
	}
	sent, err := publishRows(forwards, m)
	return append(rows, sent...), err
}

// through runs the tables for some of the messages and notes their outcomes.
func through[X any](ctx context.Context, tx X, tables rollcall.BatchHandler[X], ms []rollcall.Message, which []int, outcomes []error) error {
	if tables == nil || len(which) == 0 {
		return nil
	}
	some := make([]rollcall.Message, len(which))
	for n, i := range which {
		some[n] = ms[i]
	}
	said, err := tables(ctx, tx, some)
	for n := range said {
		outcomes[which[n]] = said[n]
	}
	return err
}
