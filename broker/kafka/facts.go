package kafka

import (
	"context"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Fact is one thing about the cluster that bears on loss and repeats, as the cluster
// itself told it. What it is worth is for others to say.
type Fact struct {
	// Of is what has it: "cluster", "broker 1", "topic orders".
	Of string
	// Name as the cluster calls it: min.insync.replicas, replication.factor.
	Name, Value string
}

// watched are the settings of brokers and topics that bear on loss and repeats.
var watched = map[string]bool{
	"unclean.leader.election.enable": true, "auto.create.topics.enable": true, "log.dirs": true,
	"log.flush.interval.messages": true, "flush.messages": true, "offsets.topic.replication.factor": true,
	"transaction.state.log.replication.factor": true, "transaction.state.log.min.isr": true, "offsets.retention.minutes": true,
	"retention.ms": true, "retention.bytes": true, "log.retention.ms": true, "log.retention.hours": true, "cleanup.policy": true,
	"min.insync.replicas": true, "producer.id.expiration.ms": true, "transactional.id.expiration.ms": true,
	"transaction.max.timeout.ms": true, "message.timestamp.after.max.ms": true, "max.message.bytes": true, "message.max.bytes": true,
	"default.replication.factor": true, "group.min.session.timeout.ms": true, "group.max.session.timeout.ms": true,
}

// Facts of the cluster and of a topic. What this user may not read is left out; an
// error means that nothing could be asked.
func (c *Cluster) Facts(ctx context.Context, name string) ([]Fact, error) {
	t, err := c.topic(ctx, name)
	if err != nil {
		return nil, err
	}
	of := "topic " + name
	facts := []Fact{
		{"cluster", "version", c.version},
		{of, "id", idText(t.id)},
		{of, "partitions", strconv.Itoa(t.partitions)},
		{of, "replication.factor", strconv.Itoa(t.replicas)},
	}
	facts = append(facts, c.features(ctx)...)
	if configs, err := c.admin.DescribeTopicConfigs(ctx, name); err == nil {
		facts = append(facts, settings(configs, func(string) string { return of })...)
	}
	brokers, err := c.admin.ListBrokers(ctx)
	if err != nil {
		return nil, unreachable(c.brokers, err)
	}
	if configs, err := c.admin.DescribeBrokerConfigs(ctx, brokers.NodeIDs()...); err == nil {
		facts = append(facts, settings(configs, func(id string) string { return "broker " + id })...)
	}
	return facts, nil
}

// features are the levels that the whole cluster has agreed on.
func (c *Cluster) features(ctx context.Context) (facts []Fact) {
	versions, err := c.admin.ApiVersions(ctx)
	if err != nil {
		return nil
	}
	for _, b := range versions.Sorted() {
		if b.Err != nil {
			continue
		}
		for _, f := range b.Raw().FinalizedFeatures {
			facts = append(facts, Fact{"cluster", f.Name, fmt.Sprint(f.MaxVersionLevel)})
		}
		return facts
	}
	return nil
}

func settings(configs kadm.ResourceConfigs, of func(name string) string) (facts []Fact) {
	for _, resource := range configs {
		for _, c := range resource.Configs {
			if resource.Err == nil && watched[c.Key] {
				facts = append(facts, Fact{of(resource.Name), c.Key, c.MaybeValue()})
			}
		}
	}
	return facts
}
