package guarantee

import "github.com/rollcall-mq/rollcall/effect"

// Broker is what a guarantee depends on in a broker.
type Broker struct {
	Name      string
	Now       bool // in this version; else it is designed and nothing is promised
	Exclusive bool // a partition has one owner; else workers compete
	Positions bool // partitions can be replayed from a position
	// Conditions are what the broker itself must be and do, for people.
	Conditions []string
}

// The brokers of the design.
var (
	Embedded = Broker{Name: "embedded", Now: true, Exclusive: true, Positions: true}
	Kafka    = Broker{Name: "kafka", Now: true, Exclusive: true, Positions: true, Conditions: []string{
		"the topic has min.insync.replicas 2 or more of at least 3 replicas, and no unclean leader election: run warns of one replica, and stops when a log was cut off",
		"the group's place is in the store: what is committed to Kafka is information for tools, and resetting offsets there changes nothing",
		"the topic is not compacted, or what compaction removes may be missed: that is not counted as missing",
		"all processes of the group have the same source.kafka.protocol",
	}}
	RabbitMQStream = Broker{Name: "rabbitmq stream", Exclusive: true, Positions: true}
	RabbitMQQueue  = Broker{Name: "rabbitmq queue"}
	RocketMQ       = Broker{Name: "rocketmq"}
)

// Brokers are all of them, those of this version first.
func Brokers() []Broker { return []Broker{Embedded, Kafka, RabbitMQStream, RabbitMQQueue, RocketMQ} }

// Shape is the broker's name in verify/model.
func (b Broker) Shape() string {
	switch {
	case b.Positions:
		return "X"
	case b.Exclusive:
		return "XQ"
	}
	return "S"
}

// Store is what a guarantee depends on in a store.
type Store struct {
	Name       string
	Now        bool // in this version
	ClaimsOnly bool // no transaction that an effect could share
	// Deadlines: the server itself ends the transaction of a client that stopped.
	Deadlines bool
	// Conditions are what the store itself must be and do, for people.
	Conditions []string
}

// The stores of the design.
var (
	SQLite   = Store{Name: "sqlite", Now: true}
	Postgres = Store{Name: "postgres", Now: true, Deadlines: true, Conditions: []string{
		"the server is PostgreSQL 14 or newer (15 and 18 are tested), a primary, with fsync, full_page_writes and synchronous_commit on: run refuses others",
		"the connection goes to the server, or to a pool in session mode: the deadlines are settings of the session",
		failover,
	}}
	MySQL = Store{Name: "mysql", Now: true, Deadlines: true, Conditions: []string{
		"the server is MySQL 8.0 or MariaDB 10.6 or newer (8.0 and 10.11 are tested), with one primary, innodb_flush_log_at_trx_commit 1, sync_binlog 1 if it " +
			"has a binlog, and that not of STATEMENT format: run refuses others",
		"tables of effects are InnoDB (run refuses others), and so is what their triggers write: in other engines nothing is undone",
		failover,
	}}
	Redis = Store{Name: "redis", ClaimsOnly: true}
)

const failover = "a failover goes to a standby that has every commit: one that lags is a store restored, below"

// Stores are all of them, those of this version first.
func Stores() []Store { return []Store{SQLite, Postgres, MySQL, Redis} }

// Modes are the modes of effect.Table, as in its documentation.
func Modes() []effect.Mode {
	return []effect.Mode{effect.Insert, effect.Upsert, effect.Versioned, effect.Transition, effect.Set, effect.Delete, effect.Add}
}
