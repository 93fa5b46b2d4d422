package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/pipeline"
)

func TestHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"plain Grüße\n\ttext":  "plain Grüße\n\ttext",
		"\x1b[31mred\x07":      `\x1b[31mred\x07`,
		"a\rb\x00c\x7f":        `a\x0db\x00c\x7f`,
		"\u009b31m":            `\x9b31m`,
		"bytes \xff\xfe":       `bytes \xff\xfe`,
		"turn \u202e\u2066 it": `turn \u202e\u2066 it`,
	} {
		if got := harmless(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := oneLine("a\nb\tc\x1b"); got != `a\nb\tc\x1b` {
		t.Errorf("%q", got)
	}
}

// TestLines: a line is never held beyond the limit, whatever its length.
func TestLines(t *testing.T) {
	big := strings.Repeat("x", 300_000)
	text := "one\r\n\n" + big + "\ntwo\"\"\"\n" + strings.Repeat("y", 100) + "\n" + strings.Repeat("z", 103) + "\nlast"
	r := newLineReader(iotestOneByte{strings.NewReader(text)}, 100)
	want := []string{"1 5 false one", "2 1 false ", "3 300001 true ", "4 7 false two\"\"\"", "5 101 false " + strings.Repeat("y", 100), "6 104 true ", "7 4 false last"}
	for _, w := range want {
		l, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%d %d %t %s", l.number, l.size, l.long(), l.data); got != w {
			t.Errorf("got %.80s, want %.80s", got, w)
		}
		if l.number == 4 && l.quotes != 3 {
			t.Errorf("%d quotes", l.quotes)
		}
		if cap(l.data) > 1000 {
			t.Errorf("line %d holds %d bytes", l.number, cap(l.data))
		}
	}
	if _, err := r.next(); err != io.EOF {
		t.Errorf("want EOF, got %v", err)
	}
	failed := errors.New("disk")
	r = newLineReader(io.MultiReader(strings.NewReader("half a li"), failingReader{failed}), 100)
	if _, err := r.next(); !errors.Is(err, failed) {
		t.Errorf("half a line before an error was handed out: %v", err)
	}
}

// iotestOneByte gives a byte at a time.
type iotestOneByte struct{ r io.Reader }

func (o iotestOneByte) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

func TestCSV(t *testing.T) {
	const text = "\xef\xbb\xbfa,b.c,\"d\"\"\"\n1,<&>,\"x\ny\"\r\n\n,,\n"
	r := newRecords(formatCSV, strings.NewReader(text), 1000)
	for i, want := range []string{`{"a":"1","b.c":"<&>","d\"":"x\ny"}`, `{"a":"","b.c":"","d\"":""}`} {
		rec, err := r.next()
		if err != nil || rec.bad != nil || string(rec.body) != want || rec.number != uint64(i+1) {
			t.Errorf("%d: %s %v %v", rec.number, rec.body, rec.bad, err)
		}
	}
	if _, err := r.next(); err != io.EOF {
		t.Errorf("want EOF, got %v", err)
	}
	// A quote that is never closed costs no memory beyond the limit.
	open := "a\n\"" + strings.Repeat(strings.Repeat("x", 50)+"\n\n", 20_000)
	r = newRecords(formatCSV, strings.NewReader(open), 500)
	rec, err := r.next()
	if err != nil || rec.bad == nil || rec.line != 2 || cap(rec.body) > 5000 {
		t.Errorf("%+v %v", rec, err)
	}
}

