package filelog_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
)

func TestMessagesComeAsTheyWere(t *testing.T) {
	l := openLog(t, newPath(t), filelog.Config{})
	big := make([]byte, 1<<20)
	for i := range big {
		big[i] = byte(i * 7)
	}
	stamp := rollcall.Stamp{Life: rollcall.NewLife(), Lane: 7, Sequence: 1 << 40, Origin: rollcall.OriginOf("x"), OwnID: true}
	sent := []rollcall.Message{
		{ID: "plain", Key: "k", Body: []byte("hello"), Time: time.Date(1999, 12, 31, 23, 59, 59, 999999999, time.UTC)},
		{ID: "nul\x00\xff\xfe", Key: "\x00\x80", Body: []byte("a\x00b\xc3\x28")},
		{ID: "empty"},
		{Body: []byte("no id")},
		{ID: "stamped", Stamp: stamp},
		{ID: "headers", Headers: []rollcall.Header{{Name: "a", Value: []byte{0}}, {Name: "a", Value: []byte("2")}, {}}},
		{ID: "big", Body: big},
		{ID: "after", Body: []byte("big")},
	}
	for i := range sent {
		sent[i].Partition = 3
	}
	before := time.Now()
	results := publish(t, l, create(t, l, "d", 8), sent...)
	got := join(t, l, newOwner(), "d").take(t, len(sent))
	for i := range sent {
		sent[i].Destination = "d"
		if sent[i].Time.IsZero() {
			if at := got[i].Time; at.Before(before.Add(-time.Second)) || at.After(time.Now()) {
				t.Errorf("message %d has time %v, want now", i, at)
			}
			got[i].Time = time.Time{}
		}
		if !bytes.Equal(sent[i].Body, got[i].Body) {
			t.Errorf("message %d: body of %d bytes came with %d, or changed", i, len(sent[i].Body), len(got[i].Body))
		}
		if diff := cmp.Diff(sent[i], got[i].Message, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(rollcall.Message{}, "Body")); diff != "" {
			t.Errorf("message %d (-sent +got):\n%s", i, diff)
		}
		if got[i].Position != results[i].Position || got[i].Position.Offset != int64(i) || got[i].Redelivered {
			t.Errorf("message %d: %+v, redelivered %v; stored at %+v", i, got[i].Position, got[i].Redelivered, results[i].Position)
		}
	}
}

func TestAppendingToABodyDoesNotReachTheNext(t *testing.T) {
	l := openLog(t, newPath(t), filelog.Config{})
	create(t, l, "d", 1)
	fill(t, l, "d", 0, 0, 20)
	got := join(t, l, newOwner(), "d").take(t, 20)
	_ = append(got[0].Body, "overwritten by a handler, far beyond its end"...)
	if string(got[1].Body) != "1" || string(got[1].ID) != "1" {
		t.Errorf("the next message is %q now", got[1].Body)
	}
}

func TestOneBadMessageDoesNotTakeItsBatchWithIt(t *testing.T) {
	l := openLog(t, newPath(t), filelog.Config{MaxBytes: 100})
	create(t, l, "d", 2)
	body := make([]byte, 90)
	results := l.Sender().Publish(t.Context(), "d", []rollcall.Message{
		{ID: "12345", Key: "12345", Body: body}, // exactly the limit
		{ID: "12345", Key: "123456", Body: body},
		{Headers: []rollcall.Header{{Name: "123456", Value: []byte("12345")}}, Body: body},
		{Partition: 2},
		{Partition: -1},
		{Partition: 1, ID: "last"},
	})
	for i, want := range []struct {
		fate rollcall.Fate
		err  error
	}{{rollcall.Stored, nil}, {rollcall.Refused, rollcall.ErrTooLarge}, {rollcall.Refused, rollcall.ErrTooLarge},
		{rollcall.Refused, rollcall.ErrConfig}, {rollcall.Refused, rollcall.ErrConfig}, {rollcall.Stored, nil}} {
		if results[i].Fate != want.fate {
			t.Errorf("message %d: %v, %v; want %v", i, results[i].Fate, results[i].Err, want.fate)
		}
		if want.err != nil {
			mustBe(t, results[i].Err, want.err)
		}
	}
	mustSay(t, results[1].Err, "101 bytes", "limit is 100")
	if a, b := extent(t, l, "d", 0), extent(t, l, "d", 1); a.End != 1 || b.End != 1 {
		t.Errorf("ends are %d and %d, want 1 and 1", a.End, b.End)
	}
}

