package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

// Real processes on one file: each goroutine of each does all the keys, and one
// process is killed with a key in hand. The ledger has no unique index.

const (
	businesses = 60
	// A lease must outlast the stalls of a busy test machine: two effects by a
	// holder that was only slow would be the documented limit, not a bug.
	testLease = 4 * time.Second
)

// onceChild is a child process of two goroutines. A victim goes through the keys
// backwards and stops in its third at the step, until it is killed.
func onceChild(s *sqlite.Store, do string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	what, step, _ := strings.Cut(do, " ")
	var mu sync.Mutex
	fresh := 0
	at := func(here string, key int) {
		if here != step {
			return
		}
		mu.Lock() // the other goroutine goes on until it comes here
		defer mu.Unlock()
		if fresh++; fresh == 3 {
			fmt.Printf("at %s: key %d\n", here, key)
			select {}
		}
	}
	run := onceBusiness
	if what == "claim" {
		run = claimBusiness
	}
	failed := make(chan error, 2)
	for range 2 {
		go func() {
			var err error
			for i := 0; i < businesses && err == nil; i++ {
				key := i
				if step != "" {
					key = businesses - 1 - i
				}
				err = run(ctx, s, key, at)
			}
			failed <- err
		}()
	}
	return errors.Join(<-failed, <-failed)
}

// onceBusiness is one call of Once in a transaction of its own.
func onceBusiness(ctx context.Context, s *sqlite.Store, key int, at func(string, int)) error {
	tx, err := s.DB().BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	fresh := false
	line := fmt.Sprintf("%d by %d", key, os.Getpid())
	result, err := rollcall.Once(ctx, s.Results(tx), rollcall.OnceKey{Scope: group, Key: fmt.Sprint(key)}, func(ctx context.Context) (string, error) {
		fresh = true
		_, err := tx.ExecContext(ctx, "INSERT INTO ledger (line) VALUES (?)", line)
		return line, err
	})
	if err != nil {
		return err
	}
	if fresh {
		at("between-fn-and-COMMIT", key)
	} else if !strings.HasPrefix(result, fmt.Sprintf("%d by ", key)) {
		return fmt.Errorf("key %d: its result is %q", key, result)
	}
	return tx.Commit()
}

// claimBusiness claims until the key is done. In receiver.db the receiver accepts
// our key, as Claims demands where a holder may die after its effect.
func claimBusiness(ctx context.Context, s *sqlite.Store, key int, at func(string, int)) error {
	insert := "INSERT INTO ledger (line) VALUES (?)"
	if strings.HasSuffix(s.Path(), "receiver.db") {
		insert = "INSERT INTO ledger (line) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM ledger WHERE substr(line, 1, instr(line, ' ')) = '" + fmt.Sprint(key) + " ')"
	}
	for {
		c, err := s.Claims().Claim(ctx, group, dedupKey(key), testLease)
		if err != nil || c.State == rollcall.ClaimDone {
			return err
		}
		if c.State == rollcall.ClaimFresh {
			at("claimed", key)
			line := fmt.Sprintf("%d by %d", key, os.Getpid())
			if _, err := s.DB().ExecContext(ctx, insert, line); err != nil {
				return err
			}
			at("between-effect-and-Complete", key)
			return s.Claims().Complete(ctx, group, dedupKey(key), c.Token, []byte(line), time.Hour)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// waitFor waits for the end of a child.
func waitFor(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("process %d: %v", cmd.Process.Pid, err)
		}
	case <-time.After(60 * time.Second):
		_ = cmd.Process.Kill()
		<-done
		t.Errorf("waited 60s for process %d to do its keys", cmd.Process.Pid)
	}
}

func TestKilledWithKeyInHand(t *testing.T) {
	for do, file := range map[string]string{
		"once between-fn-and-COMMIT":        "s.db",
		"claim claimed":                     "s.db",
		"claim between-effect-and-Complete": "receiver.db",
	} {
		t.Run(do, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), file)
			s := openAt(t, path, sqlite.Config{})
			run(t, s, "CREATE TABLE ledger (n INTEGER PRIMARY KEY, line TEXT NOT NULL)")
			what, _, _ := strings.Cut(do, " ")
			victim, said := start(t, path, do)
			line := make(chan string, 1)
			go func() { text, _ := said.ReadString('\n'); line <- text }()
			select {
			case text := <-line:
				if !strings.HasPrefix(text, "at ") {
					t.Fatal("the process ended before it came to its step")
				}
				t.Logf("in flight in process %d, which is killed: %s", victim.Process.Pid, strings.TrimSpace(text))
			case <-time.After(30 * time.Second):
				t.Fatalf("waited 30s for process %d to come to its step", victim.Process.Pid)
			}
			peer, _ := start(t, path, what) // not before: it would do the victim's keys
			other, _ := start(t, path, what)
			time.Sleep(100 * time.Millisecond) // others meet the key in hand
			must(t, victim.Process.Kill())
			_ = victim.Wait()
			waitFor(t, peer)
			waitFor(t, other)
			judgeLedger(t, s.DB())
		})
	}
}

func judgeLedger(t *testing.T, db *sql.DB) {
	t.Helper()
	effects, by := make(map[string]int), make(map[string]int)
	for _, line := range ledger(t, db) {
		key, pid, _ := strings.Cut(line, " by ")
		effects[key]++
		by[pid]++
	}
	t.Logf("effects by process: %v", by)
	for key := range businesses {
		if n := effects[fmt.Sprint(key)]; n != 1 {
			t.Errorf("key %d has %d effects, want 1", key, n)
		}
	}
}
