package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/kafka"
	"github.com/rollcall-mq/rollcall/pipeline"
)

// kafkaPatience is how long a cluster may take to answer at the start.
const kafkaPatience = 15 * time.Second

// wrong puts the place to what is wrong with a field of a Kafka section.
type wrong func(field, next, what string) error

// inFile is a mistake in a pipeline file.
func inFile(f *pipeline.File) wrong {
	return func(field, next, what string) error {
		return f.Problem(strings.TrimSuffix("source.kafka."+field, "."), next, "%s", what)
	}
}

// inAddress is a mistake in an address of the command line.
func inAddress(_, next, what string) error { return usage(errors.New(what), next) }

// openKafka connects to a cluster and finds the topic, for sending and receiving.
func openKafka(ctx context.Context, a *app, at pipeline.Kafka, bad wrong) (*broker, error) {
	ctx, cancel := context.WithTimeout(ctx, kafkaPatience)
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
		return nil, unfitKafka("topic", bad, err)
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
		return nil, unfitKafka("brokers", bad, err)
	}
	return cluster, nil
}

// unfitKafka tells a mistake of the user from a cluster that is away, or refuses us.
func unfitKafka(field string, bad wrong, err error) error {
	what, next := lastStep(err)
	mistake := errors.Is(err, rollcall.ErrConfig) || errors.Is(err, rollcall.ErrNoDestination)
	if mistake && !errors.Is(err, kafka.ErrRefused) {
		return bad(field, next, what)
	}
	return &failure{exitServer, errors.New(what), cmp.Or(next, "see that the cluster runs and takes this user; nothing was sent or read")}
}

// lastStep cuts the next step off what the driver says.
func lastStep(err error) (what, next string) {
	text := plain(err)
	if i := strings.LastIndex(text, "; "); i >= 0 {
		return text[:i], text[i+2:]
	}
	return text, ""
}

// endedKafka is why run ended by itself: messages that are gone are a finding, a right
// that was taken is the cluster's refusal.
func endedKafka(f *pipeline.File, err error) error {
	if f.Source.Kafka == nil || !errors.Is(err, rollcall.ErrDamaged) && !errors.Is(err, kafka.ErrRefused) {
		return err
	}
	what, next := lastStep(err)
	if errors.Is(err, kafka.ErrRefused) {
		return &failure{exitServer, errors.New(what), next}
	}
	return findings(errors.New(what), next)
}

func kafkaConfig(a *app, at *pipeline.Kafka, bad wrong) (kafka.Config, error) {
	config := kafka.Config{Warn: func(w string) { a.note("warning: kafka: %s", w) }}
	if at.TLS != nil {
		t, err := kafkaTLS(at.TLS, bad)
		if err != nil {
			return config, err
		}
		config.TLS = t
		if at.TLS.SkipVerify {
			a.note("warning: kafka: tls.skip_verify takes any certificate: anybody between can read and change what is sent")
		}
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

// mostToken bounds a file that holds a token or certificates.
const mostToken = 1 << 20

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, mostToken+1))
	if err == nil && len(data) > mostToken {
		err = fmt.Errorf("%s has more than %d bytes", path, mostToken)
	}
	return data, err
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

func kafkaTLS(t *pipeline.TLS, bad wrong) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.SkipVerify}
	if t.CA != "" {
		pem, err := readSmall(t.CA)
		if err != nil {
			return nil, bad("tls.ca", "name a PEM file that can be read", err.Error())
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, bad("tls.ca", "it begins with -----BEGIN CERTIFICATE-----", t.CA+" holds no certificate in PEM")
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, bad("tls.cert", "name PEM files: the certificate, and its private key", err.Error())
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
