// Command orderstates keeps the state of orders though their events come
// repeated and out of order: a late event is stale, an early one waits for the
// one before it, one that the machine does not know is set aside.
//
//	go run ./examples/orderstates
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
	"github.com/rollcall-mq/rollcall/embedded"
)

const orders = 40

var steps = []string{"created", "paid", "shipped", "delivered"}

func main() {
	folder := flag.String("folder", "", "where log and store lie; default: a temporary folder")
	flag.Parse()
	if err := run(context.Background(), *folder); err != nil {
		fmt.Fprintln(os.Stderr, "orderstates:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, folder string) (err error) {
	if folder == "" {
		if folder, err = os.MkdirTemp("", "orderstates"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	}
	db, err := embedded.Open(folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.DB().ExecContext(ctx, `CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, status TEXT NOT NULL)`); err != nil {
		return err
	}
	tables, err := effect.NewTables(db.DB(), effect.SQLite(), []effect.Table{{
		Name: "orders", Mode: effect.Transition, Key: []string{"id"},
		Columns: map[string]string{"id": "payload.order", "status": "payload.status"},
		State: effect.State{Column: "status", Allow: map[string][]string{
			"created": {"paid"}, "paid": {"shipped"}, "shipped": {"delivered"}}},
	}})
	if err != nil {
		return err
	}
	if err := send(ctx, db); err != nil {
		return err
	}
	c := rollcall.NewBatchConsumer("states", db.Source("events"), db.Store(), tables.HandleBatch, rollcall.ConsumerConfig{})
	if err := c.RunUntilEmpty(ctx); err != nil {
		return err
	}
	var delivered int
	if err := db.DB().QueryRowContext(ctx, `SELECT count(*) FROM orders WHERE status = 'delivered'`).Scan(&delivered); err != nil {
		return err
	}
	dead, err := db.Store().Asides().List(ctx, "states", rollcall.AsideFilter{States: []rollcall.AsideState{rollcall.AsideDead}})
	if err != nil {
		return err
	}
	fmt.Println(delivered, "of", orders, "orders are delivered;", len(dead), "impossible event lies aside")
	for _, row := range dead {
		fmt.Printf("  %s: %s\n", row.Message.ID, row.Cause)
	}
	if delivered != orders || len(dead) != 1 {
		return fmt.Errorf("%d delivered and %d aside, want %d and 1", delivered, len(dead), orders)
	}
	return nil
}

// send sends the events of each order shuffled, some twice, and one that the
// machine does not know.
func send(ctx context.Context, db *embedded.DB) error {
	random := rand.New(rand.NewPCG(1, 2))
	var messages []rollcall.Message
	for i := range orders {
		for _, step := range random.Perm(len(steps)) {
			m := event(i, steps[step])
			messages = append(messages, m)
			if random.IntN(3) == 0 {
				messages = append(messages, m)
			}
		}
	}
	messages = append(messages, event(0, "returned"))
	p := db.Publisher(rollcall.PublisherConfig{})
	for _, r := range p.Publish(ctx, "events", messages...) {
		if r.Fate != rollcall.Stored {
			return errors.Join(r.Err, p.Close(ctx))
		}
	}
	return p.Close(ctx)
}

func event(order int, status string) rollcall.Message {
	return rollcall.Message{ID: rollcall.MessageID(fmt.Sprintf("order-%d-%s", order, status)), Key: fmt.Sprint("order-", order),
		Body: fmt.Appendf(nil, `{"order": "order-%d", "status": %q}`, order, status)}
}
