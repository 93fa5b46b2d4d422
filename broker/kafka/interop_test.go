package kafka_test

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/memory"
)

// TestFromJava: every byte that the Java client sends arrives: keys, values, headers in
// their order and also when a name is there twice, times.
func TestFromJava(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 1, nil)
	now := time.Now().Truncate(time.Millisecond)
	ms := strconv.FormatInt(now.UnixMilli(), 10)
	sent := []javaRecord{
		{key: []byte("k"), value: []byte("plain"), time: ms},
		{key: many(256), value: many(5000), time: ms, headers: []rollcall.Header{{Name: "trace", Value: many(256)}, {Name: "a", Value: []byte("1")}, {Name: "a", Value: []byte("2")}, {Name: "empty", Value: []byte{}}, {Name: "null"}}},
		{value: []byte("no key"), time: ms},
		{key: []byte("tombstone"), time: ms},
		{key: []byte("empty"), value: []byte{}, time: ms},
	}
	javaSend(t, brokers, topic, sent...)
	got := subscribe(t, source(t, open(t, brokers), topic), aGroup).read(len(sent))
	for i, d := range got {
		want := sent[i]
		if d.Key != string(want.key) || !bytes.Equal(d.Body, want.value) || !d.Time.Equal(now) || !d.Stamp.IsZero() {
			t.Errorf("record %d: key %x, body of %d bytes, time %v; want %x, %d, %v", i, d.Key, len(d.Body), d.Time, want.key, len(want.value), now)
		}
		sameHeaders(t, d.Headers, want.headers)
	}
	db := memory.NewDatabase(memory.Config{})
	if _, err := ledger(t, source(t, open(t, brokers), topic), "ledger", db, rollcall.ConsumerConfig{}); err != nil || len(effects(db)) != len(sent) {
		t.Errorf("%d of %d took effect, %v", len(effects(db)), len(sent), err)
	}
}

func sameHeaders(t *testing.T, got, want []rollcall.Header) {
	t.Helper()
	if !slices.EqualFunc(got, want, func(a, b rollcall.Header) bool { return a.Name == b.Name && bytes.Equal(a.Value, b.Value) }) {
		t.Errorf("headers %q, want %q", got, want)
	}
}

// TestToJava: the Java client gets every byte that a Publisher sends, and the stamp
// beside it.
func TestToJava(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 1, nil)
	at := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	sent := []rollcall.Message{
		{ID: "one", Key: "k", Body: []byte("plain"), Time: at},
		{ID: "two", Key: string(many(256)), Body: many(5000), Time: at, Headers: []rollcall.Header{{Name: "trace", Value: many(256)}, {Name: "a", Value: []byte("1")}, {Name: "a", Value: []byte("2")}, {Name: "empty", Value: []byte{}}}},
		{ID: "three", Body: []byte("no key"), Time: at},
	}
	p := rollcall.NewPublisher(open(t, brokers).Sender(), rollcall.PublisherConfig{})
	for _, r := range p.Publish(t.Context(), topic, sent...) {
		if r.Fate != rollcall.Stored {
			t.Fatal(r.Err)
		}
	}
	got := javaRead(t, brokers, topic)
	if len(got) != len(sent) {
		t.Fatalf("the Java client sees %d of %d", len(got), len(sent))
	}
	for i, r := range got {
		want := sent[i]
		if string(r.key) != want.Key || (r.key == nil) != (want.Key == "") || !bytes.Equal(r.value, want.Body) || r.time != strconv.FormatInt(at.UnixMilli(), 10) {
			t.Errorf("record %d: %v", i, r)
		}
		if len(r.headers) < 2 || r.headers[0].Name != rollcall.StampHeader || r.headers[1].Name != rollcall.IDHeader || string(r.headers[1].Value) != string(want.ID) {
			t.Fatalf("record %d: headers %q, want stamp and id first", i, r.headers)
		}
		stamp, err := rollcall.ParseStamp(r.headers[0].Value)
		if err != nil || stamp.Life != p.Life() || stamp.Sequence != uint64(i+1) || stamp.Origin != rollcall.OriginOf(topic) {
			t.Errorf("record %d: stamp %+v, %v", i, stamp, err)
		}
		sameHeaders(t, r.headers[2:], want.Headers)
	}
}

