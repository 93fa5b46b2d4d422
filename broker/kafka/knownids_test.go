package kafka_test

import (
	"encoding/hex"
	"encoding/json"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/memory"
)

// TestKnownIDsFromJava: what other ecosystems send as the id of a message counts without
// any configuration: the Java client sends everything twice, and it takes effect once.
func TestKnownIDsFromJava(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 3, nil)
	record := func(value string, pairs ...string) javaRecord {
		r := javaRecord{key: []byte(value), value: []byte(value)}
		for i := 0; i < len(pairs); i += 2 {
			r.headers = append(r.headers, rollcall.Header{Name: pairs[i], Value: []byte(pairs[i+1])})
		}
		return r
	}
	const uuid, other = "6f1c2f0e-1f7a-4a53-9c7d-1b8b6f1d2e3f", "7f1c2f0e-1f7a-4a53-9c7d-1b8b6f1d2e3f"
	records := []javaRecord{
		record("debezium", "id", uuid), record("debezium, other", "id", other),
		record("event of a", "ce_specversion", "1.0", "ce_type", "order.placed", "ce_id", "1", "ce_source", "/a"),
		record("event of b", "ce_specversion", "1.0", "ce_type", "order.placed", "ce_id", "1", "ce_source", "/b"),
		record("click", "Idempotency-Key", "k-1"), record("click, other", "Idempotency-Key", "k-2"),
		record("rollcall", rollcall.IDHeader, "r-1"),
		record("no id"), record("number", "id", "4711"), record("half an event", "ce_id", "1"), // not unique: both count
	}
	javaSend(t, brokers, topic, slices.Concat(records, records)...)
	got, err := ledger(t, source(t, open(t, brokers), topic), aGroup, memory.NewDatabase(memory.Config{}), rollcall.ConsumerConfig{})
	want := []string{"click", "click, other", "debezium", "debezium, other", "event of a", "event of b",
		"half an event", "half an event", "no id", "no id", "number", "number", "rollcall"}
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%v\n got %q\nwant %q", err, got, want)
	}
}

// TestStampFromPython: examples/stamp/stamp.py, which has docs/stamp.md and the standard
// library only, makes stamps that are taken as ours: sent twice with the Java client, they
// take effect once, and nothing is set aside.
func TestStampFromPython(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 1, nil)
	const messages = 300 // sequences of one byte and of two
	records := pythonStamps(t, topic, messages)
	for i, r := range records {
		s, err := rollcall.ParseStamp(r.headers[0].Value)
		if err != nil || s.Sequence != uint64(i+1) || s.Lane != 0 || s.Origin != rollcall.OriginOf(topic) || s.OwnID {
			t.Fatalf("message %d: %+v, %v", i, s, err)
		}
	}
	javaSend(t, brokers, topic, slices.Concat(records[:200], records[100:], records)...)
	db := memory.NewDatabase(memory.Config{})
	got, err := ledger(t, source(t, open(t, brokers), topic), aGroup, db, rollcall.ConsumerConfig{})
	if err != nil || !slices.Equal(got, bodies(0, messages)) {
		t.Fatalf("%d took effect of %d, %v", len(got), messages, err)
	}
	dead, err := memory.Open(db).Asides().List(t.Context(), aGroup, rollcall.AsideFilter{States: []rollcall.AsideState{rollcall.AsideDead}, Max: 10})
	if err != nil || len(dead) != 0 {
		t.Errorf("%d were set aside, %v", len(dead), err)
	}
}

// pythonStamps are records with the headers that the program prints.
func pythonStamps(t *testing.T, topic string, n int) (out []javaRecord) {
	t.Helper()
	text, err := exec.CommandContext(t.Context(), "python3", "-I", "../../examples/stamp/stamp.py", topic, strconv.Itoa(n)).Output()
	if err != nil {
		t.Fatalf("python3, which scripts/servers installs: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		var headers [][2]string
		if err := json.Unmarshal([]byte(line), &headers); err != nil {
			t.Fatal(err)
		}
		r := javaRecord{value: []byte(body(len(out)))}
		for _, h := range headers {
			value, err := hex.DecodeString(h[1])
			if err != nil {
				t.Fatal(err)
			}
			r.headers = append(r.headers, rollcall.Header{Name: h[0], Value: value})
		}
		out = append(out, r)
	}
	if len(out) != n {
		t.Fatalf("stamp.py printed %d messages, want %d", len(out), n)
	}
	return out
}
