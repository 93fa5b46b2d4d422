package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
)

func lifeOf(t *testing.T, data []byte, format string) *fileLife {
	t.Helper()
	life, err := readLife(bytes.NewReader(data), format, func(int) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return life
}

// TestLifeIsTheHash: the life is a hash of format version, format and bytes,
// and of nothing else. It is part of what users keep: it must never change.
func TestLifeIsTheHash(t *testing.T) {
	data := []byte("{\"a\":1}\n")
	want := sha256.Sum256([]byte("rollcall file 1 ndjson\n{\"a\":1}\n"))
	if got := lifeOf(t, data, formatNDJSON).life; !bytes.Equal(got[:], want[:16]) {
		t.Errorf("life %s, want %x", got, want[:16])
	}
	same := lifeOf(t, data, formatNDJSON).life
	for name, other := range map[string]rollcall.Life{
		"format": lifeOf(t, data, formatRaw).life,
		"bytes":  lifeOf(t, []byte("{\"a\":2}\n"), formatNDJSON).life,
		"length": lifeOf(t, append(data, '\n'), formatNDJSON).life,
	} {
		if other == same {
			t.Errorf("another %s gives the same life", name)
		}
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 200_000) // 3.2 MB: four chunks
	if n := len(lifeOf(t, big, formatRaw).chunks); n != 4 {
		t.Errorf("%d chunks", n)
	}
	moved := append([]byte{}, big...)
	moved[len(moved)-1] = 'x'
	if lifeOf(t, big, formatRaw).life == lifeOf(t, moved, formatRaw).life {
		t.Error("the last chunk is not in the life")
	}
}

// TestVerifiedReader: nothing of a chunk that changed is handed out, and all
// that comes before is.
func TestVerifiedReader(t *testing.T) {
	data := make([]byte, 2*chunkSize+100)
	for i := range data {
		data[i] = byte(i * 7)
	}
	life := lifeOf(t, data, formatRaw)
	full := lifeOf(t, data[:2*chunkSize], formatRaw) // ends with a chunk
	flip := func(at int) []byte {
		b := append([]byte{}, data...)
		b[at] ^= 1
		return b
	}
	for name, c := range map[string]struct {
		life *fileLife
		data []byte
		good int
		err  error
	}{
		"same":            {life, data, len(data), nil},
		"same, full":      {full, data[:2*chunkSize], 2 * chunkSize, nil},
		"first byte":      {life, flip(0), 0, errChanged},
		"second chunk":    {life, flip(chunkSize), chunkSize, errChanged},
		"last byte":       {life, flip(len(data) - 1), 2 * chunkSize, errChanged},
		"cut":             {life, data[:len(data)-1], 2 * chunkSize, errChanged},
		"cut at a chunk":  {life, data[:2*chunkSize], 2 * chunkSize, errChanged},
		"grown":           {life, append(append([]byte{}, data...), 'x'), 2 * chunkSize, errChanged},
		"grown at a full": {full, data[:2*chunkSize+1], 2 * chunkSize, errChanged},
		"emptied":         {life, nil, 0, errChanged},
	} {
		got, err := io.ReadAll(newVerifiedReader(bytes.NewReader(c.data), c.life))
		if !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.err)
		}
		if !bytes.Equal(got, data[:c.good]) {
			t.Errorf("%s: %d bytes were handed out, want the first %d", name, len(got), c.good)
		}
	}
}

// senderSpy is a broker that keeps what it is given.
type senderSpy struct {
	mu       sync.Mutex
	messages []rollcall.Message
	on       func(n int, m *rollcall.Message) rollcall.PublishResult
}

type oneLane struct{}

func (oneLane) Pick(*rollcall.Message) int32 { return 5 }
func (oneLane) Name(int32) string            { return "" }

func (s *senderSpy) Capabilities() rollcall.Capabilities {
	return rollcall.Capabilities{Broker: "spy", MaxBytes: 1000}
}
func (s *senderSpy) Lanes(context.Context, string) (rollcall.Lanes, error) { return oneLane{}, nil }
func (s *senderSpy) Close(context.Context) error                           { return nil }
func (s *senderSpy) Publish(_ context.Context, _ string, ms []rollcall.Message) []rollcall.PublishResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]rollcall.PublishResult, len(ms))
	for i := range ms {
		out[i] = rollcall.PublishResult{Fate: rollcall.Stored}
		if s.on != nil {
			out[i] = s.on(len(s.messages), &ms[i])
		}
		s.messages = append(s.messages, ms[i])
	}
	return out
}

// sendFile runs send on a file against a spy.
func sendFile(t *testing.T, spy *senderSpy, name, data string, o sendOptions) (stdout, stderr string, err error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return sendPath(t, spy, path, o)
}

