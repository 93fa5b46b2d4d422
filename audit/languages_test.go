package audit_test

import (
	"encoding/hex"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/audit"
	"github.com/rollcall-mq/rollcall/broker/kafka"
)

// TestAuditOfOtherLanguages: senders in Python and in shell, on a topic where nothing
// else is ours and nobody knows rollcall. One message that its broker acknowledged is
// lost: it is named; of the sender that keeps no books the hole is suspected.
func TestAuditOfOtherLanguages(t *testing.T) {
	b := newBench(t, "sales", 1, nil)
	b.create(rollcall.SideDestination, 1, nil)
	client, err := kgo.NewClient(kgo.SeedBrokers(b.server.Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	send := func(r *kgo.Record) {
		t.Helper()
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	run := func(program ...string) {
		t.Helper()
		args := append(program, "sales", "6", "stored", "stored", "stored", "maybe", "void", "stored")
		out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		number := 0
		for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
			if strings.HasPrefix(line, "{") {
				var book struct{ Life string }
				if err := json.Unmarshal([]byte(line), &book); err != nil {
					t.Fatal(err)
				}
				send(&kgo.Record{Topic: rollcall.SideDestination, Key: []byte(book.Life), Value: []byte(line)})
				continue
			}
			var headers [][2]string
			if err := json.Unmarshal([]byte(line), &headers); err != nil {
				t.Fatal(err)
			}
			if number++; number == 2 || number == 5 { // the broker lost the second, and refused the fifth
				continue
			}
			r := &kgo.Record{Topic: "sales", Value: []byte("sale")}
			for _, h := range headers {
				value, err := hex.DecodeString(h[1])
				if err != nil {
					t.Fatal(err)
				}
				r.Headers = append(r.Headers, kgo.RecordHeader{Key: h[0], Value: value})
			}
			send(r)
		}
	}
	run("python3", "-B", "../examples/stamp/stamp.py")
	run("sh", "../examples/stamp/stamp.sh")
	silent := rollcall.Stamp{Life: rollcall.NewLife(), Origin: rollcall.OriginOf("sales")}
	for silent.Sequence = 1; silent.Sequence <= 3; silent.Sequence++ {
		if silent.Sequence != 2 {
			send(&kgo.Record{Topic: "sales", Headers: []kgo.RecordHeader{{Key: rollcall.StampHeader, Value: rollcall.AppendStamp(nil, silent)}}})
		}
	}
	side, err := b.cluster.Source(t.Context(), rollcall.SideDestination, kafka.SourceConfig{})
	if err != nil {
		t.Fatal(err)
	}
	w := watchOf(t, "sales", audit.Inputs{Log: b.source("sales"), Side: side, Tap: true}, audit.Config{Grace: time.Second})
	time.Sleep(time.Second) // the grace of the one without books, whose message is the newest
	r := judged(t, w, patience)
	want(t, r, "lost 2 at delivery: broker-lost; lost 2 at delivery: broker-lost; suspected 2 at delivery: no-books; "+
		"void 5 at delivery: never-acknowledged; void 5 at delivery: never-acknowledged")
	if s := r.Totals[audit.AtDelivery]; s.Stored != 8 || s.Present != 10 || s.Unknown != 0 {
		t.Errorf("two of them say that four of six are stored, and one that nobody knew of is there: %+v", s)
	}
}

func watchOf(t *testing.T, destination string, in audit.Inputs, config audit.Config) *audit.Watch {
	t.Helper()
	w, err := audit.NewWatch(t.Context(), destination, in, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}
