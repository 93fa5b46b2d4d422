package effect_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, ddl ...string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(filepath.Join(t.TempDir(), "e.db"), sqlite.Config{})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	for _, q := range ddl {
		_, err := s.DB().Exec(q)
		must(t, err)
	}
	return s
}

func tables(t testing.TB, s *sqlite.Store, list ...effect.Table) *effect.Tables {
	t.Helper()
	ts, err := effect.NewTables(s.DB(), effect.SQLite(), list)
	must(t, err)
	return ts
}

func body(format string, args ...any) rollcall.Message {
	return rollcall.Message{Body: fmt.Appendf(nil, format, args...)}
}

// applyOne runs one message.
func applyOne(t testing.TB, s *sqlite.Store, ts *effect.Tables, m rollcall.Message) error {
	t.Helper()
	tx, err := s.Begin(t.Context())
	must(t, err)
	defer tx.Rollback()
	outcome := ts.Handle(t.Context(), tx.User(), m)
	must(t, tx.Commit(t.Context()))
	return outcome
}

type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// dump is a query's answer with the types of its values.
func dump(t testing.TB, db queryer, query string) string {
	t.Helper()
	rows, err := db.QueryContext(context.Background(), query)
	must(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	must(t, err)
	var out []string
	for rows.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		must(t, rows.Scan(into...))
		parts := make([]string, len(columns))
		for i, v := range values {
			parts[i] = fmt.Sprintf("%T:%v", v, v)
		}
		out = append(out, strings.Join(parts, " "))
	}
	must(t, rows.Err())
	return strings.Join(out, "\n")
}

// isData reports an error that is the message's fault and mentions text.
func isData(t testing.TB, err error, text string) {
	t.Helper()
	for _, o := range []error{nil, rollcall.Stale, rollcall.Early, rollcall.Repeated, rollcall.Filtered} {
		if errors.Is(err, o) {
			t.Errorf("outcome %v, want an error about %q", err, text)
			return
		}
	}
	if !strings.Contains(err.Error(), text) {
		t.Errorf("%v does not mention %q", err, text)
	}
}

func wantOutcomes(t testing.TB, got []error, want ...error) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d outcomes, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("message %d: %v, want %v", i, got[i], want[i])
		}
	}
}

func errorMentions(err error, text string) bool { return strings.Contains(err.Error(), text) }
