package rollcall_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// printed is what a sender in another language wrote.
type printed struct {
	stamps []rollcall.Stamp
	books  []rollcall.Book
}

// runSender runs it, and reads every line as Go's own parsers do.
func runSender(t *testing.T, command ...string) (p printed) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", command, err, errs.String())
	}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "{") {
			book, err := rollcall.ParseBook(&rollcall.Message{ID: "line", Body: []byte(line)})
			if err != nil {
				t.Fatalf("%v\n%s", err, line)
			}
			p.books = append(p.books, book)
			continue
		}
		var headers [][2]string
		if err := json.Unmarshal([]byte(line), &headers); err != nil || len(headers) != 1 || headers[0][0] != rollcall.StampHeader {
			t.Fatalf("%v, want one header %s\n%s", err, rollcall.StampHeader, line)
		}
		value, err := hex.DecodeString(headers[0][1])
		if err != nil {
			t.Fatal(err)
		}
		stamp, err := rollcall.ParseStamp(value)
		if err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		p.stamps = append(p.stamps, stamp)
	}
	return p
}

// TestOtherLanguages: what the senders in examples/stamp print is, field by field, what a
// sender of ours says.
func TestOtherLanguages(t *testing.T) {
	const messages = 140 // the numbers of the last ones have two bytes
	for name, command := range map[string][]string{
		"stamp.py": {"python3", "-B", "examples/stamp/stamp.py"}, "stamp.sh": {"sh", "examples/stamp/stamp.sh"},
	} {
		t.Run(name, func(t *testing.T) {
			fates := slices.Concat(slices.Repeat([]string{"stored"}, 10), []string{"void"}, slices.Repeat([]string{"maybe"}, 119), slices.Repeat([]string{"stored"}, 10))
			began := time.Now().Truncate(time.Second) // the shell's are in seconds
			p := runSender(t, slices.Concat(command, []string{"orders", fmt.Sprint(messages)}, fates)...)
			if len(p.stamps) != messages || len(p.books) != 3 {
				t.Fatalf("%d stamps and %d books, want %d and 3", len(p.stamps), len(p.books), messages)
			}
			life := p.stamps[0].Life
			for i, s := range p.stamps {
				if want := (rollcall.Stamp{Life: life, Sequence: uint64(i + 1), Origin: rollcall.OriginOf("orders")}); s != want {
					t.Fatalf("message %d has the stamp %+v, want %+v", i, s, want)
				}
			}
			lanes := []rollcall.BookLane{{Given: messages, Origin: rollcall.OriginOf("orders"), Stored: []rollcall.NumberRange{{First: 1, Last: 10}, {First: 131, Last: 140}},
				Void: []rollcall.NumberRange{{First: 11, Last: 11}}, Maybe: []rollcall.NumberRange{{First: 12, Last: 130}}}}
			want := []rollcall.Book{{Kind: rollcall.BookBirth}, {Kind: rollcall.BookBeacon, Lanes: lanes}, {Kind: rollcall.BookEnd, Lanes: lanes}}
			for i, b := range p.books {
				if b.Time.Before(began) || b.Time.After(time.Now().Add(time.Second)) {
					t.Errorf("record %d is of %v", i+1, b.Time)
				}
				w := &want[i]
				w.Life, w.Keeper, w.Sender, w.Destination, w.Number, w.Time, w.Next = life, life, name, "orders", uint64(i+1), b.Time, 10*time.Second
				if !reflect.DeepEqual(b, *w) {
					t.Errorf("record %d is\n%+v, want\n%+v", i+1, b, *w)
				}
			}
			if other := runSender(t, slices.Concat(command, []string{"orders", "2"})...); len(other.books) != 0 || len(other.stamps) != 2 || other.stamps[0].Life == life {
				t.Errorf("run again, and told nothing: %+v, want two stamps of another life", other)
			}
		})
	}
}

// TestMarksOfPython: a mark from Python is the place that Go reads.
func TestMarksOfPython(t *testing.T) {
	const program = `import sys; sys.path.insert(0, "examples/stamp"); import stamp
s = stamp.Stamper("orders"); b = stamp.Books(s, next_ms=500); s.next(lane=7)
b.maybe(7, 1); b.stored(7, 1); b.mark(7, 1, 7, 41, bytes(range(16))); print(b.record())`
	p := runSender(t, "python3", "-B", "-c", program)
	lane := p.books[0].Lanes[0]
	want := rollcall.Position{Offset: 41}
	for i := range want.Incarnation {
		want.Incarnation[i] = byte(i)
	}
	if p.books[0].Next != 500*time.Millisecond || lane.Lane != 7 || len(lane.Stored) != 1 || lane.Maybe != nil || len(lane.Marks) != 1 || lane.Marks[0].Position != want ||
		lane.Marks[0].Partition != 7 || lane.Marks[0].Sequence != 1 || lane.Marks[0].Time.IsZero() {
		t.Fatalf("the record is %+v", p.books[0])
	}
}
