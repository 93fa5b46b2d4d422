package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

func TestOpenCreatesPrivately(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "odd ?name#%20.db")
	s := openAt(t, path, sqlite.Config{})
	inTx(t, s, func(context.Context, rollcall.Tx[*sql.Tx]) {})
	for name, mode := range map[string]os.FileMode{filepath.Dir(path): 0o700, path: 0o600, path + "-wal": 0o600} {
		info, err := os.Stat(name)
		must(t, err)
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	var mode string
	must(t, s.DB().QueryRow("PRAGMA journal_mode").Scan(&mode))
	tx := begin(t, s)
	var sync int
	must(t, tx.User().QueryRow("PRAGMA synchronous").Scan(&sync))
	if mode != "wal" || sync != 2 {
		t.Errorf("journal mode %s, synchronous %d", mode, sync)
	}
	must(t, tx.Rollback())
	must(t, s.Close())
	must(t, s.Close())
	_, begun := s.Begin(t.Context())
	_, acquired := s.Acquire(t.Context(), group, nil)
	_, rolls := s.Rolls(t.Context(), group, nil)
	_, due := s.Asides().Due(t.Context(), group, newClock().at, 1)
	for _, err := range []error{begun, acquired, rolls, due} {
		if !errors.Is(err, rollcall.ErrClosed) || s.Classify(err) != rollcall.ClassEnvironment {
			t.Errorf("after Close: %v", err)
		}
	}
}

func TestUsersOwnFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mine.db")
	db, err := sql.Open("sqlite", path)
	must(t, err)
	defer db.Close()
	for _, q := range []string{"PRAGMA user_version = 42", "CREATE TABLE mine (n)", "INSERT INTO mine VALUES (1)"} {
		_, err := db.Exec(q)
		must(t, err)
	}
	s := openAt(t, path, sqlite.Config{})
	if number(t, s, "PRAGMA user_version") != 42 || number(t, s, "SELECT n FROM mine") != 1 {
		t.Error("the user's own was changed")
	}
	if n := number(t, s, "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'rollcall%' AND name NOT LIKE 'sqlite%' AND name <> 'mine'"); n != 0 {
		t.Errorf("%d names without our prefix", n)
	}
}

func TestRefusedFiles(t *testing.T) {
	dir := t.TempDir()
	link, utf16 := filepath.Join(dir, "link.db"), filepath.Join(dir, "utf16.db")
	must(t, os.Symlink(filepath.Join(dir, "target.db"), link))
	db, err := sql.Open("sqlite", utf16)
	must(t, err)
	_, err = db.Exec("PRAGMA encoding = 'UTF-16'; CREATE TABLE x (y)")
	must(t, err)
	must(t, db.Close())
	must(t, os.Mkdir(filepath.Join(dir, "folder"), 0o700))
	walLink := filepath.Join(dir, "w.db")
	must(t, os.Symlink(filepath.Join(dir, "target"), walLink+"-wal"))
	for path, text := range map[string]string{link: "symbolic link", utf16: "UTF-16", filepath.Join(dir, "folder"): "not a regular file", "": "path is empty", walLink: "symbolic link"} {
		if _, err := sqlite.Open(path, sqlite.Config{}); !errors.Is(err, rollcall.ErrConfig) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "target.db")); err == nil {
		t.Error("a link was followed")
	}
}