func TestPublishWithoutDestinationOrLog(t *testing.T) {
	path := newPath(t)
	l, err := filelog.Open(path, filelog.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r := l.Sender().Publish(t.Context(), "nowhere", make([]rollcall.Message, 2))
	for i := range r {
		if r[i].Fate != rollcall.Refused {
			t.Errorf("no destination: %v", r[i].Fate)
		}
		mustBe(t, r[i].Err, rollcall.ErrNoDestination, "nowhere", path)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r = l.Sender().Publish(t.Context(), "nowhere", make([]rollcall.Message, 1))
	if r[0].Fate != rollcall.Refused {
		t.Errorf("closed: %v", r[0].Fate)
	}
	mustBe(t, r[0].Err, rollcall.ErrClosed, path)
	_, err = l.Sender().Lanes(t.Context(), "d")
	mustBe(t, err, rollcall.ErrClosed)
	if _, err := l.Source("d").Measure(t.Context()); err == nil {
		t.Error("Measure of a closed log worked")
	}
}

func TestARepeatIsStoredAgain(t *testing.T) {
	l := openLog(t, newPath(t), filelog.Config{})
	create(t, l, "d", 1)
	m := rollcall.Message{ID: "same", Stamp: rollcall.Stamp{Life: rollcall.NewLife(), Sequence: 1}}
	a, b := publish(t, l, "d", m), publish(t, l, "d", m)
	if a[0].Position.Offset != 0 || b[0].Position.Offset != 1 {
		t.Errorf("stored at %d and %d, want 0 and 1", a[0].Position.Offset, b[0].Position.Offset)
	}
}

// holdLock takes SQLite's write lock from outside, as another process would.
func holdLock(t testing.TB, path string) (release func()) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		_, err := c.ExecContext(context.Background(), "ROLLBACK")
		if err != nil || c.Close() != nil || db.Close() != nil {
			t.Errorf("release: %v", err)
		}
	})
}

func TestLockHeldByAnotherProcess(t *testing.T) {
	path := newPath(t)
	l := openLog(t, path, filelog.Config{LockWait: 50 * time.Millisecond})
	create(t, l, "d", 1)
	release := holdLock(t, path)
	defer release()
	r := l.Sender().Publish(t.Context(), "d", make([]rollcall.Message, 2))
	for i := range r {
		if r[i].Fate != rollcall.Unknown {
			t.Errorf("fate %v, want unknown: a repeat is right", r[i].Fate)
		}
		mustSay(t, r[i].Err, path, "write lock", "nothing was stored")
	}
	release()
	fill(t, l, "d", 0, 0, 1)
	if end := extent(t, l, "d", 0).End; end != 1 {
		t.Errorf("the log has %d messages, want the 1 that was acknowledged", end)
	}
}

func TestDestinations(t *testing.T) {
	l := openLog(t, newPath(t), filelog.Config{})
	strict := openLog(t, newPath(t), filelog.Config{NoCreate: true})
	lanes, err := l.Sender().Lanes(t.Context(), "auto")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if got := lanes.Pick(&rollcall.Message{}); got != int32(i%8) {
			t.Errorf("keyless message %d goes to %d, want round robin over 8", i, got)
		}
	}
	if a, b := lanes.Pick(&rollcall.Message{Key: "foobar"}), lanes.Pick(&rollcall.Message{Key: "foobar"}); a != b || lanes.Name(a) != fmt.Sprint(a) {
		t.Errorf("one key goes to %d and %d, name %q", a, b, lanes.Name(a))
	}
	_, err = strict.Sender().Lanes(t.Context(), "auto")
	mustBe(t, err, rollcall.ErrNoDestination, "auto")
	_, err = strict.Source("auto").Subscribe(t.Context(), rollcall.SubscribeRequest{Group: "g"}, newOwner())
	mustBe(t, err, rollcall.ErrNoDestination, "auto")

	create(t, l, "auto", 8)
	mustBe(t, l.Create(t.Context(), "auto", 9), rollcall.ErrConfig, "has 8", "Raise")
	mustBe(t, l.Raise(t.Context(), "auto", 7), rollcall.ErrConfig, "cannot be taken away")
	mustBe(t, l.Raise(t.Context(), "none", 7), rollcall.ErrNoDestination)
	mustBe(t, l.Create(t.Context(), "", 7), rollcall.ErrConfig)
	mustBe(t, l.Create(t.Context(), "x", 65537), rollcall.ErrConfig)
	mustBe(t, l.Delete(t.Context(), "none"), rollcall.ErrNoDestination)
	fill(t, l, "auto", 7, 0, 5)
	inc := extent(t, l, "auto", 7).Incarnation
	if err := l.Raise(t.Context(), "auto", 10); err != nil {
		t.Fatal(err)
	}
	fill(t, l, "auto", 9, 0, 1)
	if e := extent(t, l, "auto", 7); e.End != 5 || e.Incarnation != inc || extent(t, l, "auto", 9).Incarnation != inc {
		t.Errorf("after Raise: %+v", e)
	}
	names, err := l.Destinations(t.Context())
	if diff := cmp.Diff([]string{"auto"}, names); diff != "" || err != nil {
		t.Errorf("Destinations: %v\n%s", err, diff)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []filelog.Config{{Lease: time.Millisecond}, {LockWait: -1}, {MaxBytes: -1}, {MaxBytes: 257 << 20}, {Retention: -1}, {Partitions: -1}, {Partitions: 65537}} {
		_, err := filelog.Open(newPath(t), c)
		mustBe(t, err, rollcall.ErrConfig, "filelog.Config.")
	}
}
