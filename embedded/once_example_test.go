package embedded_test

import (
	"context"
	"fmt"
	"os"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/embedded"
)

// A user clicks twice: one payment, and the same receipt.
func ExampleDB_once() {
	folder, err := os.MkdirTemp("", "click")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(folder)
	db, err := embedded.Open(folder)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	if _, err := db.DB().Exec(`CREATE TABLE payment (id INTEGER PRIMARY KEY, amount INTEGER)`); err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		fmt.Println(pay(context.Background(), db, "click-7", 200))
	}
	// Output:
	// payment 1 of 200 <nil>
	// payment 1 of 200 <nil>
}

// pay pays once for each key, whoever calls it how often.
func pay(ctx context.Context, db *embedded.DB, key string, amount int) (string, error) {
	tx, err := db.DB().BeginTx(ctx, nil) // BEGIN IMMEDIATE, as all transactions of DB
	if err != nil {
		return "", err
	}
	defer tx.Rollback() // after Commit it does nothing
	receipt, err := rollcall.Once(ctx, db.Store().Results(tx), rollcall.OnceKey{Scope: "payments", Key: key},
		func(ctx context.Context) (string, error) {
			res, err := tx.ExecContext(ctx, `INSERT INTO payment (amount) VALUES (?)`, amount)
			if err != nil {
				return "", err // what was done is undone, the key stays free
			}
			id, err := res.LastInsertId()
			return fmt.Sprintf("payment %d of %d", id, amount), err
		})
	if err != nil {
		return "", err
	}
	return receipt, tx.Commit()
}
