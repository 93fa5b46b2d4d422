package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

func noted(t *testing.T) *sqlite.Store {
	s := openNew(t)
	inTx(t, s, func(ctx context.Context, tx rollcall.Tx[*sql.Tx]) {
		must(t, tx.Records().Note(ctx, group, []rollcall.OperatorEntry{{Verb: rollcall.OperatorDiscard, Reason: "why"}}))
	})
	return s
}

// TestLogOnlyGrows: not even SQL by hand changes the operator log.
func TestLogOnlyGrows(t *testing.T) {
	s := noted(t)
	for _, text := range []string{"UPDATE rollcall_log SET reason = 'x'", "DELETE FROM rollcall_log",
		"INSERT OR REPLACE INTO rollcall_log SELECT * FROM rollcall_log", "REPLACE INTO rollcall_log SELECT * FROM rollcall_log WHERE id = 1"} {
		if _, err := s.DB().Exec(text); err == nil || !strings.Contains(err.Error(), "only grows") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if entries, err := s.Upkeep().Entries(t.Context(), group, 0, 10); err != nil || len(entries) != 1 || entries[0].Reason != "why" {
		t.Fatal(entries, err)
	}
}

// TestDamagedLog: an entry that somebody changed all the same is not believed,
// and neither is a roll that is walked over.
func TestDamagedLog(t *testing.T) {
	for _, change := range []string{"reason = 'x'", "grp = 'g'", "numbers = x'00'", "scope = x'00'", "detail = x''||'d'", "at = at + 1", "aside = 7", "operator = 'me'"} {
		s := noted(t)
		run(t, s, "DROP TRIGGER rollcall_log_unchanged; UPDATE rollcall_log SET "+change)
		g := group
		if strings.HasPrefix(change, "grp") {
			g = "g"
		}
		if entries, err := s.Upkeep().Entries(t.Context(), g, 0, 10); !errors.Is(err, rollcall.ErrDamaged) || entries != nil {
			t.Errorf("%s: %v, want ErrDamaged", change, err)
		}
	}
	for _, change := range []string{"data = x'1009'", "scope = x'01'", "crc = crc + 1"} {
		s := openNew(t)
		inTx(t, s, func(ctx context.Context, tx rollcall.Tx[*sql.Tx]) {
			must(t, tx.Records().Write(ctx, group, []rollcall.RollRow{{Scope: rollcall.Scope{Kind: rollcall.ScopeSender}, Data: []byte{0x10, 7}}}))
		})
		run(t, s, "UPDATE rollcall_rolls SET "+change)
		if rolls, err := s.Upkeep().Scan(t.Context(), group, rollcall.Scope{}, 10); !errors.Is(err, rollcall.ErrDamaged) || rolls != nil {
			t.Errorf("%s: %v, want ErrDamaged", change, err)
		}
	}
}