func sendPath(t *testing.T, spy *senderSpy, path string, o sendOptions) (stdout, stderr string, err error) {
	t.Helper()
	if o.onBad == "" {
		o.onBad = "stop"
	}
	shape, err := o.shape(path)
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	a := newApp(strings.NewReader(""), &out, &errs)
	in, file, err := openInput(a, path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s := newSending(a, &broker{sender: spy, destination: "orders"}, shape)
	s.patience, s.room = 50*time.Millisecond, newBudget(1<<20)
	err = s.all(context.Background(), in)
	return out.String(), errs.String(), err
}

// TestStampOfAFile: one lane of its own, numbered by record, whatever the
// partition; records that are left out keep their number.
func TestStampOfAFile(t *testing.T) {
	const data = "{\"id\":\"a\"}\n\n{\"id\":\"b\"}\nbad\n{\"id\":\"" + "d\"}\n"
	spy := &senderSpy{}
	_, _, err := sendFile(t, spy, "x.ndjson", data, sendOptions{onBad: "skip", key: "id"})
	var f *failure
	if !errors.As(err, &f) || f.code != exitFindings {
		t.Fatalf("a bad record is a finding: %v", err)
	}
	life := lifeOf(t, []byte(data), formatNDJSON).life
	want := []struct {
		number uint64
		body   string
	}{{1, `{"id":"a"}`}, {2, `{"id":"b"}`}, {4, `{"id":"d"}`}}
	if len(spy.messages) != len(want) {
		t.Fatalf("%d messages", len(spy.messages))
	}
	for i, w := range want {
		m := spy.messages[i]
		stamp := rollcall.Stamp{Life: life, Lane: 0, Sequence: w.number, Origin: rollcall.OriginOf("orders")}
		if m.Stamp != stamp || string(m.Body) != w.body || m.Partition != 5 {
			t.Errorf("record %d: %+v %s", w.number, m.Stamp, m.Body)
		}
		if id := fmt.Sprintf("%s-%d", life, w.number); string(m.ID) != id {
			t.Errorf("record %d: id %s", w.number, m.ID)
		}
		if m.Key != w.body[7:8] {
			t.Errorf("record %d: key %q", w.number, m.Key)
		}
	}
	spy = &senderSpy{}
	if _, _, err := sendFile(t, spy, "x.ndjson", "{\"id\":\"a\"}\n", sendOptions{id: "payload.id"}); err != nil {
		t.Fatal(err)
	}
	if m := spy.messages[0]; m.ID != "a" || !m.Stamp.OwnID || m.Stamp.Sequence != 1 {
		t.Errorf("--id: %q %+v", m.ID, m.Stamp)
	}
}

// TestStdinIsNumberedAnew: there are no bytes to read twice.
func TestStdinIsNumberedAnew(t *testing.T) {
	lives := make(map[rollcall.Life]bool)
	for range 2 {
		spy := &senderSpy{}
		var out, errs bytes.Buffer
		a := newApp(strings.NewReader("a\nb\n"), &out, &errs)
		s := newSending(a, &broker{sender: spy, destination: "orders"}, shape{format: formatRaw})
		if err := s.all(context.Background(), a.in); err != nil {
			t.Fatal(err)
		}
		if n := len(spy.messages); n != 2 || spy.messages[1].Stamp.Sequence != 2 {
			t.Fatalf("%d messages, the last numbered %d", n, spy.messages[n-1].Stamp.Sequence)
		}
		lives[spy.messages[0].Stamp.Life] = true
		if strings.Contains(out.String(), "life") {
			t.Errorf("it promises that a repeat is absorbed: %s", out.String())
		}
	}
	if len(lives) != 2 {
		t.Error("two runs have one life")
	}
}

// TestFileChangesWhileSent: what was sent is intact, nothing of the change is.
func TestFileChangesWhileSent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.raw")
	// 4 MB in 40,000 records, more than the publisher holds: the end is read
	// long after the first message is on its way.
	lines := strings.Repeat(strings.Repeat("a", 99)+"\n", 40_000)
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	spy := &senderSpy{}
	changed := false
	spy.on = func(int, *rollcall.Message) rollcall.PublishResult {
		if !changed { // the last chunk, when the first message is on its way
			changed = true
			if err := os.WriteFile(path, []byte(lines[:3<<20]+strings.Repeat("b", 1000)), 0o600); err != nil {
				t.Error(err)
			}
		}
		return rollcall.PublishResult{Fate: rollcall.Stored}
	}
	_, _, err := sendPath(t, spy, path, sendOptions{format: formatRaw})
	var f *failure
	if !errors.Is(err, errChanged) || !errors.As(err, &f) || f.code != exitFindings {
		t.Fatalf("want errChanged, got %v", err)
	}
	if want := fmt.Sprintf("%d records were sent before, and they are intact", len(spy.messages)); !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	for i := range spy.messages {
		if string(spy.messages[i].Body) != strings.Repeat("a", 99) {
			t.Fatalf("record %d is %q", i+1, spy.messages[i].Body)
		}
	}
}

// TestFates: sent = stored + refused + unknown, and what is not stored is a
// finding.
func TestFates(t *testing.T) {
	spy := &senderSpy{}
	spy.on = func(n int, m *rollcall.Message) rollcall.PublishResult {
		if string(m.Body) == "no" {
			return rollcall.PublishResult{Fate: rollcall.Refused, Err: errors.New("not today")}
		}
		return rollcall.PublishResult{Fate: rollcall.Stored}
	}
	out, errs, err := sendFile(t, spy, "x.raw", "a\nno\n"+strings.Repeat("x", 990)+"\nb\n", sendOptions{format: formatRaw})
	var f *failure
	if !errors.As(err, &f) || f.code != exitFindings {
		t.Errorf("want a finding, got %v", err)
	}
	if !strings.Contains(out, "sent 4 = stored 2 + refused 2 + unknown 0; bad 0") {
		t.Error(out)
	}
	for _, want := range []string{"line 2: refused: not today", "line 3: refused: ", "message too large"} {
		if !strings.Contains(errs, want) {
			t.Errorf("%q is missing in:\n%s", want, errs)
		}
	}
}
