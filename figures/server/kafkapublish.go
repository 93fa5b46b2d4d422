package server

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/rollcall-mq/rollcall"
	driver "github.com/rollcall-mq/rollcall/broker/kafka"
)

const (
	publishName     = "publish, stamped"
	publishBareName = "publish, bare client"
	publishLanes    = 4
)

// publish measures sending: the publisher beside the bare client with the same
// settings, in turns. The bodies and keys are the same, and so are the partitions;
// the bare client's records have no headers.
func (h *kafkaHall) publish(ctx context.Context, p *Page) error {
	n := h.c.Deliveries
	messages := make([]rollcall.Message, n)
	for i := range messages {
		o := order{int64(i), int32(i % accounts), int32(1 + i%100)}
		messages[i] = rollcall.Message{Key: strconv.Itoa(i % accounts), Body: o.json()}
	}
	var bare, rates, shares []float64
	for range h.c.Repetitions {
		var took [3]time.Duration
		for i, send := range []func(context.Context, string, []rollcall.Message) (time.Duration, error){h.sendBare, h.sendStamped, h.sendBare} {
			topic, err := h.newTopic(ctx, publishLanes, fmt.Sprint("publish ", len(h.topics)))
			if err != nil {
				return err
			}
			runtime.GC()
			if took[i], err = send(ctx, topic, messages); err == nil {
				err = h.holds(ctx, topic, n)
			}
			if err != nil {
				return err
			}
		}
		f := float64(n) / ((took[0] + took[2]) / 2).Seconds()
		r := float64(n) / took[1].Seconds()
		bare, rates, shares = append(bare, f), append(rates, r), append(shares, r/f)
	}
	h.add(p, Figure{Name: publishBareName, Workers: publishLanes, Of: publishBareName, Share: 1, Rate: median(bare)})
	h.add(p, Figure{Name: publishName, Workers: publishLanes, Of: publishBareName, Share: median(shares), Rate: median(rates), Target: 0.90})
	return nil
}

// add is a figure of this profile.
func (h *kafkaHall) add(p *Page, f Figure) {
	f.Network = h.c.Network
	p.Figures = append(p.Figures, f)
	h.c.Log(fmt.Sprintf("%-34s %2d workers %9.0f/s  %.3g of %s", f.Name, f.Workers, f.Rate, f.Share, f.Of))
}

// holds sees that a topic has so many messages.
func (h *kafkaHall) holds(ctx context.Context, topic string, n int) error {
	ends, err := h.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return err
	}
	have := 0
	for _, o := range ends[topic] {
		have += int(o.Offset)
	}
	if have != n {
		return fmt.Errorf("%d messages are in the topic of %d sent: the run was wrong", have, n)
	}
	return nil
}

func (h *kafkaHall) sendBare(ctx context.Context, topic string, messages []rollcall.Message) (time.Duration, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(h.brokers...), kgo.Dialer(h.dial), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(100_000))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	pick := kgo.StickyKeyPartitioner(nil).ForTopic(topic)
	var left sync.WaitGroup
	var mu sync.Mutex
	var failed error
	left.Add(len(messages))
	begin := time.Now()
	for i := range messages {
		r := &kgo.Record{Topic: topic, Key: []byte(messages[i].Key), Value: messages[i].Body}
		r.Partition = int32(pick.Partition(r, publishLanes))
		client.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				mu.Lock()
				failed = err
				mu.Unlock()
			}
			left.Done()
		})
	}
	left.Wait()
	return time.Since(begin), failed
}

func (h *kafkaHall) sendStamped(ctx context.Context, topic string, messages []rollcall.Message) (time.Duration, error) {
	cluster, err := driver.Open(ctx, h.brokers, driver.Config{Dial: h.dial, Warn: func(string) {}})
	if err != nil {
		return 0, err
	}
	defer cluster.Close()
	publisher := rollcall.NewPublisher(cluster.Sender(), rollcall.PublisherConfig{Buffer: 100_000, Batch: 20_000})
	var mu sync.Mutex
	var failed error
	begin := time.Now()
	for i := range messages {
		err := publisher.Send(ctx, topic, messages[i], func(r rollcall.PublishResult) {
			if r.Fate != rollcall.Stored {
				mu.Lock()
				failed = r.Err
				mu.Unlock()
			}
		})
		if err != nil {
			return 0, err
		}
	}
	if err := publisher.Close(ctx); err != nil {
		return 0, err
	}
	return time.Since(begin), failed
}
