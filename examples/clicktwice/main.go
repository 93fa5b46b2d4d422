// Command clicktwice is a payment page on PostgreSQL: who clicks twice pays once
// and gets the same answer, also when the clicks come to two servers at the same
// time. Start it twice on two ports, and click on both:
//
//	go run ./examples/clicktwice -postgres postgres://localhost/shop -listen :8080
//	curl -d '{"to": "bob", "amount": 200}' -H 'Idempotency-Key: order-1' localhost:8080
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/postgres"
)

func main() {
	url := flag.String("postgres", "", "the database")
	listen := flag.String("listen", "127.0.0.1:8080", "host:port")
	flag.Parse()
	ctx := context.Background()
	s, err := open(ctx, *url)
	if err == nil {
		fmt.Println("listening on", *listen)
		server := &http.Server{Addr: *listen, Handler: s, ReadHeaderTimeout: 5 * time.Second}
		err = errors.Join(server.ListenAndServe(), s.store.Close())
	}
	fmt.Fprintln(os.Stderr, "clicktwice:", err)
	os.Exit(1)
}

// shop serves payments.
type shop struct{ store *postgres.Store }

func open(ctx context.Context, url string) (*shop, error) {
	store, err := postgres.Open(ctx, url, postgres.Config{})
	if err != nil {
		return nil, err
	}
	// Nothing in this table refuses a second payment.
	_, err = store.DB().Exec(ctx, `CREATE TABLE IF NOT EXISTS payment (id bigint GENERATED ALWAYS AS IDENTITY, payee text, amount bigint)`)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &shop{store}, nil
}

// order is what is asked for, receipt what is answered.
type order struct {
	To     string `json:"to"`
	Amount int64  `json:"amount"`
}

type receipt struct {
	Payment int64 `json:"payment"`
	Order   order `json:"order"`
}

// ServeHTTP answers a click. Of several users the user belongs into the key as
// well, so that none gets the receipt of another.
func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		http.Error(w, "send an Idempotency-Key, the same one for each click on one button", http.StatusBadRequest)
		return
	}
	var o order
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
	if err == nil {
		err = json.Unmarshal(body, &o)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	paid, err := s.pay(r.Context(), rollcall.OnceKey{Scope: "payments", Key: key, Content: body}, o)
	switch {
	case errors.Is(err, rollcall.ErrKeyReused):
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
	case err != nil: // whatever it was: the same click again finds out
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	default:
		_ = json.NewEncoder(w).Encode(paid) // who has gone may click again
	}
}

// pay pays in a transaction in which it is recorded that it did. A second click
// waits in Once for the first one's COMMIT.
func (s *shop) pay(ctx context.Context, key rollcall.OnceKey, o order) (paid receipt, err error) {
	err = pgx.BeginFunc(ctx, s.store.DB(), func(tx pgx.Tx) error {
		paid, err = rollcall.Once(ctx, s.store.Results(tx), key, func(ctx context.Context) (receipt, error) {
			var id int64
			err := tx.QueryRow(ctx, `INSERT INTO payment (payee, amount) VALUES ($1, $2) RETURNING id`, o.To, o.Amount).Scan(&id)
			return receipt{id, o}, err
		})
		return err
	})
	return paid, err
}
