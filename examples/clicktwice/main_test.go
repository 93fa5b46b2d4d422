//go:build linux

package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := servers.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// TestClicks: ten clicks at the same time on two servers are one payment with
// one answer.
func TestClicks(t *testing.T) {
	database := servers.Shared(t, servers.Postgres15).URL()
	var urls []string
	var one *shop
	for range 2 {
		s, err := open(t.Context(), database)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(s)
		t.Cleanup(func() {
			server.Close()
			_ = s.store.Close()
		})
		urls, one = append(urls, server.URL), s
	}
	const want = `200 {"payment":1,"order":{"to":"bob","amount":200}}`
	answers := make(chan string, 10)
	for n := range cap(answers) {
		go func() { answers <- click(urls[n%2], "order-1", `{"to": "bob", "amount": 200}`) }()
	}
	for range cap(answers) {
		if got := <-answers; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := click(urls[0], "order-1", `{"to": "eve", "amount": 200}`); !strings.HasPrefix(got, "422 ") {
		t.Errorf("another payee under the same key: %s, want 422", got)
	}
	if got := click(urls[1], "", `{}`); !strings.HasPrefix(got, "400 ") {
		t.Errorf("no key: %s, want 400", got)
	}
	var payments int
	if err := one.store.DB().QueryRow(t.Context(), `SELECT count(*) FROM payment`).Scan(&payments); err != nil || payments != 1 {
		t.Fatalf("%d payments %v, want 1", payments, err)
	}
}

func click(url, key, body string) string {
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(res.StatusCode, " ", strings.TrimSpace(string(text)))
}
