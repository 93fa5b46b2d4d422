package guarantee

import "github.com/rollcall-mq/rollcall/effect"

// Broker is what a guarantee depends on in a broker.
type Broker struct {
	Name      string
	Now       bool // in this version; else it is designed and nothing is promised
	Exclusive bool // a partition has one owner; else workers compete
	Positions bool // partitions can be replayed from a position
}

// The brokers of the design.
var (
	Embedded       = Broker{Name: "embedded", Now: true, Exclusive: true, Positions: true}
	Kafka          = Broker{Name: "kafka", Exclusive: true, Positions: true}
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
}

// The stores of the design.
var (
	SQLite   = Store{Name: "sqlite", Now: true}
	Postgres = Store{Name: "postgres", Now: true, Deadlines: true}
	MySQL    = Store{Name: "mysql", Now: true, Deadlines: true}
	Redis    = Store{Name: "redis", ClaimsOnly: true}
)

// Stores are all of them, those of this version first.
func Stores() []Store { return []Store{SQLite, Postgres, MySQL, Redis} }

// Modes are the modes of effect.Table, as in its documentation.
func Modes() []effect.Mode {
	return []effect.Mode{effect.Insert, effect.Upsert, effect.Versioned, effect.Transition, effect.Set, effect.Delete, effect.Add}
}
