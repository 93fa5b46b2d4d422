package pipeline

import (
	"github.com/rollcall-mq/rollcall/pipeline/guarantee"
)

// Setup is what the guarantees of the file depend on. Of a file with mistakes
// it is what can be read of it.
func (f *File) Setup() guarantee.Setup {
	config := f.ConsumerConfig()
	s := guarantee.Setup{Broker: guarantee.Embedded, By: config.Dedup.By, Key: config.Dedup.Key,
		Window: config.Dedup.Window, Attempts: config.Retry.Attempts, Late: f.Source.Late, DeadKeep: config.DeadKeep}
	s.Store, s.Idle = f.Store.kind()
	switch r := f.Source.RabbitMQ; {
	case f.Source.Kafka != nil:
		s.Broker = guarantee.Kafka
	case f.Source.RocketMQ != nil:
		s.Broker = guarantee.RocketMQ
	case r != nil && r.IsStream():
		s.Broker = guarantee.RabbitMQStream
		if r.Declare != nil {
			s.Retention = r.Declare.MaxAge
		}
	case r != nil && r.SingleActive:
		s.Broker = guarantee.RabbitMQSingle
	case r != nil:
		s.Broker = guarantee.RabbitMQQueue
	}
	if e := f.Source.Embedded; e != nil {
		s.Retention = e.Retention
	}
	for i := range f.Effect {
		if t := f.Effect[i].Table; t != nil {
			s.Tables = append(s.Tables, t.effect())
		}
	}
	for _, h := range f.receivers() {
		s.HTTP = append(s.HTTP, guarantee.HTTP{Name: h.Name, Honours: h.Honours})
	}
	for _, r := range f.RedisServers() {
		s.Redis = append(s.Redis, r.Name)
	}
	for _, p := range f.Publishes() {
		s.Publish = append(s.Publish, p.Destination)
	}
	return s
}
