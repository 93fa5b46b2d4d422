package filelog_test

import (
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
)

// makeLog writes a log with some history and closes it.
func makeLog(t testing.TB, path string, messages int) {
	t.Helper()
	l, err := filelog.Open(path, filelog.Config{})
	if err != nil {
		t.Fatal(err)
	}
	create(t, l, "gone", 3)
	create(t, l, "d", 3)
	for i := 0; i < messages; i += 10 {
		for p := range int32(3) {
			fill(t, l, "d", p, i, 10)
		}
	}
	fill(t, l, "gone", 2, 0, 5)
	if err := l.Delete(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// openError opens a log that must be refused, and returns why.
func openError(t testing.TB, path string) error {
	t.Helper()
	l, err := filelog.Open(path, filelog.Config{})
	if err == nil {
		_ = l.Close() // the test has failed
		t.Fatal("the log was opened")
	}
	return err
}

func TestOlderCopyIsRefused(t *testing.T) {
	path := newPath(t)
	makeLog(t, path, 20)
	copyFile(t, path, path+".copy")
	l, err := filelog.Open(path, filelog.Config{})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, "d", 1, 20, 5)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	copyFile(t, path+".copy", path)
	mustBe(t, openError(t, path), rollcall.ErrDamaged, path, `destination "d", partition 1`,
		"offsets 20 to 24 were acknowledged and are gone", "ends at 20", "should end at 25", "older copy", "RebuildMarks")
	if err := filelog.RebuildMarks(path); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, path, filelog.Config{})
	if e := extent(t, l, "d", 1); e.End != 20 {
		t.Errorf("accepted with end %d, want 20", e.End)
	}
	fill(t, l, "d", 1, 20, 1)
}

func TestOlderCopyFromBeforeCreate(t *testing.T) {
	path := newPath(t)
	makeLog(t, path, 0)
	copyFile(t, path, path+".copy")
	l, err := filelog.Open(path, filelog.Config{})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, create(t, l, "new", 1), 0, 0, 1)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	copyFile(t, path+".copy", path)
	mustBe(t, openError(t, path), rollcall.ErrDamaged, "partition row 1", "is gone")
}

func TestMissingMarks(t *testing.T) {
	path := newPath(t)
	makeLog(t, path, 10)
	if err := os.Remove(path + ".marks"); err != nil {
		t.Fatal(err)
	}
	mustBe(t, openError(t, path), rollcall.ErrDamaged, path+".marks", "missing", "RebuildMarks")
	if err := filelog.RebuildMarks(path); err != nil {
		t.Fatal(err)
	}
	openLog(t, path, filelog.Config{})
	if err := filelog.RebuildMarks(path + ".other"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("RebuildMarks of nothing: %v", err)
	}
}

func TestDamagedMarks(t *testing.T) {
	path := newPath(t)
	for _, c := range []struct {
		name string
		do   func(b []byte) []byte
	}{
		{"empty", func(b []byte) []byte { return nil }},
		{"cut", func(b []byte) []byte { return b[:len(b)/2] }},
		{"header", func(b []byte) []byte { b[10] ^= 1; return b }},
		{"slot", func(b []byte) []byte { b[64*5+17] ^= 1; return b }},
		{"zeroed slot", func(b []byte) []byte { clear(b[64*5 : 64*6]); return b }},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := path + c.name
			makeLog(t, path, 10)
			b, err := os.ReadFile(path + ".marks")
			if err == nil {
				err = os.WriteFile(path+".marks", c.do(b), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			mustBe(t, openError(t, path), rollcall.ErrDamaged, path+".marks", "RebuildMarks")
		})
	}
	makeLog(t, path+"1", 10)
	makeLog(t, path+"2", 10)
	copyFile(t, path+"1.marks", path+"2.marks")
	mustBe(t, openError(t, path+"2"), rollcall.ErrDamaged, "another log")
}

func TestTruncatedLog(t *testing.T) {
	path := newPath(t)
	makeLog(t, path, 200)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, keep := range []int{0, 1, 100, 511, 512, 4096, 8192, len(whole) / 2, len(whole) - 4096, len(whole) - 1} {
		if err := os.WriteFile(path, whole[:keep], 0o600); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(path + "-wal") // of the last attempt, if it left one
		_ = os.Remove(path + "-shm")
		mustBe(t, outcome(t, path, 200), rollcall.ErrDamaged, path)
	}
}

