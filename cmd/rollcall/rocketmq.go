package main

import (
	"context"
	"fmt"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/rocketmq"
	"github.com/rollcall-mq/rollcall/pipeline"
)

// openRocketMQ connects to the source of a file.
func openRocketMQ(ctx context.Context, a *app, f *pipeline.File) (*broker, error) {
	ctx, cancel := context.WithTimeout(ctx, brokerPatience)
	defer cancel()
	at, bad := f.Source.RocketMQ, inFile(f, "rocketmq")
	cluster, err := dialRocketMQ(ctx, a, pipeline.PublishRocketMQ{Endpoints: at.Endpoints, Namespace: at.Namespace,
		AccessKey: at.AccessKey, SecretKey: at.SecretKey, TLS: f.BesideTLS(at.TLS), Plaintext: at.Plaintext}, bad)
	if err != nil {
		return nil, err
	}
	source, err := cluster.Source(ctx, at.Topic, rocketmq.SourceConfig{FIFO: at.FIFO, Filter: at.Filter, Invisible: at.Invisible, Late: f.Source.Late})
	if err != nil {
		cluster.Close()
		return nil, unfitBroker("topic", bad, err)
	}
	beside := func(_ context.Context, topic string) (rollcall.Source, error) {
		return nil, fmt.Errorf("%w: %q: a topic of RocketMQ cannot be read without a group", rollcall.ErrNoDestination, topic)
	}
	return &broker{sender: cluster.Sender(), source: source, destination: at.Topic, beside: beside,
		close: func() error { cluster.Close(); return nil }}, nil
}

func dialRocketMQ(ctx context.Context, a *app, at pipeline.PublishRocketMQ, bad wrong) (*rocketmq.Cluster, error) {
	config := rocketmq.Config{Namespace: at.Namespace, AccessKey: at.AccessKey, SecretKey: at.SecretKey, Plaintext: at.Plaintext,
		Warn: func(w string) { a.note("warning: rocketmq: %s", w) }}
	if at.Plaintext {
		a.note("warning: rocketmq: plaintext: anybody between can read and change what is sent")
	}
	var err error
	if config.TLS, err = encrypted(a, "rocketmq", at.TLS, bad); err != nil {
		return nil, err
	}
	cluster, err := rocketmq.Open(ctx, at.Endpoints, config)
	if err != nil {
		return nil, unfitBroker("endpoints", bad, err)
	}
	return cluster, nil
}
