package filelog_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
)

// readAll reads what every partition holds, by its place.
func readAll(t testing.TB, l *filelog.Log, destination string) map[string]string {
	t.Helper()
	extents, err := l.Source(destination).Measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, e := range extents {
		total += int(e.End - e.First)
	}
	m := join(t, l, newOwner(), destination)
	out := make(map[string]string, total)
	next := make(map[int32]int64)
	for _, d := range m.take(t, total) {
		if d.Position.Offset != next[d.Partition] {
			t.Fatalf("partition %d: offset %d follows %d", d.Partition, d.Position.Offset, next[d.Partition]-1)
		}
		next[d.Partition]++
		out[fmt.Sprint(d.Partition, " ", d.Position.Offset)] = string(d.ID)
	}
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return out
}

// acked compares what children were told with what is there.
func acked(t testing.TB, l *filelog.Log, children ...*child) {
	t.Helper()
	there := readAll(t, l, "d")
	total := 0
	for _, c := range children {
		for _, line := range c.printed() {
			var p, offset, id string
			if n, _ := fmt.Sscan(line, &p, &offset, &id); n != 3 {
				continue // the line during which it was killed
			}
			total++
			if got := there[p+" "+offset]; got != id {
				t.Fatalf("%s was acknowledged at partition %s, offset %s; there is %q", id, p, offset, got)
			}
		}
	}
	if total == 0 || len(there) < total {
		t.Errorf("%d messages acknowledged, %d there", total, len(there))
	}
}

func TestTwoProcessesPublish(t *testing.T) {
	path := newPath(t)
	l := openLog(t, path, filelog.Config{})
	create(t, l, "d", 4)
	a, b := spawn(t, "publish", path), spawn(t, "publish", path)
	await(t, "both to publish 2000 messages", func() bool { return len(a.printed()) > 2000 && len(b.printed()) > 2000 })
	fill(t, l, "d", 0, 0, 10)
	a.kill()
	b.kill()
	acked(t, l, a, b)
}

func TestPublisherKilledAgainAndAgain(t *testing.T) {
	path := newPath(t)
	l, err := filelog.Open(path, filelog.Config{})
	if err != nil {
		t.Fatal(err)
	}
	create(t, l, "d", 4)
	if err := l.Close(); err != nil { // so that each kill leaves a -wal to recover
		t.Fatal(err)
	}
	var all []*child
	for i := range 8 {
		c := spawn(t, "publish", path)
		await(t, "the child to publish", func() bool { return len(c.printed()) > 50*(i+1) })
		c.kill()
		all = append(all, c)
	}
	l = openLog(t, path, filelog.Config{})
	acked(t, l, all...)
	if err := l.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestKilledMemberIsReplacedAtOnce(t *testing.T) {
	path := newPath(t)
	slow := filelog.Config{Lease: time.Minute} // only the file lock can tell in time
	l := openLog(t, path, slow)
	create(t, l, "d", 8)
	m := join(t, l, newOwner(), "d")
	c := spawn(t, "member", path)
	c.says(t, "owns 4")
	m.owns(t, 4)
	c.kill()
	start := time.Now()
	m.owns(t, 8)
	if took := time.Since(start); took > time.Second {
		t.Errorf("taken over after %v", took)
	}
	if m.lostCount() != 0 {
		t.Error("the survivor lost partitions")
	}
	files := func() []string {
		list, err := filepath.Glob(path + ".members/*")
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	await(t, "the dead member's file to be removed", func() bool { return len(files()) == 1 })
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(files()) != 0 {
		t.Errorf("left after Close: %v", files())
	}
}

// What a whole group of killed processes left is cleared by who comes next,
// though it is of another group.
func TestStraysAreCleared(t *testing.T) {
	path := newPath(t)
	l := openLog(t, path, fast)
	create(t, l, "d", 2)
	c := spawn(t, "member", path)
	c.says(t, "owns 2")
	c.kill()
	sub, err := l.Source("d").Subscribe(t.Context(), rollcall.SubscribeRequest{Group: "other"}, newOwner())
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close(t.Context())
	if list, _ := filepath.Glob(path + ".members/*"); len(list) != 1 {
		t.Errorf("files of members: %v, want one", list)
	}
}

func TestStoppedMemberLosesItsPartitions(t *testing.T) {
	path := newPath(t)
	l := openLog(t, path, fast)
	create(t, l, "d", 4)
	c := spawn(t, "member", path)
	c.says(t, "owns 4")
	fill(t, l, "d", 0, 0, 1)
	fill(t, l, "d", 1, 0, 1)
	fill(t, l, "d", 2, 0, 1)
	fill(t, l, "d", 3, 0, 1)
	c.says(t, "holds")
	m := join(t, l, newOwner(), "d")
	m.owns(t, 2)
	time.Sleep(3 * fast.Lease) // a living member keeps its lease for ever
	if m.count() != 2 || slices.ContainsFunc(c.printed(), func(s string) bool { return s == "owns 2 lost 1" }) {
		t.Fatal("a running member lost partitions")
	}
	stopped := time.Now()
	c.signal(t, syscall.SIGSTOP)
	m.owns(t, 4)
	if took := time.Since(stopped); took < fast.Lease*9/10 {
		t.Errorf("taken over after %v, before the lease of %v was over", took, fast.Lease)
	}
	c.signal(t, syscall.SIGCONT)
	c.says(t, "refused rollcall: partition is not owned here")
	await(t, "the woken member to be told Lost", func() bool {
		return slices.ContainsFunc(c.printed(), func(s string) bool { return s == "owns 0 lost 2" || s == "owns 2 lost 2" || s == "owns 1 lost 2" })
	})
	m.owns(t, 2) // it is back in the group
}

// A process that was stopped itself must not blame those who ran meanwhile,
// nor may a wall clock matter: both see only their own running time.
func TestMembersStoppedTogether(t *testing.T) {
	path := newPath(t)
	l := openLog(t, path, fast)
	create(t, l, "d", 4)
	a, b := spawn(t, "member", path), spawn(t, "member", path)
	for _, c := range []*child{a, b} {
		c.says(t, "owns 2")
	}
	for range 3 {
		a.signal(t, syscall.SIGSTOP)
		b.signal(t, syscall.SIGSTOP)
		time.Sleep(2 * fast.Lease) // nobody is there to notice
		a.signal(t, syscall.SIGCONT)
		b.signal(t, syscall.SIGCONT)
		time.Sleep(fast.Lease / 2)
	}
	for _, c := range []*child{a, b} {
		if slices.ContainsFunc(c.printed(), func(s string) bool { return len(s) > 5 && s[:5] == "owns " && s[len(s)-1] != '0' }) {
			t.Errorf("partitions were lost although nobody ran meanwhile: %v", c.printed())
		}
	}
}

func TestFilesArePrivate(t *testing.T) {
	path := newPath(t)
	l := openLog(t, path, fast)
	join(t, l, newOwner(), "d").owns(t, 8)
	fill(t, l, "d", 0, 0, 1)
	err := filepath.Walk(filepath.Dir(path), func(name string, info os.FileInfo, err error) error {
		want := os.FileMode(0o600)
		if info.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode().Perm(), want)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
