package filelog_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
)

// smallDisk mounts a tmpfs. Without the right to do so the test fails: it must
// not be thought to have run.
func smallDisk(t testing.TB, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount a small tmpfs (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestDiskFull(t *testing.T) {
	dir := smallDisk(t, "3m")
	path := filepath.Join(dir, "log.db")
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	l := openLog(t, path, fast)
	create(t, l, "d", 2)
	m := join(t, l, newOwner(), "d")
	m.owns(t, 2)
	stored := 0
	body := make([]byte, 20000)
	put := func() rollcall.PublishResult {
		return l.Sender().Publish(t.Context(), "d", []rollcall.Message{{ID: rollcall.MessageID(upTo(stored, stored+1)[0]), Body: body}})[0]
	}
	var failed rollcall.PublishResult
	for failed.Err == nil {
		if r := put(); r.Fate == rollcall.Stored {
			if int(r.Position.Offset) != stored {
				t.Fatalf("message %d stored at %d", stored, r.Position.Offset)
			}
			stored++
		} else {
			failed = r
		}
		if stored > 1000 {
			t.Fatal("the disk never became full")
		}
	}
	if failed.Fate != rollcall.Unknown {
		t.Errorf("disk full: %v, want unknown: a repeat is right", failed.Fate)
	}
	mustSay(t, failed.Err, "disk full: "+path, "bytes free", "nothing was stored")
	if stored == 0 {
		t.Fatal("nothing was stored before")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r := put()
		if r.Fate != rollcall.Stored || int(r.Position.Offset) != stored {
			t.Fatalf("there is room again: %+v, want offset %d", r, stored)
		}
		stored++
	}
	for i, d := range m.take(t, stored) {
		if string(d.ID) != upTo(i, i+1)[0] || len(d.Body) != len(body) {
			t.Fatalf("message %d is %q with %d bytes", i, d.ID, len(d.Body))
		}
	}
	if end := extent(t, l, "d", 0).End; end != int64(stored) {
		t.Errorf("%d acknowledged, the log ends at %d", stored, end)
	}
}

func TestReadOnly(t *testing.T) {
	dir := smallDisk(t, "4m")
	path := filepath.Join(dir, "log.db")
	makeLog(t, path, 10)
	remount := func(flags uintptr) {
		t.Helper()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(syscall.MS_RDONLY)
	mustSay(t, openError(t, path), path, "read-only", "writable")
	mustSay(t, openError(t, filepath.Join(dir, "new", "log.db")), "read-only", "writable")
	remount(0)
	openLog(t, path, filelog.Config{})
}

// Paths that are refused before anything is opened.
func TestPathsThatAreRefused(t *testing.T) {
	dir := smallDisk(t, "4m")
	path := filepath.Join(dir, "log.db")
	l := openLog(t, path, fast)
	fill(t, l, create(t, l, "d", 1), 0, 0, 10)
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	mustSay(t, openError(t, path), path, "everybody can write", "chmod 600")
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	mustSay(t, openError(t, link), link, "no regular file")
	mustSay(t, openError(t, dir), "no regular file")
	if err := os.WriteFile(filepath.Join(dir, "text.db"), []byte("this is no log at all, but a text of some length\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "text.db.marks"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mustBe(t, openError(t, filepath.Join(dir, "text.db")), rollcall.ErrDamaged, "not a database")
}