func TestReadOnlyFolder(t *testing.T) {
	dir := mount(t, "size=4m")
	openAt(t, filepath.Join(dir, "s.db"), sqlite.Config{}).Close()
	must(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	for _, name := range []string{"s.db", "new.db", "sub/new.db"} {
		if _, err := sqlite.Open(filepath.Join(dir, name), sqlite.Config{}); err == nil || !strings.Contains(err.Error(), "read-only") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	s := openAt(t, path, sqlite.Config{})
	run(t, s, "UPDATE rollcall_schema SET version = 99")
	must(t, s.Close())
	_, err := sqlite.Open(path, sqlite.Config{})
	if !errors.Is(err, rollcall.ErrNewerSchema) || !strings.Contains(err.Error(), "version 99") || !strings.Contains(err.Error(), "up to 5") ||
		!strings.Contains(err.Error(), "upgrade rollcall") {
		t.Error(err)
	}
}

// A file that is cut off, overwritten or no database is damaged; it is never
// taken for an empty store.
func TestDamagedFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	s := openAt(t, path, sqlite.Config{Busy: 100 * time.Millisecond})
	for i := range 200 {
		put(t, s, waiting(i, "k", newClock().at))
	}
	run(t, s, "PRAGMA wal_checkpoint(TRUNCATE)")
	must(t, s.Close())
	whole, err := os.ReadFile(path)
	must(t, err)
	damage := map[string][]byte{
		"cut by a page": whole[:len(whole)-4096], "cut to one page": whole[:4096], "cut in the header": whole[:50], "cut by a byte": whole[:len(whole)-1],
		"no database": append([]byte("hello"), whole[5:]...), "page size": append(append(bytes.Clone(whole[:16]), 3, 3), whole[18:]...),
		"zero tail": append(bytes.Clone(whole[:8192]), make([]byte, len(whole)-8192)...),
		"zero root": append(append(bytes.Clone(whole[:100]), make([]byte, 3996)...), whole[4096:]...),
	}
	for name, data := range damage {
		must(t, os.WriteFile(path, data, 0o600))
		_ = os.Remove(path + "-wal")
		_ = os.Remove(path + "-shm")
		bad, err := sqlite.Open(path, sqlite.Config{})
		if err == nil {
			_, err = bad.Asides().List(t.Context(), group, rollcall.AsideFilter{Max: 1000})
			_ = bad.Close()
		}
		if !errors.Is(err, rollcall.ErrDamaged) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// mount is a small file system of its own.
func mount(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatalf("mount: %v (the test needs root)", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// On a full disk nothing is acknowledged that is not there, and work goes on
// when there is room.
func TestDiskFull(t *testing.T) {
	dir := mount(t, "size=3m")
	s := openAt(t, filepath.Join(dir, "s.db"), sqlite.Config{})
	run(t, s, "CREATE TABLE e (n INTEGER PRIMARY KEY, body BLOB)")
	ballast := filepath.Join(dir, "ballast")
	must(t, os.WriteFile(ballast, make([]byte, 1<<20), 0o600))
	write := func(n int) error {
		tx := begin(t, s)
		if _, err := tx.User().Exec("INSERT INTO e VALUES (?, ?)", n, make([]byte, 20_000)); err != nil {
			if c := tx.Commit(t.Context()); c == nil || errors.Is(c, rollcall.ErrInDoubt) && tx.Rollback() == nil {
				t.Errorf("commit after %v: %v", err, c)
			}
			return err
		}
		return tx.Commit(t.Context())
	}
	acknowledged := map[int64]bool{}
	failed := 0
	for n := range 200 {
		err := write(n)
		if err == nil {
			acknowledged[int64(n)] = true
			continue
		}
		failed++
		if errors.Is(err, rollcall.ErrInDoubt) || s.Classify(err) != rollcall.ClassEnvironment {
			t.Fatalf("message %d: %v", n, err)
		}
		if failed == 1 && !strings.Contains(err.Error(), "full") {
			t.Error(err)
		}
		if failed == 20 {
			break
		}
	}
	if failed == 0 || len(acknowledged) == 0 {
		t.Fatalf("%d failed, %d acknowledged", failed, len(acknowledged))
	}
	must(t, os.Remove(ballast))
	must(t, write(1000))
	acknowledged[1000] = true
	must(t, s.Close())
	again := openAt(t, filepath.Join(dir, "s.db"), sqlite.Config{})
	rows, err := again.DB().Query("SELECT n FROM e")
	must(t, err)
	found := 0
	for rows.Next() {
		var n int64
		must(t, rows.Scan(&n))
		found++
		if !acknowledged[n] {
			t.Errorf("row %d is there without having been acknowledged", n)
		}
	}
	if found != len(acknowledged) {
		t.Errorf("%d rows are there, %d were acknowledged", found, len(acknowledged))
	}
}
