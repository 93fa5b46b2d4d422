package filelog

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
)

func TestMarksOnlyRise(t *testing.T) {
	k, err := openMarks(filepath.Join(t.TempDir(), "marks"), true)
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	id := [16]byte{1}
	if err := k.format(id); err != nil {
		t.Fatal(err)
	}
	p := part{id: 3000, incarnation: rollcall.Incarnation{7}} // far beyond the first size of the file
	if err := k.reserve(id, []*part{&p}); err != nil {
		t.Fatal(err)
	}
	at := func() mark {
		table, err := k.load(id)
		if err != nil {
			t.Fatal(err)
		}
		m, err := table.at(p.id)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for _, c := range []struct {
		end         int64
		incarnation byte
		want        int64
	}{{10, 7, 10}, {5, 7, 10}, {20, 8, 10}, {11, 7, 11}} {
		if err := k.raise([]part{{id: p.id, incarnation: rollcall.Incarnation{c.incarnation}, end: c.end}}); err != nil {
			t.Fatal(err)
		}
		if m := at(); m.end != c.want || m.incarnation != p.incarnation {
			t.Errorf("raised to %d of incarnation %d: %+v, want end %d", c.end, c.incarnation, m, c.want)
		}
	}
	if err := k.flag([]*part{&p}, true); err != nil || !at().deleting || at().end != 11 {
		t.Errorf("flagged: %+v, %v", at(), err)
	}
	// A publisher that was slower than the deletion must not bring it back.
	if err := k.raise([]part{{id: p.id, incarnation: p.incarnation, end: 12}}); err != nil || !at().deleting {
		t.Errorf("raised after the deletion: %+v, %v", at(), err)
	}
}

// A holder of the file lock that was stopped does not stop the others.
func TestMarksWithTheirLockHeld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "marks")
	a, err := openMarks(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	b, err := openMarks(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	err = a.locked(func() error {
		start := time.Now()
		err := b.locked(func() error { return nil })
		if took := time.Since(start); took < marksPatience || took > 5*marksPatience {
			t.Errorf("went on after %v, want about %v", took, marksPatience)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestEveryConnectionSyncs(t *testing.T) {
	l := openHere(t)
	c, err := l.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal", "cell_size_check": "1"} {
		for name, c := range map[string]*conn{"writer": l.writer.conn, "reader": c} {
			var got string
			err := c.rows("PRAGMA "+pragma, nil, func(r *sql.Rows) (bool, error) { return false, scan(r, &got) })
			if err != nil || got != want {
				t.Errorf("%s: %s is %q, %v; want %s", name, pragma, got, err, want)
			}
		}
	}
}

// Crash order of a deletion and of a creation: whichever half is there opens.
func TestHalfDoneChangesOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	reopen := func(do func(l *Log) error) {
		t.Helper()
		l, err := Open(path, Config{})
		if err == nil && do != nil {
			err = do(l)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	part1 := func(l *Log) (p *part) {
		if err := l.read("", func(_ *conn, v *view) error { p = v.parts["d"][0]; return nil }); err != nil {
			t.Fatal(err)
		}
		return p
	}
	store := func(l *Log) error {
		return l.Sender().Publish(t.Context(), "d", make([]rollcall.Message, 1))[0].Err
	}
	reopen(func(l *Log) error { return l.Create(t.Context(), "d", 1) })
	reopen(store)
	// Flagged, not deleted.
	reopen(func(l *Log) error { return l.marks.flag([]*part{part1(l)}, true) })
	reopen(func(l *Log) error {
		if m, err := l.marks.read(1); err != nil || m.deleting {
			t.Errorf("the partition is there, and its mark still says %+v, %v", m, err)
		}
		return store(l)
	})
	// Deleted, the flag stays.
	reopen(func(l *Log) error { return l.Delete(t.Context(), "d") })
	// A slot reserved, the partition not created.
	reopen(func(l *Log) error {
		return l.marks.reserve(l.id, []*part{{id: 1, incarnation: rollcall.Incarnation{5}}})
	})
	// The first Open was cut short: marks are there, the log is empty.
	reopen(func(l *Log) error { return l.Create(t.Context(), "d", 1) })
	reopen(store)
}
