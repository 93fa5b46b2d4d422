// Command doubleclick is a payment page and an impatient user: two POSTs with
// one Idempotency-Key at the same time are one payment, and both get the same
// answer. Run it on a folder, kill -9 it before COMMIT, run it again.
//
//	go run ./examples/doubleclick -folder /tmp/click -pause 10s
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/embedded"
)

func main() {
	folder := flag.String("folder", "", "where the store lies; default: a temporary folder")
	pause := flag.Duration("pause", 0, "wait before each COMMIT, to have time for kill -9")
	flag.Parse()
	if err := run(context.Background(), *folder, *pause); err != nil {
		fmt.Fprintln(os.Stderr, "doubleclick:", err)
		os.Exit(1)
	}
}

// order is what is asked for, receipt what is answered.
type order struct {
	To     string
	Amount int
}

type receipt struct {
	Payment int64
	Order   order
}

// shop serves payments.
type shop struct {
	db    *embedded.DB
	pause time.Duration
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

// pay pays in a transaction in which it is recorded that it did. Transactions of
// db.DB() are BEGIN IMMEDIATE: the second click waits there for the first.
func (s *shop) pay(ctx context.Context, key rollcall.OnceKey, o order) (receipt, error) {
	tx, err := s.db.DB().BeginTx(ctx, nil)
	if err != nil {
		return receipt{}, err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	paid, err := rollcall.Once(ctx, s.db.Store().Results(tx), key, func(ctx context.Context) (receipt, error) {
		res, err := tx.ExecContext(ctx, `INSERT INTO payment (payee, amount) VALUES (?, ?)`, o.To, o.Amount)
		if err != nil {
			return receipt{}, err
		}
		id, err := res.LastInsertId()
		return receipt{id, o}, err
	})
	if err != nil {
		return receipt{}, err
	}
	if s.pause > 0 {
		fmt.Println("paid, COMMIT comes in", s.pause)
		time.Sleep(s.pause)
	}
	return paid, tx.Commit()
}

func run(ctx context.Context, folder string, pause time.Duration) (err error) {
	if folder == "" {
		if folder, err = os.MkdirTemp("", "doubleclick"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	}
	db, err := embedded.Open(folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	// Nothing in this table refuses a second payment.
	if _, err := db.DB().ExecContext(ctx, `CREATE TABLE IF NOT EXISTS payment (id INTEGER PRIMARY KEY, payee TEXT, amount INTEGER)`); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: &shop{db, pause}, ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	wrong := click(ctx, "http://"+listener.Addr().String())
	if err := errors.Join(wrong, server.Shutdown(ctx)); err != nil {
		return err
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	var payments int
	if err := db.DB().QueryRowContext(ctx, `SELECT count(*) FROM payment`).Scan(&payments); err != nil {
		return err
	}
	fmt.Println("payments:", payments)
	if payments != 1 {
		return fmt.Errorf("%d payments, want 1", payments)
	}
	return nil
}

// answer is what a click got.
type answer struct {
	status int
	text   string
	err    error
}

// click is the impatient user.
func click(ctx context.Context, url string) error {
	const body = `{"To": "bob", "Amount": 200}`
	first, second := make(chan answer, 1), make(chan answer, 1)
	for _, c := range []chan answer{first, second} {
		go func() { c <- post(ctx, url, "order-1", body) }()
	}
	one, two := <-first, <-second
	other := post(ctx, url, "order-1", `{"To": "eve", "Amount": 200}`)
	without := post(ctx, url, "", body)
	fmt.Printf("click:            %d %s\nclick again:      %d %s\nanother payee:    %d %s\nwithout a key:    %d %s\n",
		one.status, one.text, two.status, two.text, other.status, other.text, without.status, without.text)
	if err := errors.Join(one.err, two.err, other.err, without.err); err != nil {
		return err
	}
	if one.status != 200 || one != two || other.status != 422 || without.status != 400 {
		return errors.New("want 200 and the same answer twice, then 422 and 400")
	}
	return nil
}

func post(ctx context.Context, url, key, body string) answer {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, strings.TrimSpace(string(text)), err}
}
