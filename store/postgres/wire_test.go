package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/postgres"
	"github.com/rollcall-mq/rollcall/store/storetest"
)

// TestHandlersOwnCalls: a call of the handler's own that fails is its message's
// failure: it spends attempts and goes aside, and nothing waits for it.
func TestHandlersOwnCalls(t *testing.T) {
	cause := oddOne(t, rollcall.ConsumerConfig{}, func(ctx context.Context, _ *bench, _ pgx.Tx) error {
		request, err := http.NewRequestWithContext(ctx, "POST", "http://127.0.0.1:1/", strings.NewReader("{}"))
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return fmt.Errorf("charge: %w", err)
		}
		return answer.Body.Close()
	})
	if !strings.Contains(cause, "charge: ") || !strings.Contains(cause, "refused") {
		t.Errorf("cause %q", cause)
	}
}

// TestOwnConnection: what the store's own connection fails with is nobody's
// fault, whichever call of pgx tells it.
func TestOwnConnection(t *testing.T) {
	b := newBench(t)
	wire := new(storetest.Wire)
	s, err := postgres.Open(t.Context(), servers.Shared(t, servers.Postgres15).URL(), postgres.Config{Schema: b.schema, Dial: wire.Dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for name, call := range map[string]func(tx pgx.Tx) error{
		"Exec":     func(tx pgx.Tx) error { return execText(t.Context(), tx, "SELECT 1") },
		"QueryRow": func(tx pgx.Tx) error { return tx.QueryRow(t.Context(), "SELECT 1").Scan(new(int)) },
		"Query": func(tx pgx.Tx) error {
			rows, err := tx.Query(t.Context(), "SELECT 1")
			if err == nil {
				rows.Close()
				err = rows.Err()
			}
			return err
		},
		"rows half read": func(tx pgx.Tx) error {
			rows, err := tx.Query(t.Context(), "SELECT repeat('x', 1000) FROM generate_series(1, 100000)")
			if err != nil {
				return err
			}
			rows.Next()
			wire.Cut()
			for rows.Next() {
			}
			return rows.Err()
		},
		"SendBatch": func(tx pgx.Tx) error {
			var b pgx.Batch
			b.Queue("SELECT 1")
			return tx.SendBatch(t.Context(), &b).Close()
		},
		"CopyFrom": func(tx pgx.Tx) error {
			_, err := tx.CopyFrom(t.Context(), pgx.Identifier{b.schema, "counts"}, []string{"grp"}, pgx.CopyFromRows([][]any{{"g"}}))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			tx, err := s.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback() }()
			if err := execText(t.Context(), tx.User(), "SELECT 1"); err != nil {
				t.Fatal(err)
			}
			if name != "rows half read" {
				wire.Cut()
			}
			err = call(tx.User())
			if err == nil || s.Classify(err) != rollcall.ClassEnvironment {
				t.Errorf("%v is of class %v, want the environment", err, s.Classify(err))
			}
		})
	}
	if class := s.Classify(fmt.Errorf("charge: %w", errors.New("unexpected EOF"))); class != rollcall.ClassData {
		t.Errorf("a handler's own unexpected EOF is of class %v", class)
	}
}
