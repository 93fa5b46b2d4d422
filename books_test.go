package rollcall_test

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
)

func aBook() rollcall.Book {
	at := time.Date(2026, 11, 26, 12, 0, 0, 5000, time.UTC)
	return rollcall.Book{
		Kind: rollcall.BookBeacon, Life: rollcall.Life{1, 2}, Keeper: rollcall.Life{3}, Sender: "till-7", Destination: "orders",
		Number: 9, Time: at, Next: 5 * time.Second,
		Lanes: []rollcall.BookLane{{
			Lane: 3, Origin: rollcall.OriginOf("elsewhere"), Name: "3", Given: 1<<61 + 5,
			Stored: []rollcall.NumberRange{{First: 1, Last: 4}, {First: 6, Last: 1 << 61}}, Void: []rollcall.NumberRange{{First: 5, Last: 5}},
			Maybe: []rollcall.NumberRange{{First: 1<<61 + 1, Last: 1<<61 + 5}},
			Marks: []rollcall.Mark{
				{Sequence: 4, Partition: 3, Position: rollcall.Position{Incarnation: rollcall.Incarnation{7}, Offset: 0}, Time: at},
				{Sequence: 6, Partition: 3, Time: at}},
		}},
	}
}

func TestBookRoundTrip(t *testing.T) {
	want := aBook()
	m, err := want.Message()
	if err != nil {
		t.Fatal(err)
	}
	got, err := rollcall.ParseBook(&m)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("read back\n%+v, written\n%+v\n%s", got, want, m.Body)
	}
}

// TestBadBooks: each is named by its field, and none is taken for less than it is.
func TestBadBooks(t *testing.T) {
	good := aBook()
	m, err := good.Message()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ replace, with, says string }{
		{`"v":1`, `"v":2`, "v is 2"},
		{`"kind":"beacon"`, `"kind":"bacon"`, `kind "bacon"`},
		{`"destination":"orders"`, `"destination":""`, "destination is missing"},
		{`"life":"01020`, `"life":"0102`, "life"},
		{`"keeper":"03`, `"keeper":"zz`, "keeper"},
		{`"next_ms":5000`, `"next_ms":-1`, "next_ms -1"},
		{`"stored":[[1,4]`, `"stored":[[0,4]`, "stored: [0, 4]"},
		{`"stored":[[1,4]`, `"stored":[[1,6]`, "behind 6"},
		{`"stored":[[1,4]`, `"stored":[[4,1]`, "stored: [4, 1]"},
		{`"stored":[[1,4]`, `"stored":[[1,9223372036854775807]`, "goes beyond"},
		{`"given":2305843009213693957`, `"given":9223372036854775807`, "given"},
		{`"stored":[[1,4]`, `"stored":[[-1,4]`, "number -1"},
		{`"origin":"`, `"origin":"x`, "origin"},
		{`"incarnation":"07`, `"incarnation":"7`, "incarnation"},
		{`{"v"`, `["v"`, "invalid"},
	} {
		bad := m
		bad.Body = []byte(strings.Replace(string(m.Body), c.replace, c.with, 1))
		if string(bad.Body) == string(m.Body) {
			t.Errorf("%s is not in %s", c.replace, m.Body)
		}
		_, err := rollcall.ParseBook(&bad)
		if !errors.Is(err, rollcall.ErrBadBook) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, it must be ErrBadBook and say %q", c.with, err, c.says)
		}
	}
}

// TestBookExample: the record in docs/stamp.md is one.
func TestBookExample(t *testing.T) {
	page, err := os.ReadFile("docs/stamp.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "```json\n")
	example, _, _ = strings.Cut(example, "```")
	b, err := rollcall.ParseBook(&rollcall.Message{Body: []byte(example)})
	if err != nil || b.Kind != rollcall.BookBeacon || b.Life != b.Keeper || b.Next != 10*time.Second || b.Lanes[0].Given != 300 || b.Lanes[0].Marks[0].Position.Offset != 1298 {
		t.Fatalf("%+v, %v", b, err)
	}
}