// A -wal that lost its tail: SQLite recovers what is whole and says nothing.
func TestTruncatedWAL(t *testing.T) {
	path := newPath(t)
	l := openLog(t, path, filelog.Config{})
	create(t, l, "d", 3)
	for p := range int32(3) {
		fill(t, l, "d", p, 0, 100)
	}
	whole, err := os.ReadFile(path + "-wal")
	if err != nil || len(whole) == 0 {
		t.Fatalf("no -wal to cut: %v", err)
	}
	for _, keep := range []int{0, 31, len(whole) / 2, len(whole) - 4096, len(whole) - 1} {
		other := filepath.Join(t.TempDir(), "log.db")
		copyFile(t, path, other)
		copyFile(t, path+".marks", other+".marks")
		if err := os.WriteFile(other+"-wal", whole[:keep], 0o600); err != nil {
			t.Fatal(err)
		}
		mustBe(t, outcome(t, other, 100), rollcall.ErrDamaged, other)
	}
}

// outcome opens and reads everything. It returns nil only if every message is
// there as it was.
func outcome(t testing.TB, path string, messages int) error {
	t.Helper()
	l, err := filelog.Open(path, filelog.Config{LockWait: time.Second})
	if err != nil {
		return err
	}
	defer l.Close() // what it could report is of no interest in a damaged log
	extents, err := l.Source("d").Measure(t.Context())
	if err != nil {
		return err
	}
	if len(extents) != 3 {
		return fmt.Errorf("%d partitions instead of 3", len(extents))
	}
	sub, err := l.Source("d").Subscribe(t.Context(), rollcall.SubscribeRequest{Group: "g"}, newOwner())
	if err != nil {
		return err
	}
	defer sub.Close(t.Context())
	next := map[int32]int{}
	for end := time.Now().Add(patience); next[0]+next[1]+next[2] < 3*messages; {
		batches, err := sub.Fetch(t.Context(), rollcall.FetchRequest{Max: 1000, Min: 1, Wait: 100 * time.Millisecond})
		if err != nil {
			return err
		}
		for _, b := range batches {
			for _, d := range b.Deliveries {
				want := fmt.Sprint(next[d.Partition])
				if string(d.Body) != want || string(d.ID) != want || d.Position.Offset != int64(next[d.Partition]) {
					return fmt.Errorf("offset %d of partition %d: id %q, body %q; want %s", d.Position.Offset, d.Partition, d.ID, d.Body, want)
				}
				next[d.Partition]++
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("waited %v for messages, got %v", patience, next)
		}
	}
	return nil
}

// Bits flip anywhere in the file: either everything is right, or it is refused.
func TestFlippedBits(t *testing.T) {
	path := newPath(t)
	makeLog(t, path, 150)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, uint64(len(whole))))
	const places = 160
	refused := 0
	for i := range places {
		at := random.IntN(len(whole))
		if i < 100 {
			at = i // SQLite's header
		}
		bit := byte(1) << random.IntN(8)
		other := filepath.Join(t.TempDir(), "log.db")
		whole[at] ^= bit
		err := os.WriteFile(other, whole, 0o600)
		whole[at] ^= bit
		if err != nil {
			t.Fatal(err)
		}
		copyFile(t, path+".marks", other+".marks")
		if err := outcome(t, other, 150); err != nil {
			refused++
			if !errors.Is(err, rollcall.ErrDamaged) {
				t.Errorf("byte %d, bit %02x: %v", at, bit, err)
			}
		}
	}
	if refused < places/10 {
		t.Errorf("only %d of %d flips were noticed: the test flips nothing that matters", refused, places)
	}
}

