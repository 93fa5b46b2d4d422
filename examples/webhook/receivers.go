package main

import (
	"context"
	"crypto/hmac"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-mq/rollcall/effect/httpsend"
)

const secret = "known to both ends"

// receivers are the bank and the mailer. They keep a ledger in a file of their
// own, without a unique index: what they do twice stands there twice.
type receivers struct {
	pause  time.Duration
	url    string
	ledger *sql.DB
	server *http.Server
	ended  chan error
}

func (r *receivers) open(folder string) (err error) {
	if r.ledger, err = sql.Open("sqlite", "file:"+filepath.Join(folder, "ledger.db")+"?_txlock=immediate&_pragma=busy_timeout(10000)"); err != nil {
		return err
	}
	if _, err := r.ledger.Exec(`CREATE TABLE IF NOT EXISTS done (receiver TEXT, key TEXT)`); err != nil {
		return errors.Join(err, r.ledger.Close())
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, r.ledger.Close())
	}
	r.url = "http://" + listener.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /bank", r.bank)
	mux.HandleFunc("POST /mail", r.mail)
	r.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	r.ended = make(chan error, 1)
	go func() { r.ended <- r.server.Serve(listener) }()
	return nil
}

func (r *receivers) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := r.server.Shutdown(ctx)
	if ended := <-r.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return errors.Join(err, r.ledger.Close())
}

// bank honours the key: a second request with it is answered and not done.
func (r *receivers) bank(w http.ResponseWriter, req *http.Request) {
	r.serve(w, req, func(key string) error {
		if done, err := r.did(req.Context(), "bank", key); done || err != nil {
			return err
		}
		return r.do("bank", key)
	})
}

// mail does whatever it is asked to.
func (r *receivers) mail(w http.ResponseWriter, req *http.Request) {
	r.serve(w, req, func(key string) error { return r.do("mail", key) })
}

func (r *receivers) serve(w http.ResponseWriter, req *http.Request, do func(key string) error) {
	key := req.Header.Get("Idempotency-Key")
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 64<<10))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !signed(req.Header.Get(httpsend.SignatureHeader), key, body) {
		http.Error(w, "the signature is wrong or old", http.StatusUnauthorized)
		return
	}
	if err := do(key); err != nil {
		http.Error(w, "try again", http.StatusInternalServerError)
		return
	}
	time.Sleep(r.pause) // done, and nobody knows yet
	w.WriteHeader(http.StatusNoContent)
}

// signed is what a receiver does with a signature.
func signed(signature, key string, body []byte) bool {
	seconds, _, _ := strings.Cut(strings.TrimPrefix(signature, "t="), ",")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	at := time.Unix(unix, 0)
	want := httpsend.Signature([]byte(secret), at, key, body)
	return err == nil && hmac.Equal([]byte(signature), []byte(want)) && time.Since(at).Abs() < 5*time.Minute
}

func (r *receivers) do(receiver, key string) error {
	_, err := r.ledger.Exec(`INSERT INTO done VALUES (?, ?)`, receiver, key)
	return err
}

func (r *receivers) did(ctx context.Context, receiver, key string) (done bool, err error) {
	err = r.ledger.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM done WHERE receiver = ? AND key = ?)`, receiver, key).Scan(&done)
	return done, err
}

// compare reads the ledger: each order once at each receiver.
func (r *receivers) compare(ctx context.Context) error {
	var effects, distinct int
	err := r.ledger.QueryRowContext(ctx, `SELECT count(*), count(DISTINCT receiver || key) FROM done`).Scan(&effects, &distinct)
	if err != nil {
		return err
	}
	fmt.Printf("%d orders: %d calls took effect, %d of them different\n", orders, effects, distinct)
	if effects != 2*orders || distinct != 2*orders {
		return fmt.Errorf("want %d, each once", 2*orders)
	}
	return nil
}
