package kafka_test

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
)

// javaProducer sends records with the real Java client and its defaults, and prints the
// partition of each. Records are partition|key|value|time|name=value,… in hexadecimal, "-" for
// null, an empty time for now. With a transactional id it ends a transaction by commit or
// abort.
const javaProducer = `
import java.util.*;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Main {
	static byte[] bytes(String hex) { return hex.equals("-") ? null : HexFormat.of().parseHex(hex); }

	public static void main(String[] args) throws Exception {
		var settings = new HashMap<String, Object>(Map.of("bootstrap.servers", args[0]));
		boolean transaction = !args[2].isEmpty();
		if (transaction) settings.put("transactional.id", args[2]);
		try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
			if (transaction) {
				producer.initTransactions();
				producer.beginTransaction();
			}
			var sent = new ArrayList<Future<RecordMetadata>>();
			for (String arg : Arrays.asList(args).subList(4, args.length)) {
				String[] f = arg.split("\\|", -1);
				var headers = new RecordHeaders();
				for (String h : f[4].split(",")) {
					if (h.isEmpty()) continue;
					int at = h.indexOf('=');
					headers.add(h.substring(0, at), bytes(h.substring(at + 1)));
				}
				sent.add(producer.send(new ProducerRecord<>(args[1], f[0].isEmpty() ? null : Integer.valueOf(f[0]),
					f[3].isEmpty() ? null : Long.valueOf(f[3]), bytes(f[1]), bytes(f[2]), headers)));
			}
			producer.flush();
			for (var s : sent) System.out.println(s.get().partition());
			if (transaction) {
				if (args[3].equals("commit")) producer.commitTransaction();
				else producer.abortTransaction();
			}
		}
	}
}
`

// javaConsumer prints what a reader of committed messages sees of a topic, in the form of
// javaProducer.
const javaConsumer = `
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public class Main {
	static String hex(byte[] b) { return b == null ? "-" : HexFormat.of().formatHex(b); }

	public static void main(String[] args) throws Exception {
		Map<String, Object> settings = Map.of("bootstrap.servers", args[0], "isolation.level", "read_committed", "enable.auto.commit", false);
		try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
			var parts = consumer.partitionsFor(args[1]).stream().map(p -> new TopicPartition(p.topic(), p.partition())).toList();
			consumer.assign(parts);
			consumer.seekToBeginning(parts);
			var ends = consumer.endOffsets(parts);
			while (parts.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
				for (var r : consumer.poll(Duration.ofMillis(100))) {
					var headers = new StringJoiner(",");
					r.headers().forEach(h -> headers.add(h.key() + "=" + hex(h.value())));
					System.out.println(r.partition() + "|" + hex(r.key()) + "|" + hex(r.value()) + "|" + r.timestamp() + "|" + headers);
				}
			}
		}
	}
}
`

// javaRecord is a record as the Java client sends or sees it.
type javaRecord struct {
	partition  string // "": by the key
	key, value []byte // nil: null
	time       string // milliseconds
	headers    []rollcall.Header
}

func (r javaRecord) String() string {
	var headers []string
	for _, h := range r.headers {
		headers = append(headers, h.Name+"="+inHex(h.Value))
	}
	return strings.Join([]string{r.partition, inHex(r.key), inHex(r.value), r.time, strings.Join(headers, ",")}, "|")
}

func inHex(b []byte) string {
	if b == nil {
		return "-"
	}
	return hex.EncodeToString(b)
}

func fromHex(t *testing.T, s string) []byte {
	t.Helper()
	if s == "-" {
		return nil
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// javaSend sends records with the Java client, and returns their partitions.
func javaSend(t *testing.T, brokers []string, topic string, records ...javaRecord) []int32 {
	t.Helper()
	return javaTransact(t, brokers, topic, "", "", records...)
}

// javaTransact does so in a transaction, if there is an id.
func javaTransact(t *testing.T, brokers []string, topic, id, end string, records ...javaRecord) []int32 {
	t.Helper()
	args := []string{brokers[0], topic, id, end}
	for _, r := range records {
		args = append(args, r.String())
	}
	var partitions []int32
	for _, line := range strings.Fields(servers.Java(t, javaProducer, args...)) {
		n, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		partitions = append(partitions, int32(n))
	}
	if len(partitions) != len(records) {
		t.Fatalf("the Java client sent %d of %d records", len(partitions), len(records))
	}
	return partitions
}

// javaRead is what the Java client sees of a topic.
func javaRead(t *testing.T, brokers []string, topic string) (out []javaRecord) {
	t.Helper()
	for _, line := range strings.Fields(servers.Java(t, javaConsumer, brokers[0], topic)) {
		f := strings.Split(line, "|")
		if len(f) != 5 {
			t.Fatalf("the Java program said %q", line)
		}
		r := javaRecord{partition: f[0], key: fromHex(t, f[1]), value: fromHex(t, f[2]), time: f[3]}
		for h := range strings.SplitSeq(f[4], ",") {
			if name, value, ok := strings.Cut(h, "="); ok {
				r.headers = append(r.headers, rollcall.Header{Name: name, Value: fromHex(t, value)})
			}
		}
		out = append(out, r)
	}
	return out
}

// many are bytes of every value, n of them.
func many(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// someKeys are of every kind, so many of each.
func someKeys(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("customer-%d", i*i), fmt.Sprintf("Zürich-%d-東京-🜁", i),
			string([]byte{0xff, byte(i), 0x00, 0x80, byte(i * 7)}[:i%5+1])+string(many(i)), strings.Repeat("long ", 200+i)+fmt.Sprint(i))
	}
	return out
}
