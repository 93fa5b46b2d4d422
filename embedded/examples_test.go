package embedded_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
	"github.com/rollcall-mq/rollcall/embedded"
)

// shop opens a new folder with a table; the examples end with the process.
func shop(table string) *embedded.DB {
	folder, err := os.MkdirTemp("", "shop")
	if err != nil {
		panic(err)
	}
	db, err := embedded.Open(folder)
	if err == nil {
		_, err = db.DB().Exec(table)
	}
	if err != nil {
		panic(err)
	}
	return db
}

// silent keeps the log out of the examples' output.
var silent = rollcall.SlogObserver(slog.New(slog.NewTextHandler(io.Discard, nil)))

// A message that fails is tried again, then set aside with its bytes and the
// reason. Redriven, it takes effect once.
func Example_deadLetters() {
	ctx := context.Background()
	db := shop(`CREATE TABLE sales (id TEXT)`)
	p := db.Publisher(rollcall.PublisherConfig{})
	p.Publish(ctx, "orders", rollcall.Message{ID: "order-1"}, rollcall.Message{ID: "order-2"})
	_ = p.Close(ctx)
	closed := true
	c := rollcall.NewConsumer("shop", db.Source("orders"), db.Store(), func(ctx context.Context, tx *sql.Tx, m rollcall.Message) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO sales VALUES (?)`, string(m.ID)); err != nil {
			return err
		}
		if closed && m.ID == "order-2" {
			return errors.New("the account is closed") // what it inserted is undone
		}
		return nil
	}, rollcall.ConsumerConfig{Observer: silent, Retry: rollcall.RetryConfig{Attempts: 2, First: time.Millisecond}})
	fmt.Println(c.RunUntilEmpty(ctx))

	dead, _ := db.Store().Asides().List(ctx, "shop", rollcall.AsideFilter{States: []rollcall.AsideState{rollcall.AsideDead}})
	fmt.Println(dead[0].Message.ID, dead[0].Cause)

	closed = false
	n, err := rollcall.Redrive(ctx, db.Store(), "shop", dead, rollcall.Operation{Operator: "Zoe", Reason: "the account is open again"})
	fmt.Println(n, err, c.RunUntilEmpty(ctx))
	var sales int
	_ = db.DB().QueryRow(`SELECT count(*) FROM sales`).Scan(&sales)
	fmt.Println(sales, "sales")
	// Output:
	// <nil>
	// order-2 the account is closed
	// 1 <nil> <nil>
	// 2 sales
}

// A table effect needs no handler: versions that come late change nothing.
func Example_tableEffect() {
	ctx := context.Background()
	db := shop(`CREATE TABLE price (article TEXT PRIMARY KEY, cents INTEGER NOT NULL, version INTEGER NOT NULL)`)
	tables, err := effect.NewTables(db.DB(), effect.SQLite(), []effect.Table{{
		Name: "price", Mode: effect.Versioned, Key: []string{"article"}, Version: effect.Version{Column: "version"},
		Columns: map[string]string{"article": "payload.article", "cents": "payload.cents", "version": "payload.version"}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	p := db.Publisher(rollcall.PublisherConfig{})
	for _, body := range []string{`{"article": "tea", "cents": 300, "version": 2}`, `{"article": "tea", "cents": 250, "version": 1}`} {
		p.Publish(ctx, "prices", rollcall.Message{Key: "tea", Body: []byte(body)})
	}
	_ = p.Close(ctx)
	c := rollcall.NewBatchConsumer("prices", db.Source("prices"), db.Store(), tables.HandleBatch, rollcall.ConsumerConfig{Observer: silent})
	fmt.Println(c.RunUntilEmpty(ctx))
	var cents int
	_ = db.DB().QueryRow(`SELECT cents FROM price`).Scan(&cents)
	fmt.Println("tea costs", cents)
	// Output:
	// <nil>
	// tea costs 300
}

// A row and the message about it become durable together; the relay sends it.
func Example_outbox() {
	ctx := context.Background()
	db := shop(`CREATE TABLE orders (id TEXT PRIMARY KEY)`)
	tx, err := db.DB().BeginTx(ctx, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO orders VALUES ('order-1')`)
	err = errors.Join(err, db.Store().Outbox().Enqueue(ctx, tx, []rollcall.Message{{Destination: "orders", ID: "order-1"}}), tx.Commit())
	fmt.Println(err)
	relay := rollcall.NewRelay(db.Store(), db.Sender(), rollcall.RelayConfig{Observer: silent})
	fmt.Println(relay.Drain(ctx))
	extents, err := db.Source("orders").Measure(ctx)
	stored := int64(0)
	for _, x := range extents {
		stored += x.End - x.First
	}
	fmt.Println(stored, "stored", err)
	// Output:
	// <nil>
	// <nil>
	// 1 stored <nil>
}
