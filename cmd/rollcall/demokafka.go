package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/pipeline"
	"github.com/rollcall-mq/rollcall/verify/specimen"
	"github.com/rollcall-mq/rollcall/verify/specimen/kafkaqueue"
)

// demoKafka is the topic, of one partition, of a run on Kafka.
type demoKafka struct {
	Brokers []string `json:"brokers"`
	Topic   string   `json:"topic"`
}

// demoSession is how long one that was killed or sleeps keeps the partition. Shorter,
// and a busy machine would be a fault that nobody planned.
const demoSession = 3 * time.Second

// startDemoKafka starts a broker in this process: the children, which are killed, come
// to it by TCP, and it lives on.
func startDemoKafka() (*demoKafka, func(), error) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, specimen.Topic), kfake.GroupMinSessionTimeout(demoSession))
	if err != nil {
		return nil, nil, &failure{exitServer, fmt.Errorf("--kafka: a broker in this process: %w", err), "see that a port of 127.0.0.1 can be opened"}
	}
	return &demoKafka{cluster.ListenAddrs(), specimen.Topic}, cluster.Close, nil
}

// open is rollcall's driver.
func (k *demoKafka) open(ctx context.Context, a *app) (*broker, error) {
	return openKafka(ctx, a, pipeline.Kafka{Brokers: k.Brokers, Topic: k.Topic, SessionTimeout: demoSession}, inAddress)
}

// queue is the specimens' consumer.
func (k *demoKafka) queue(pattern specimen.Pattern, business *sql.DB) (*kafkaqueue.Queue, error) {
	config := kafkaqueue.Config{Brokers: k.Brokers, Topic: k.Topic, Group: pattern.Name, SessionTimeout: demoSession,
		Decode: func(r *kgo.Record) (specimen.Message, error) {
			return readOrder(&rollcall.Message{Body: r.Value})
		}}
	if pattern.OwnOffsets {
		config.Own = func(ctx context.Context) (int64, error) { return specimen.NextOffset(ctx, business) }
	}
	return kafkaqueue.Open(config)
}