// edit changes a closed log by SQL, as no bit flip could.
func edit(t testing.TB, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func TestEditedRows(t *testing.T) {
	for name, c := range map[string]struct {
		sql  string
		says string
	}{
		"row missing inside":     {`DELETE FROM chunks WHERE id = (SELECT id FROM chunks ORDER BY id LIMIT 1 OFFSET 5)`, "offset 50 should follow"},
		"row missing at the end": {`DELETE FROM chunks WHERE id = (SELECT max(id) FROM chunks)`, "do not cover the offsets 0 to 149"},
		"row missing in front":   {`DELETE FROM chunks WHERE id = (SELECT min(id) FROM chunks)`, "do not cover"},
		"all rows missing":       {`DELETE FROM chunks`, "do not cover"},
		"record changed":         {`UPDATE chunks SET data = CAST(substr(data, 1, length(data)-1) || 'x' AS BLOB) WHERE id = (SELECT min(id) FROM chunks)`, "offset 9: its checksum"},
		"bytes appended":         {`UPDATE chunks SET data = CAST(data || 'x' AS BLOB) WHERE id = (SELECT min(id) FROM chunks)`, "checksum of its row"},
		"made older":             {`UPDATE chunks SET stored = 1`, "checksum of its row"},
		"end raised":             {`UPDATE partitions SET end = end + 1`, "table of partitions"},
		"first raised":           {`UPDATE partitions SET first = first + 1`, "table of partitions"},
		"partition gone":         {`DELETE FROM partitions WHERE number = 2`, "2 of its 3 partitions"},
		"destination gone":       {`DELETE FROM partitions`, "is gone"},
		"table gone":             {`DROP TABLE chunks`, "no such table"},
		"incarnation changed":    {`UPDATE partitions SET incarnation = randomblob(16)`, "table of partitions"},
		"meta changed":           {`UPDATE meta SET data = x'00'`, "does not describe"},
		"wrong type":             {`UPDATE partitions SET end = 'x' WHERE id = 4`, "Scan"},
		"rows swapped": {`UPDATE chunks SET data = (SELECT data FROM chunks ORDER BY id LIMIT 1 OFFSET 2) WHERE id = (SELECT id FROM chunks ORDER BY id LIMIT 1 OFFSET 1)`,
			"offset 10: its checksum"},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			makeLog(t, path, 150)
			edit(t, path, c.sql)
			mustBe(t, outcome(t, path, 150), rollcall.ErrDamaged, path, c.says)
			l, err := filelog.Open(path, filelog.Config{Retention: time.Hour})
			if err != nil {
				return
			}
			defer l.Close()
			if err := l.Verify(t.Context()); !errors.Is(err, rollcall.ErrDamaged) {
				t.Errorf("Verify: %v", err)
			}
			if name == "made older" {
				mustBe(t, l.Trim(t.Context()), rollcall.ErrDamaged)
			}
		})
	}
}

// The messages before a damaged one are handed over, and Fetch then names it;
// other partitions go on.
func TestDamageStopsOnePartition(t *testing.T) {
	path := newPath(t)
	makeLog(t, path, 30)
	edit(t, path, `UPDATE chunks SET data = CAST(substr(data, 1, length(data)-1) || 'x' AS BLOB) WHERE id = (SELECT id FROM chunks ORDER BY id LIMIT 1 OFFSET 1)`)
	l := openLog(t, path, fast)
	m := join(t, l, newOwner(), "d")
	m.owns(t, 3)
	got := map[int32]int{}
	var failed error
	await(t, "60 + 19 messages and an error", func() bool {
		batches, err := m.Fetch(t.Context(), rollcall.FetchRequest{Max: 7, Min: 1, Wait: 10 * time.Millisecond})
		if err != nil {
			failed = err
		}
		for _, b := range batches {
			got[b.Partition.Number] += len(b.Deliveries)
		}
		return failed != nil && maps.Equal(got, map[int32]int{0: 19, 1: 30, 2: 30})
	})
	mustBe(t, failed, rollcall.ErrDamaged, path, `destination "d", partition 0`, "offset 19", "backup")
	mustBe(t, m.fetchError(t), rollcall.ErrDamaged, "offset 19")
}

func TestNewerSchema(t *testing.T) {
	path := newPath(t)
	makeLog(t, path, 10)
	filelog.WriteVersion(t, path, 2)
	mustBe(t, openError(t, path), rollcall.ErrNewerSchema, path, "schema 2", "reads 1", "upgrade rollcall")
}

// The log is truncated or replaced under a running process.
func TestOlderCopyUnderARunningReader(t *testing.T) {
	path := newPath(t)
	makeLog(t, path, 20)
	l := openLog(t, path, fast)
	m := join(t, l, newOwner(), "d")
	m.take(t, 60)
	edit(t, path, `DELETE FROM chunks WHERE id = (SELECT max(id) FROM chunks)`)
	filelog.SetEnd(t, path, 6, 19) // one message less is enough
	mustBe(t, m.fetchError(t), rollcall.ErrDamaged, "partition 2", "offsets 19 to 19 were acknowledged and are gone")
	r := l.Sender().Publish(t.Context(), "d", make([]rollcall.Message, 1))
	if r[0].Fate == rollcall.Stored {
		t.Error("published into a log that lost its tail")
	}
	mustBe(t, r[0].Err, rollcall.ErrDamaged)
}

// Rows vanish under a running reader, and the partition's row does not know.
func TestRowsVanishUnderARunningReader(t *testing.T) {
	path := newPath(t)
	makeLog(t, path, 20)
	l := openLog(t, path, fast)
	edit(t, path, `DELETE FROM chunks WHERE id = (SELECT max(id) FROM chunks)`)
	m := join(t, l, newOwner(), "d")
	m.take(t, 50)
	mustBe(t, m.fetchError(t), rollcall.ErrDamaged, "partition 2", "offsets 10 to 19 are missing")
	mustBe(t, l.Verify(t.Context()), rollcall.ErrDamaged, "offsets 10 to 19 are missing")
}
