package postgres_test

import (
	"errors"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/postgres"
	"github.com/rollcall-mq/rollcall/store/storetest"
)

// TestCommitInDoubt: a COMMIT whose answer is lost is in doubt, and it did
// happen, a moment later; one that was never sent surely did not.
func TestCommitInDoubt(t *testing.T) {
	b := newBench(t, "CREATE TABLE ~ledger (n int)")
	wire := new(storetest.Wire)
	s, err := postgres.Open(t.Context(), servers.Shared(t, servers.Postgres15).URL(), postgres.Config{Schema: b.schema, Dial: wire.Dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	commit := func(before func()) error {
		tx, err := s.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := execText(t.Context(), tx.User(), "INSERT INTO "+b.schema+".ledger VALUES (1)"); err != nil {
			t.Fatal(err)
		}
		before()
		return tx.Commit(t.Context())
	}
	if err := commit(func() { wire.Late(isCommit) }); !errors.Is(err, rollcall.ErrInDoubt) {
		t.Fatalf("a COMMIT without an answer: %v, want ErrInDoubt", err)
	}
	for deadline := time.Now().Add(10 * time.Second); b.number("SELECT count(*) FROM ~ledger") != 1; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited 10s for the late COMMIT to happen")
		}
	}
	if err := commit(wire.Cut); err == nil {
		t.Fatal("a COMMIT on a cut connection is no error")
	}
	if n := b.number("SELECT count(*) FROM ~ledger"); n != 1 {
		t.Fatalf("%d rows, want 1", n)
	}
}
