package main

import (
	"context"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rabbitmq"
	"github.com/rollcall-mq/rollcall/pipeline"
)

// openRabbitMQ connects to the source of a file, and makes the queue if the file
// declares it. claims hold the lease of a stream; nil: it is only sent to, or looked at.
func openRabbitMQ(ctx context.Context, a *app, f *pipeline.File, claims rollcall.Claims) (*broker, error) {
	ctx, cancel := context.WithTimeout(ctx, brokerPatience)
	defer cancel()
	at, bad := f.Source.RabbitMQ, inFile(f, "rabbitmq")
	cluster, err := dialRabbitMQ(ctx, a, pipeline.PublishRabbitMQ{Addresses: at.Addresses, VirtualHost: at.VirtualHost,
		User: at.User, Password: at.Password, External: at.External, TLS: f.BesideTLS(at.TLS)}, bad)
	if err != nil {
		return nil, err
	}
	b := &broker{sender: cluster.Sender(), destination: at.Queue, close: func() error { cluster.Close(); return nil }}
	b.beside = func(ctx context.Context, queue string) (rollcall.Source, error) {
		return cluster.Source(ctx, queue, rabbitmq.SourceConfig{Type: rabbitmq.Stream})
	}
	if at.Declare != nil {
		err = cluster.Declare(ctx, declared(at))
	}
	if err == nil && !pipeline.IsExchange(at.Queue) { // which is only sent to
		b.source, err = cluster.Source(ctx, at.Queue, rabbitmq.SourceConfig{Type: rabbitmq.QueueType(at.Type), SingleActive: at.SingleActive,
			Prefetch: at.Prefetch, Late: f.Source.Late, Leases: claims, Lease: at.Lease, AcceptLost: at.AcceptLost})
	}
	if err != nil {
		cluster.Close()
		return nil, unfitBroker("queue", bad, err)
	}
	return b, nil
}

// declared is the queue as the file wants it.
func declared(at *pipeline.RabbitMQ) rabbitmq.Queue {
	q := rabbitmq.Queue{Name: at.Queue, Type: rabbitmq.QueueType(at.Type), SingleActive: at.SingleActive,
		DeliveryLimit: at.Declare.DeliveryLimit, DeadLetter: at.Declare.DeadLetter, MaxAge: at.Declare.MaxAge}
	for _, b := range at.Declare.Bindings {
		q.Bindings = append(q.Bindings, rabbitmq.Binding{Exchange: b.Exchange, Key: b.Key})
	}
	return q
}

func dialRabbitMQ(ctx context.Context, a *app, at pipeline.PublishRabbitMQ, bad wrong) (*rabbitmq.Cluster, error) {
	config := rabbitmq.Config{VirtualHost: at.VirtualHost, User: at.User, Password: at.Password, External: at.External,
		Name: "rollcall", Warn: func(w string) { a.note("warning: rabbitmq: %s", w) }}
	var err error
	if config.TLS, err = encrypted(a, "rabbitmq", at.TLS, bad); err != nil {
		return nil, err
	}
	cluster, err := rabbitmq.Open(ctx, at.Addresses, config)
	if err != nil {
		return nil, unfitBroker("addresses", bad, err)
	}
	return cluster, nil
}
