package embedded_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/embedded"
)

// bill is the library in ten lines.
func bill(ctx context.Context, folder string) error {
	db, err := embedded.Open(folder) // a log and a store in one folder, no server
	if err != nil {
		return err
	}
	defer db.Close()
	c := rollcall.NewConsumer("billing", db.Source("orders"), db.Store(),
		func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
			_, err := tx.ExecContext(ctx, `UPDATE account SET balance = balance - 200 WHERE id = ?`, m.Key)
			return err // nil: committed with the record; error: retried, then set aside
		}, rollcall.ConsumerConfig{})
	return c.RunUntilEmpty(ctx) // or Run, which drains when ctx ends
}

func Example() {
	folder, err := os.MkdirTemp("", "shop")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(folder)
	ctx := context.Background()
	if err := sell(ctx, folder); err != nil {
		fmt.Println(err)
		return
	}
	if err := bill(ctx, folder); err != nil {
		fmt.Println(err)
		return
	}
	db, err := embedded.Open(folder)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	var balance int
	if err := db.DB().QueryRow(`SELECT balance FROM account WHERE id = 'ann'`).Scan(&balance); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("ann has", balance)
	// Output: ann has 600
}

// sell opens an account and sends two orders for it.
func sell(ctx context.Context, folder string) error {
	db, err := embedded.Open(folder)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.DB().Exec(`CREATE TABLE account (id TEXT PRIMARY KEY, balance INTEGER); INSERT INTO account VALUES ('ann', 1000)`); err != nil {
		return err
	}
	pub := db.Publisher(rollcall.PublisherConfig{})
	for _, r := range pub.Publish(ctx, "orders", rollcall.Message{Key: "ann"}, rollcall.Message{Key: "ann"}) {
		if r.Fate != rollcall.Stored {
			return r.Err
		}
	}
	return pub.Close(ctx)
}
