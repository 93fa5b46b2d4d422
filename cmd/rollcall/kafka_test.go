package main

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// fakeKafka is a broker in this process, for scripts: without a server, without an
// installation.
func fakeKafka(t testing.TB) string {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster.ListenAddrs()[0]
}

// withAdmin asks a cluster for something.
func withAdmin(brokers string, do func(ctx context.Context, admin *kadm.Client) error) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return do(ctx, kadm.NewClient(client))
}

// makeTopic makes a topic and waits for its leaders.
func makeTopic(brokers, topic string, partitions int32) error {
	return withAdmin(brokers, func(ctx context.Context, admin *kadm.Client) error {
		if _, err := admin.CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
			return err
		}
		for {
			ends, err := admin.ListEndOffsets(ctx, topic)
			if err == nil && ends.Error() == nil && len(ends[topic]) == int(partitions) {
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("waited for the leaders of %s: %w", topic, ctx.Err())
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
}

// topic NAME PARTITIONS makes a topic of the broker in $KAFKA.
func scriptTopic(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: topic NAME PARTITIONS")
	}
	n, err := strconv.ParseInt(args[1], 10, 32)
	ts.Check(err)
	ts.Check(makeTopic(ts.Getenv("KAFKA"), args[0], int32(n)))
}

// trimtopic NAME PARTITION OFFSET is what retention does.
func scriptTrimTopic(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: trimtopic NAME PARTITION OFFSET")
	}
	partition, err := strconv.ParseInt(args[1], 10, 32)
	ts.Check(err)
	offset, err := strconv.ParseInt(args[2], 10, 64)
	ts.Check(err)
	ts.Check(withAdmin(ts.Getenv("KAFKA"), func(ctx context.Context, admin *kadm.Client) error {
		offsets := make(kadm.Offsets)
		offsets.AddOffset(args[0], int32(partition), offset, -1)
		done, err := admin.DeleteRecords(ctx, offsets)
		if err != nil {
			return err
		}
		return done.Error()
	}))
}
