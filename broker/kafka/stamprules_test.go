package kafka_test

import (
	"encoding/hex"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/memory"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestStampExample: the example in docs/stamp.md is what Go and Python make.
func TestStampExample(t *testing.T) {
	page, err := os.ReadFile("../../docs/stamp.md")
	if err != nil {
		t.Fatal(err)
	}
	const example = "    01 000102030405060708090a0b0c0d0e0f 1c168adb00d208e4 03 ac02\n"
	if !strings.Contains(string(page), example) {
		t.Fatalf("docs/stamp.md does not have the example %q", example)
	}
	want := strings.ReplaceAll(strings.TrimSpace(example), " ", "")
	s := rollcall.Stamp{Lane: 3, Sequence: 300, Origin: rollcall.OriginOf("orders")}
	copy(s.Life[:], many(16))
	if got := hex.EncodeToString(rollcall.AppendStamp(nil, s)); got != want {
		t.Errorf("Go makes %s, want %s", got, want)
	}
	const program = `import sys; sys.path.insert(0, "../../examples/stamp"); import stamp; print(stamp.encode(bytes(range(16)), "orders", 3, 300).hex())`
	got, err := exec.CommandContext(t.Context(), "python3", "-B", "-c", program).Output()
	if err != nil || strings.TrimSpace(string(got)) != want {
		t.Errorf("Python makes %s, %v, want %s", got, err, want)
	}
}

// TestStampRules are the rows of docs/stamp.md that TestEnvelopes has not: what a
// receiver does with stamps and ids that are there twice, or not as promised.
func TestStampRules(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 1, nil)
	stamp := func(n uint64, own bool) string {
		return string(rollcall.AppendStamp(nil, rollcall.Stamp{Life: rollcall.Life{1}, Sequence: n, Origin: rollcall.OriginOf(topic), OwnID: own}))
	}
	const head, id = rollcall.StampHeader, rollcall.IDHeader
	var records []*kgo.Record
	for _, r := range [][]string{
		{"equal stamps", head, stamp(1, false), head, stamp(1, false)},
		{"too long", head, stamp(2, false) + "x"},
		{"other version", head, "\x02" + stamp(3, false)[1:]},
		{"sequence 0", head, stamp(4, false)[:26] + "\x00"},
		{"cut short", head, stamp(300, false)[:27]},
		{"negative", head, stamp(4, false)[:26] + strings.Repeat("\xff", 9) + "\x7f"},
		{"absurd", head, stamp(1<<62, false)}, {"absurd", head, stamp(1<<62, false)},
		{"no id as promised", head, stamp(5, true)},
		{"two ids for one promised", head, stamp(6, true), id, "a", id, "b"},
		{"stamp and two ids", head, stamp(7, false), id, "a", id, "b"},
		{"own id", head, stamp(8, true), id, "mine"}, {"own id, numbered anew", head, stamp(9, true), id, "mine"},
		{"equal ids", id, "c", id, "c"}, {"equal ids", id, "c", id, "c"},
		{"different ids", id, "d", id, "e"}, {"different ids", id, "d", id, "e"},
		{"stamp wins", head, stamp(10, false), "ce_id", "1", "ce_source", "/a"}, {"stamp wins", head, stamp(11, false), "ce_id", "1", "ce_source", "/a"},
		{"stamp and two ids", head, stamp(7, false), id, "a", id, "b"},
	} {
		records = append(records, &kgo.Record{Topic: topic, Value: []byte(r[0]), Headers: headers(r[1:]...)})
	}
	raw(t, brokers, records...)
	db := memory.NewDatabase(memory.Config{})
	got, err := ledger(t, source(t, open(t, brokers), topic), aGroup, db, rollcall.ConsumerConfig{})
	want := []string{"absurd", "different ids", "different ids", "equal ids", "own id", "stamp and two ids", "stamp wins", "stamp wins"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n got %q\nwant %q", err, got, want)
	}
	dead, err := memory.Open(db).Asides().List(t.Context(), aGroup, rollcall.AsideFilter{States: []rollcall.AsideState{rollcall.AsideDead}, Max: 100})
	if err != nil {
		t.Fatal(err)
	}
	var aside []string
	for _, d := range dead {
		cause, _, _ := strings.Cut(d.Cause, ":")
		aside = append(aside, string(d.Message.Body)+": "+cause)
	}
	slices.Sort(aside)
	wantAside := []string{"cut short: bad envelope", "equal stamps: bad envelope", "negative: bad envelope", "no id as promised: no identity", "other version: bad envelope",
		"sequence 0: bad envelope", "too long: bad envelope", "two ids for one promised: no identity"}
	if !slices.Equal(aside, wantAside) {
		t.Errorf("\n set aside %q\n      want %q", aside, wantAside)
	}
}
