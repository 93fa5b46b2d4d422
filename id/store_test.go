package id_test

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/id"
)

func open(t testing.TB, path string) *id.SQL {
	t.Helper()
	s, err := id.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestBlocks: series begin with 1 and do not meet, blocks follow each other,
// over a close too.
func TestBlocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ids.db")
	for round := range int64(2) {
		s, err := id.OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a", "A"} {
			for _, take := range []struct{ size, want int64 }{{1, 1}, {10, 2}, {5, 12}} {
				first, err := s.Next(t.Context(), name, take.size)
				if want := 16*round + take.want; err != nil || first != want {
					t.Fatalf("series %q, a block of %d begins with %d (%v), want %d", name, take.size, first, err, want)
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v (%v), want 0600", info.Mode(), err)
	}
}

// TestBlocksRefused: what cannot be is an error and takes nothing.
func TestBlocksRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "ids.db"))
	for name, size := range map[string]int64{"": 1, "a b": 1, "'": 1, "ok": 0, "fine": -1} {
		if _, err := s.Next(t.Context(), name, size); !errors.Is(err, rollcall.ErrConfig) {
			t.Errorf("series %q, size %d: %v", name, size, err)
		}
	}
	if first, err := s.Next(t.Context(), "long", math.MaxInt64-1); err != nil || first != 1 {
		t.Fatal(first, err)
	}
	if _, err := s.Next(t.Context(), "long", 2); err == nil {
		t.Error("a series went over its end")
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "ids.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("UPDATE rollcall_ids SET value = -5 WHERE name = 'long'"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Next(t.Context(), "long", 1); !errors.Is(err, rollcall.ErrDamaged) {
		t.Errorf("a negative row: %v", err)
	}
	if err := os.Symlink(filepath.Join(dir, "ids.db"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "link")} {
		if _, err := id.OpenFile(path); !errors.Is(err, rollcall.ErrConfig) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestNumbers: two processes' worth of Numbers share a series without repeats,
// and an error gives nothing.
func TestNumbers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ids.db")
	var mu sync.Mutex
	seen := make(map[int64]bool)
	var group sync.WaitGroup
	for range 2 {
		n := id.NewNumbers(open(t, path), "bills", id.NumbersConfig{Block: 7})
		for range 2 {
			group.Go(func() {
				for range 100 {
					number, err := n.Next(context.Background())
					mu.Lock()
					if err != nil || seen[number] || number < 1 {
						t.Errorf("number %d (seen %v, %v)", number, seen[number], err)
					}
					seen[number] = true
					mu.Unlock()
				}
			})
		}
	}
	group.Wait()
	if len(seen) != 400 {
		t.Fatalf("%d numbers, want 400", len(seen))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	n := id.NewNumbers(open(t, path), "other", id.NumbersConfig{})
	if number, err := n.Next(ended); err == nil || number != 0 {
		t.Fatalf("%d (%v) although the context had ended", number, err)
	}
}

// TestMarksOnly rise.
func TestMarksOnly(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "ids.db"))
	for _, step := range []struct{ to, was int64 }{{5, 0}, {3, 5}, {0, 5}, {9, 5}, {9, 9}} {
		if was, err := s.Raise(t.Context(), "m", step.to); err != nil || was != step.was {
			t.Fatalf("raised to %d: it was %d (%v), want %d", step.to, was, err, step.was)
		}
	}
}