// TestPartitionsOfJava: a key goes to the partition to which the Java client sends it,
// so both can write one topic and the order of a key holds.
func TestPartitionsOfJava(t *testing.T) {
	brokers := real(t)
	a := admin(t, brokers)
	ours, theirs := newTopic(t, a, 7, nil), newTopic(t, a, 7, nil)
	keys := someKeys(100)
	records, messages := make([]javaRecord, len(keys)), make([]rollcall.Message, len(keys))
	for i, key := range keys {
		records[i] = javaRecord{key: []byte(key), value: []byte("v")}
		messages[i] = rollcall.Message{Key: key, Body: []byte("v")}
	}
	partitions := javaSend(t, brokers, theirs, records...)
	cluster := open(t, brokers)
	for i, r := range rollcall.NewPublisher(cluster.Sender(), rollcall.PublisherConfig{}).Publish(t.Context(), ours, messages...) {
		if r.Fate != rollcall.Stored {
			t.Fatalf("message %d: %v", i, r.Err)
		}
	}
	at := make(map[string]int32)
	r := subscribe(t, source(t, cluster, ours), aGroup)
	for deadline := time.Now().Add(patience); len(at) < len(keys); {
		batches, err := r.next()
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("waited %v for %d keys, %d came: %v", patience, len(keys), len(at), err)
		}
		for _, b := range batches {
			for _, d := range b.Deliveries {
				at[d.Key] = b.Partition.Number
			}
		}
	}
	used := make(map[int32]int)
	for i, key := range keys {
		if used[partitions[i]]++; at[key] != partitions[i] {
			t.Errorf("key %x: partition %d, the Java client's is %d", key, at[key], partitions[i])
		}
	}
	if len(used) != 7 {
		t.Errorf("only the partitions %v were used: the test shows little", used)
	}
	t.Logf("%d keys, by partition: %v", len(keys), used)
}

// TestJavaTransactions: what a Java producer aborted never takes effect here, and the
// Java consumer sees of ours what was committed. All in one topic.
func TestJavaTransactions(t *testing.T) {
	brokers := real(t)
	topic := newTopic(t, admin(t, brokers), 2, map[string]string{"max.message.bytes": "2000"})
	of := func(text string) (out []javaRecord) {
		for i := range 6 {
			out = append(out, javaRecord{key: []byte{byte(i)}, value: []byte(text)})
		}
		return out
	}
	javaTransact(t, brokers, topic, "java-"+topic, "commit", of("java committed")...)
	javaTransact(t, brokers, topic, "java-"+topic, "abort", of("java aborted")...)
	cluster := open(t, brokers)
	ours := func(text string, more ...rollcall.Message) error {
		out := more
		for i := range 6 {
			out = append(out, rollcall.Message{Key: string([]byte{byte(i)}), Body: []byte(text)})
		}
		return transactor(t, cluster, "ours-"+topic).Transact(t.Context(), nil, map[string][]rollcall.Message{topic: out})
	}
	if err := ours("our committed"); err != nil {
		t.Fatal(err)
	}
	if err := ours("our aborted", rollcall.Message{Body: make([]byte, 3000)}); err == nil || errors.Is(err, rollcall.ErrInDoubt) {
		t.Fatalf("a transaction with a message that is too large: %v, want that it surely has not happened", err)
	}
	aborted(t, brokers, topic)
	want := slices.Sorted(slices.Values(append(slices.Repeat([]string{"java committed"}, 6), slices.Repeat([]string{"our committed"}, 6)...)))
	got, err := ledger(t, source(t, cluster, topic), aGroup, memory.NewDatabase(memory.Config{}), rollcall.ConsumerConfig{})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("took effect here: %q, %v", got, err)
	}
	var seen []string
	for _, r := range javaRead(t, brokers, topic) {
		seen = append(seen, string(r.value))
	}
	if slices.Sort(seen); !slices.Equal(seen, want) {
		t.Errorf("the Java consumer sees %q", seen)
	}
}
