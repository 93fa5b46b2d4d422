package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/rollcall-mq/rollcall/pipeline"
)

// openKafka connects to a cluster and finds the topic, for sending and receiving.
func openKafka(ctx context.Context, a *app, at pipeline.Kafka, bad wrong) (*broker, error) {
	ctx, cancel := context.WithTimeout(ctx, brokerPatience)
	defer cancel()
	cluster, err := openCluster(ctx, a, &at, bad)
	if err != nil {
		return nil, err
	}
	source, err := cluster.Source(ctx, at.Topic, kafka.SourceConfig{
		SessionTimeout: at.SessionTimeout, RebalanceTimeout: at.RebalanceTimeout, Protocol: kafka.Protocol(at.Protocol),
		Instance: at.Instance, CommitEvery: at.CommitEvery, AcceptLost: at.AcceptLost,
	})
	if err != nil {
		cluster.Close()
		return nil, unfitBroker("topic", bad, err)
	}
	return &broker{sender: cluster.Sender(), source: source, destination: at.Topic, beside: besideTopic(cluster), close: func() error {
		cluster.Close()
		return nil
	}}, nil
}

// besideTopic opens other topics of a cluster.
func besideTopic(cluster *kafka.Cluster) func(context.Context, string) (rollcall.Source, error) {
	return func(ctx context.Context, topic string) (rollcall.Source, error) {
		return cluster.Source(ctx, topic, kafka.SourceConfig{})
	}
}

func openCluster(ctx context.Context, a *app, at *pipeline.Kafka, bad wrong) (*kafka.Cluster, error) {
	config, err := kafkaConfig(a, at, bad)
	if err != nil {
		return nil, err
	}
	cluster, err := kafka.Open(ctx, at.Brokers, config)
	if err != nil {
		return nil, unfitBroker("brokers", bad, err)
	}
	return cluster, nil
}

func kafkaConfig(a *app, at *pipeline.Kafka, bad wrong) (kafka.Config, error) {
	config := kafka.Config{Warn: func(w string) { a.note("warning: kafka: %s", w) }}
	var err error
	if config.TLS, err = encrypted(a, "kafka", at.TLS, bad); err != nil {
		return config, err
	}
	if s := at.SASL; s != nil {
		config.SASL = kafka.SASL{Mechanism: s.Mechanism, User: s.User, Password: s.Password}
		if s.TokenFile != "" {
			config.SASL.Token = func(context.Context) (string, error) { return readToken(s.TokenFile) }
			if _, err := readToken(s.TokenFile); err != nil {
				return config, bad("sasl.token_file", "name a file that holds the token", err.Error())
			}
		}
	}
	return config, nil
}

// readToken is what a file holds, but for the spaces around it.
func readToken(path string) (string, error) {
	data, err := readSmall(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return token, nil
}