// TestBudget: more than fits waits; more than all of it gets it alone.
func TestBudget(t *testing.T) {
	b := newBudget(10)
	ctx, cancel := context.WithCancel(t.Context())
	for _, n := range []int64{6, 4} {
		if err := b.take(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan error, 1)
	go func() { got <- b.take(ctx, 20) }()
	b.give(4)
	select {
	case err := <-got:
		t.Fatalf("20 were given while 6 are taken: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	b.give(6)
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	go func() { got <- b.take(ctx, 1) }()
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("want Canceled, got %v", err)
	}
}

func TestPace(t *testing.T) {
	p := newPace(200)
	start := time.Now()
	for range 11 {
		if err := p.wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(start); took < 45*time.Millisecond {
		t.Errorf("11 messages at 200/s took %v", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	slow := newPace(0.001)
	_ = slow.wait(t.Context())
	if err := slow.wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("want Canceled, got %v", err)
	}
}

// TestMeter: deliveries of this process are counted, trouble is told, the same
// trouble not again and again.
func TestMeter(t *testing.T) {
	var out, errs bytes.Buffer
	m := newMeter(newApp(nil, &out, &errs))
	m.begin()
	m.Observe(rollcall.Committed{Delivered: 10, Duplicates: 3, SetAside: 2, Counts: rollcall.Counts{Applied: 1, Repeated: 2, Stale: 1, Filtered: 1}})
	m.Observe(rollcall.Committed{Delivered: 1, Counts: rollcall.Counts{Applied: 1}})
	for range 5 {
		m.Observe(rollcall.Paused{Where: "batch", Err: errors.New("disk full"), For: time.Second})
		m.Observe(rollcall.SetAside{MessageID: "m\x1b1", State: rollcall.AsideDead, Cause: "bad"})
		m.Observe(rollcall.SetAside{MessageID: "later", State: rollcall.AsideWaiting, Cause: "bad"})
	}
	m.Observe(rollcall.InDoubt{Err: errors.New("gone")})
	m.Observe(rollcall.Fenced{})
	m.Observe(rollcall.Suspected{Messages: 3})
	m.Observe(rollcall.RollOverflow{First: 1, Last: 9})
	m.Observe(rollcall.Hit{})
	m.end()
	want := processCounts{Delivered: 11, Duplicates: 3, Applied: 2, Repeated: 2, Stale: 1, Filtered: 1, SetAside: 2}
	if got := m.counts(); got != want {
		t.Errorf("%+v", got)
	}
	text := errs.String()
	for _, line := range []string{"paused (batch), trying again in 1s: disk full", `message m\x1b1, attempts 0: bad`, "paused batch: 4 more", "set aside dead: 4 more",
		"a commit had no answer", "taken over", "last 3 messages", "1 to 9"} {
		if strings.Count(text, line) != 1 {
			t.Errorf("%q stands there %d times in:\n%s", line, strings.Count(text, line), text)
		}
	}
	if strings.Contains(text, "later") || out.Len() > 0 {
		t.Errorf("waiting is no news, and stdout is for results:\n%s%s", text, out.String())
	}
	verbose := newApp(nil, &out, &errs)
	verbose.verbose = true
	errs.Reset()
	newMeter(verbose).Observe(rollcall.Hit{Messages: 7})
	if !strings.Contains(errs.String(), "messages=7") {
		t.Errorf("--verbose logs everything: %s", errs.String())
	}
}

// TestMeterProgress: a line where something happened, none where nothing did.
func TestMeterProgress(t *testing.T) {
	m := newMeter(newApp(nil, io.Discard, io.Discard))
	m.Observe(rollcall.Committed{Delivered: 10, Duplicates: 3, SetAside: 2, Counts: rollcall.Counts{Applied: 5}})
	lines := make(chan string, 100)
	m.joined.Go(func() {
		m.show(time.Millisecond, func(text string, done int64) { lines <- fmt.Sprint(done, " ", text) })
	})
	if got := <-lines; !strings.HasPrefix(got, "10 delivered 10 (3 duplicates), applied 5, set aside 2, ") {
		t.Error(got)
	}
	time.Sleep(20 * time.Millisecond) // nothing happens: no line may come
	m.end()
	if len(lines) > 0 {
		t.Errorf("nothing happened, and it says %q", <-lines)
	}
}

// TestExitCodes: what scripts rely on.
func TestExitCodes(t *testing.T) {
	located := &pipeline.Error{File: "f", Line: 1, Column: 1, What: "x", Next: "y"}
	for _, c := range []struct {
		verb string
		err  error
		code int
		text string
	}{
		{"rollcall run", nil, 0, ""},
		{"rollcall run", findings(errors.New("lost"), "look"), 1, "rollcall run: lost\nnext: look\n"},
		{"rollcall run", errors.Join(usage(errors.New("no"), "do"), errors.New("x")), 2, "rollcall run: no\nx\nnext: do\n"},
		{"", errors.New("unknown flag"), 2, "rollcall: unknown flag\nnext: see rollcall --help\n"},
		{"rollcall run", located, 2, "f:1:1: x\n    \n    ^\nnext: y\n"},
		{"rollcall run", fmt.Errorf("%w: no", rollcall.ErrConfig), 2, "rollcall run: no\n"},
		{"rollcall run", errors.New("server"), 3, "rollcall run: server\n"},
		{"rollcall run", errInterrupted, 130, "interrupted: what was in hand is settled, nothing is lost\n"},
	} {
		var out, errs bytes.Buffer
		a := newApp(nil, &out, &errs)
		a.verb = c.verb
		if code := a.finish(c.err); code != c.code || errs.String() != c.text {
			t.Errorf("%v: exit code %d, want %d\n%s", c.err, code, c.code, errs.String())
		}
	}
}

func TestVersionOf(t *testing.T) {
	info := &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}},
		Deps: []*debug.Module{{Path: "modernc.org/sqlite", Version: "v9"}}}
	v := versionOf(info, true)
	if v.Version != "v1.2.3" || v.Commit != "abc" || len(v.Drivers) != len(drivers) || v.Drivers[0].Version != "v9" {
		t.Errorf("%+v", v)
	}
	if v := versionOf(nil, false); v.Version != "unknown" || v.Drivers[1].Version != "unknown" {
		t.Errorf("%+v", v)
	}
}

func TestProgressLine(t *testing.T) {
	p := newProgress(newApp(nil, io.Discard, io.Discard), 10<<20)
	p.begin("sent")
	p.add(100, 1536<<10)
	line := p.line()
	p.end()
	if !strings.HasPrefix(line, "sent 100 messages, 1.5 MiB, ") || !strings.HasSuffix(line, " a second of 10.0 MiB") {
		t.Error(line)
	}
	if sizeText(1023) != "1023 B" || sizeText(3<<40) != "3.0 TiB" {
		t.Error(sizeText(1023), sizeText(3<<40))
	}
}
