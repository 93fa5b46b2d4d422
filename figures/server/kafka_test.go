package server

import (
	"context"
	"testing"

	"github.com/rollcall-mq/rollcall/internal/servers"
)

// TestRunKafka: every figure of both profiles can be measured on real servers, and
// ends with each order once; what it measures at this size says nothing.
func TestRunKafka(t *testing.T) {
	kafka, postgres := servers.Start(t, servers.Kafka, servers.Config{}), servers.Start(t, servers.Postgres15, servers.Config{})
	c := Config{Kafka: kafka.Addr, Postgres: postgres.URL(), Deliveries: 2000, Repetitions: 1, Log: func(line string) { t.Log(line) }}
	var p Page
	for _, c.Network = range []bool{false, true} {
		if err := Run(context.Background(), c, &p); err != nil {
			t.Fatal(err)
		}
	}
	local, network := &kafkaHall{postgresHall: &postgresHall{c: Config{}}}, &kafkaHall{postgresHall: &postgresHall{c: c}}
	const published = 2 // figures of sending, in each profile
	if want := len(local.ways()) + len(network.ways()) + 2*published; len(p.Figures) != want {
		t.Errorf("%d figures, %d wanted", len(p.Figures), want)
	}
	if p.Kafka == "" || p.Postgres == "" || p.Churn == nil || p.Churn.Disturbed == 0 || p.Figures[len(local.ways())+published].Turns == 0 {
		t.Errorf("incomplete: %+v", p)
	}
}

// TestWatch: memory can be measured.
func TestWatch(t *testing.T) {
	kafka, postgres := servers.Start(t, servers.Kafka, servers.Config{}), servers.Start(t, servers.Postgres15, servers.Config{})
	var p Page
	c := Config{Kafka: kafka.Addr, Postgres: postgres.URL(), Watch: 40_000, Log: func(line string) { t.Log(line) }}
	if err := Run(context.Background(), c, &p); err != nil {
		t.Fatal(err)
	}
	if p.Resident == nil || p.Resident.Most == 0 || p.Resident.Messages != c.Watch {
		t.Errorf("%+v", p.Resident)
	}
}
