package sqlite_test

import (
	"bufio"
	"context"
	"database/sql"
	"database/sql/driver"
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
	"go.uber.org/goleak"
)

const childEnv = "ROLLCALL_SQLITE_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		child(path, os.Getenv(childEnv+"_DO"))
		return
	}
	goleak.VerifyTestMain(m)
}

// child is another process on the same file.
func child(path, do string) {
	s, err := sqlite.Open(path, sqlite.Config{})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	switch do {
	case "hold": // begins, says so, and stays inside until it is killed
		tx, err := s.Begin(ctx)
		if err == nil {
			_, err = tx.User().Exec("UPDATE e SET n = n + 1000000")
		}
		fmt.Println("holding", err)
		select {}
	case "count":
		for range 100 {
			if err := increment(ctx, s); err != nil {
				panic(err)
			}
		}
	default:
		if err := onceChild(s, do); err != nil {
			panic(err)
		}
	}
}

func increment(ctx context.Context, s *sqlite.Store) error {
	tx, err := s.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var n int
	if err := tx.User().QueryRowContext(ctx, "SELECT n FROM e").Scan(&n); err != nil {
		return err
	}
	if _, err := tx.User().ExecContext(ctx, "UPDATE e SET n = ?", n+1); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

func start(t *testing.T, path, do string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path, childEnv+"_DO="+do)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, bufio.NewReader(out)
}

// Transactions of two processes, two stores and several goroutines are serial.
func TestWritersAreSerial(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	one, two := openAt(t, path, sqlite.Config{}), openAt(t, path, sqlite.Config{})
	run(t, one, "CREATE TABLE e (n INTEGER)")
	run(t, one, "INSERT INTO e VALUES (0)")
	cmd, _ := start(t, path, "count")
	var wait sync.WaitGroup
	for _, s := range []*sqlite.Store{one, one, two} {
		wait.Go(func() {
			for range 50 {
				if err := increment(t.Context(), s); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	must(t, cmd.Wait())
	if n := number(t, one, "SELECT n FROM e"); n != 250 {
		t.Errorf("%d of 250 increments", n)
	}
}

func TestLockOfAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	s := openAt(t, path, sqlite.Config{Busy: 300 * time.Millisecond})
	run(t, s, "CREATE TABLE e (n INTEGER)")
	run(t, s, "INSERT INTO e VALUES (0)")
	cmd, out := start(t, path, "hold")
	line, err := out.ReadString('\n')
	must(t, err)
	if line != "holding <nil>\n" {
		t.Fatal(line)
	}
	began := time.Now()
	_, err = s.Begin(t.Context())
	if err == nil || s.Classify(err) != rollcall.ClassEnvironment || !strings.Contains(err.Error(), "another process") || errors.Is(err, rollcall.ErrInDoubt) {
		t.Errorf("%v", err)
	}
	if took := time.Since(began); took < 250*time.Millisecond || took > 3*time.Second {
		t.Errorf("waited %v", took)
	}
	patient := openAt(t, path, sqlite.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began = time.Now()
	if _, err = patient.Begin(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	if number(t, s, "SELECT n FROM e") != 0 { // readers do not wait
		t.Error("read what was not committed")
	}
	must(t, cmd.Process.Kill()) // SIGKILL inside the transaction
	_ = cmd.Wait()
	must(t, increment(t.Context(), s))
	if n := number(t, s, "SELECT n FROM e"); n != 1 {
		t.Errorf("n is %d", n)
	}
}

func TestTurnsAreWaitedForUnderTheContext(t *testing.T) {
	s := openNew(t)
	tx := begin(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Begin(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	must(t, tx.Rollback())
	var order []int
	hold := begin(t, s)
	var wait sync.WaitGroup
	for n := range 5 {
		wait.Go(func() {
			tx, err := s.Begin(t.Context())
			must(t, err)
			order = append(order, n) // serial: we hold the lock
			must(t, tx.Commit(t.Context()))
		})
		time.Sleep(20 * time.Millisecond)
	}
	must(t, hold.Commit(t.Context()))
	wait.Wait()
	if fmt.Sprint(order) != "[0 1 2 3 4]" {
		t.Errorf("turns were not given in the order of coming: %v", order)
	}
}

func TestClassify(t *testing.T) {
	s := openNew(t)
	run(t, s, "CREATE TABLE c (n INTEGER PRIMARY KEY CHECK (n < 5), m TEXT NOT NULL)")
	exec := func(query string, args ...any) error {
		_, err := s.DB().Exec(query, args...)
		if err == nil {
			t.Fatalf("%s: no error", query)
		}
		return err
	}
	data, environment := rollcall.ClassData, rollcall.ClassEnvironment
	for _, c := range []struct {
		err  error
		want rollcall.Class
	}{
		{exec("INSERT INTO c VALUES (9, '')"), data}, {exec("INSERT INTO c VALUES (1, NULL)"), data}, {exec("INSERT INTO c VALUES ('x', '')"), data},
		{exec("INSERT INTO c VALUES (1, zeroblob(2000000000))"), data}, {exec("SELEKT"), data}, {errors.New("a handler's own"), data},
		{rollcall.Dead(errors.New("x")), data}, {context.DeadlineExceeded, data},
		{exec("INSERT INTO absent VALUES (1)"), environment}, {exec("INSERT INTO c (x) VALUES (1)"), environment}, {exec("SELECT x FROM c"), environment},
		{fmt.Errorf("wrapped: %w", driver.ErrBadConn), environment}, {sql.ErrConnDone, environment}, {context.Canceled, environment},
		{rollcall.ErrInDoubt, environment}, {rollcall.ErrDamaged, environment},
	} {
		if got := s.Classify(c.err); got != c.want {
			t.Errorf("%v: class %d, want %d", c.err, got, c.want)
		}
		if got := s.Classify(fmt.Errorf("handler: %w", c.err)); got != c.want {
			t.Errorf("wrapped %v: class %d", c.err, got)
		}
	}
}
