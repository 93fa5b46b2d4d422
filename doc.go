// Package rollcall sits on the message queue you already run, so that no
// message is lost and none takes effect twice, and it can prove both.
//
// At a roll call everybody is counted once: who is missing is named, who
// answers twice is noticed. Senders number their messages (Stamp); consumers
// keep a roll, the interval set of numbers whose effect is durable, committed
// in the same transaction as the effect. In it already: a duplicate. A hole in
// it: missing, and we can say which.
//
//	db, err := embedded.Open("shop") // a log and a store in one folder, no server
//	if err != nil {
//		return err
//	}
//	defer db.Close()
//	c := rollcall.NewConsumer("billing", db.Source("orders"), db.Store(),
//		func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
//			_, err := tx.ExecContext(ctx, `UPDATE account SET balance = balance - 200 WHERE id = ?`, m.Key)
//			return err // nil: committed with the record; error: retried, then set aside
//		}, rollcall.ConsumerConfig{})
//	return c.Run(ctx) // drains when ctx ends
//
// # The promise
//
// A message whose publication was Stored takes effect once, or lies in the aside table with its bytes and the reason,
// under crashes of senders and workers at any point, lost replies, pauses,
// rebalances, redeliveries and repeats, as long as
//
//   - the effect is made through the transaction that the handler gets, and
//     nowhere else;
//   - the store keeps what it committed;
//   - a repeat comes within DedupConfig.Window;
//   - a sender that may die and send again made the number durable first (the
//     outbox, `rollcall send FILE`), or gave the message an id of its own.
//
// # Where to read
//
// internal/protocol/order.go is the commit protocol, top to bottom; consumer.go
// carries it out. broker.go and store.go are the contracts; broker/memory and
// store/memory are their readable specification, broker/brokertest and
// store/storetest the acceptance tests of drivers. DESIGN.md is the map.
package rollcall
