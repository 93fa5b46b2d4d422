//go:build linux

package servers_test

import (
	"strings"
	"testing"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

// produceJava writes one record with the real Java client, and says where it is.
const produceJava = `
import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

public class Produce {
	public static void main(String[] args) throws Exception {
		Map<String, Object> settings = Map.of("bootstrap.servers", args[0]);
		try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
			var at = producer.send(new ProducerRecord<>(args[1], "k", args[2])).get();
			System.out.println(at.topic() + " " + at.partition() + " " + at.offset());
		}
	}
}
`

// TestJava: a program in Java writes with Kafka's client; what goes wrong fails
// the test with Java's words.
func TestJava(t *testing.T) {
	s := servers.Shared(t, servers.Kafka)
	kafkaTopic(t, []string{s.Addr}, "java")
	if got := servers.Java(t, produceJava, s.Addr, "java", "from Java"); got != "java 0 0\n" {
		t.Fatalf("the program said %q, want the first offset of the topic", got)
	}
	kafkaWant(t, []string{s.Addr}, "java", "from Java")

	for want, source := range map[string]string{
		"cannot find symbol":   `class Wrong { public static void main(String[] a) { nothing(); } }`,
		"the program is angry": `class Angry { public static void main(String[] a) { throw new RuntimeException("the program is angry"); } }`,
	} {
		f := &failing{TB: t}
		func() {
			defer func() { _ = recover() }()
			servers.Java(f, source)
		}()
		if !strings.Contains(f.said, want) {
			t.Errorf("said %q, want %q", f.said, want)
		}
	}
}
