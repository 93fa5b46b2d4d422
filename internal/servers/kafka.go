//go:build linux

package servers

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

var kafkaHome = filepath.Join(cache(), "kafka-4.3.1")

// Kafka is one node, broker and controller in one process, that does not make
// topics by itself. Settings are those of server.properties, read once, when
// the server is made; a name that begins with -D is a Java system property.
//
// A broker that was killed is refused until broker.session.timeout.ms, here
// three seconds, is over: Restart returns after that.
var Kafka = &Spec{
	Name:    "kafka-4.3",
	Program: filepath.Join(kafkaHome, "bin/java"),
	Settings: map[string]string{
		"process.roles": "broker,controller", "node.id": "1",
		"controller.listener.names": "CONTROLLER", "inter.broker.listener.name": "PLAINTEXT",
		"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"auto.create.topics.enable":      "false", "metric.reporters": "",
		// One node holds all there is.
		"default.replication.factor": "1", "min.insync.replicas": "1", "offsets.topic.replication.factor": "1",
		"transaction.state.log.replication.factor": "1", "transaction.state.log.min.isr": "1",
		"share.coordinator.state.topic.replication.factor": "1", "share.coordinator.state.topic.min.isr": "1",
		"offsets.topic.num.partitions": "3", "transaction.state.log.num.partitions": "3",
		"share.coordinator.state.topic.num.partitions": "3",
		// Quick to see who is gone, and to begin.
		"group.initial.rebalance.delay.ms": "0", "group.min.session.timeout.ms": "1000",
		"broker.heartbeat.interval.ms": "300", "broker.session.timeout.ms": "3000",
		"controller.quorum.election.timeout.ms": "500", "controller.quorum.election.backoff.max.ms": "300",
		"controller.quorum.fetch.timeout.ms": "1500",
		// Small.
		"num.network.threads": "2", "num.io.threads": "4", "background.threads": "2", "num.recovery.threads.per.data.dir": "1",
		"log.cleaner.dedupe.buffer.size": "4194304", "log.cleaner.io.buffer.size": "65536",
	},
	Prepare:   prepareKafka,
	Arguments: argumentsKafka,
	Ready:     readyKafka,
	URL:       func(addr string) string { return addr },
	Quit:      syscall.SIGTERM,
}

// prepareKafka writes the configuration and formats the data folder: a copy of
// what the format tool makes, and a name of its own.
func prepareKafka(s *Server) error {
	if err := s.settleKafka(); err != nil {
		return err
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.Settings)) {
		if !strings.HasPrefix(name, "-D") {
			// The format is Java's: a backslash quotes, a line is a setting.
			value := strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(s.Settings[name])
			fmt.Fprintf(&text, "%s=%s\n", name, value)
		}
	}
	seed, err := os.ReadFile(filepath.Join(kafkaHome, "seed/bootstrap.checkpoint"))
	if err != nil {
		return fmt.Errorf("%w: run scripts/servers", err)
	}
	meta := fmt.Sprintf("version=1\ncluster.id=%s\nnode.id=%s\ndirectory.id=%s\n", kafkaCluster, s.Settings["node.id"], kafkaID())
	return errors.Join(os.Mkdir(s.data(), 0o755),
		os.WriteFile(filepath.Join(s.data(), "bootstrap.checkpoint"), seed, 0o644),
		os.WriteFile(filepath.Join(s.data(), "meta.properties"), []byte(meta), 0o644),
		os.WriteFile(filepath.Join(s.Dir, "server.properties"), []byte(text.String()), 0o600))
}

// settleKafka adds the settings that differ from server to server.
func (s *Server) settleKafka() error {
	set := func(name, value string) {
		if _, given := s.Settings[name]; !given {
			s.Settings[name] = value
		}
	}
	if s.Settings["controller.quorum.voters"] == "" {
		port, err := freePort()
		if err != nil {
			return err
		}
		s.Settings["controller.quorum.voters"] = s.Settings["node.id"] + "@127.0.0.1:" + port
	}
	for voter := range strings.SplitSeq(s.Settings["controller.quorum.voters"], ",") {
		if id, addr, _ := strings.Cut(voter, "@"); id == s.Settings["node.id"] {
			set("listeners", "PLAINTEXT://"+s.Addr+",CONTROLLER://"+addr)
		}
	}
	set("log.dirs", s.data())
	return nil
}

// kafkaCluster is the id of all clusters: the nodes of none know another's
// address.
const kafkaCluster = "cm9sbGNhbGwtc2VydmVycw"

// kafkaID is a new id of a data folder, as Kafka writes them.
func kafkaID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	id[0] &= 0x7f           // Kafka wants no "-" at the start
	return base64.RawURLEncoding.EncodeToString(id[:])
}

func argumentsKafka(s *Server) (args []string) {
	for _, name := range slices.Sorted(maps.Keys(s.Settings)) {
		if strings.HasPrefix(name, "-D") {
			args = append(args, name+"="+s.Settings[name])
		}
	}
	return append(args, "kafka.Kafka", filepath.Join(s.Dir, "server.properties"))
}

// readyKafka asks for the brokers: one that has not caught up yet, or was not
// let in again yet, is not among them.
func readyKafka(c net.Conn) error {
	ports, err := kafkaBrokers(c)
	if err != nil {
		return err
	}
	if own := c.RemoteAddr().(*net.TCPAddr).Port; !slices.Contains(ports, own) {
		return fmt.Errorf("the brokers have the ports %v: %d is not among them", ports, own)
	}
	return nil
}

// kafkaBrokers are the ports of the live brokers: a Metadata request, version
// 4, for no topic.
func kafkaBrokers(c net.Conn) (ports []int, err error) {
	request := []byte{0, 0, 0, 15, 0, 3, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 0}
	if _, err := c.Write(request); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, min(binary.BigEndian.Uint32(size[:]), 1<<20))
	if _, err := io.ReadFull(c, answer); err != nil {
		return nil, err
	}
	defer func() {
		if recover() != nil {
			ports, err = nil, fmt.Errorf("not an answer of Kafka: %x", answer)
		}
	}()
	rest := answer[8:] // the request's number, the throttle time
	count := binary.BigEndian.Uint32(rest)
	rest = rest[4:]
	for range count {
		rest = rest[4:] // its id
		rest = rest[2+binary.BigEndian.Uint16(rest):]
		ports = append(ports, int(binary.BigEndian.Uint32(rest)))
		rest = rest[4:]
		if rack := int16(binary.BigEndian.Uint16(rest)); rack > 0 {
			rest = rest[rack:]
		}
		rest = rest[2:]
	}
	return ports, nil
}
