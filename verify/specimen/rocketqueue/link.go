package rocketqueue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	// patience is how long the proxy may take for an answer.
	patience = 15 * time.Second
	// beatEvery is how often the proxy hears that we live: it forgets who is silent.
	beatEvery = 10 * time.Second
)

// kind of client, and what of the topic it wants.
var (
	kind       = v2.ClientType_SIMPLE_CONSUMER
	everything = &v2.FilterExpression{Type: v2.FilterType_TAG, Expression: "*"}
)

// link is a connection to a proxy that knows our settings.
type link struct {
	conn         *grpc.ClientConn
	stub         v2.MessagingServiceClient
	id           string // of the client
	group, topic *v2.Resource
	queue        *v2.MessageQueue
	cancel       context.CancelFunc
	ended        sync.WaitGroup
}

func connect(ctx context.Context, config Config) (*link, error) {
	conn, err := grpc.NewClient(config.Endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		return nil, err
	}
	l := &link{conn: conn, stub: v2.NewMessagingServiceClient(conn), id: "specimen-" + rand.Text(),
		group: &v2.Resource{Name: config.Group}, topic: &v2.Resource{Name: config.Topic}}
	alive, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.cancel = cancel
	if err := l.begin(ctx, alive); err != nil {
		cancel()
		l.ended.Wait()
		return nil, errors.Join(err, conn.Close())
	}
	return l, nil
}

// begin is what the protocol wants before messages are received: a route, our settings
// on a stream that stays open, a heartbeat.
func (l *link) begin(ctx, alive context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	route, err := l.stub.QueryRoute(l.named(ctx), &v2.QueryRouteRequest{Topic: l.topic})
	if err != nil {
		return err
	}
	if err := told(route.GetStatus()); err != nil {
		return fmt.Errorf("route to %s: %w", l.topic.GetName(), err)
	}
	for _, q := range route.GetMessageQueues() { // the broker hands over from all of its queues
		l.queue = &v2.MessageQueue{Topic: l.topic, Id: -1, Broker: q.GetBroker(), Permission: v2.Permission_READ}
	}
	if err := l.settings(ctx, alive); err != nil {
		return err
	}
	if err := l.beat(ctx); err != nil {
		return err
	}
	l.ended.Go(func() { l.heartbeats(alive) })
	return nil
}

func (l *link) settings(ctx, alive context.Context) error {
	late := context.AfterFunc(ctx, l.cancel) // for settings that are never answered
	stream, err := l.stub.Telemetry(l.named(alive))
	if err != nil {
		return err
	}
	fifo := false
	err = stream.Send(&v2.TelemetryCommand{Command: &v2.TelemetryCommand_Settings{Settings: &v2.Settings{
		ClientType: &kind, UserAgent: &v2.UA{Language: v2.Language_GOLANG},
		PubSub: &v2.Settings_Subscription{Subscription: &v2.Subscription{
			Group: l.group, Fifo: &fifo, LongPollingTimeout: durationpb.New(poll),
			Subscriptions: []*v2.SubscriptionEntry{{Topic: l.topic, Expression: everything}},
		}},
	}}})
	if err != nil {
		_, err = stream.Recv() // it knows why
		return err
	}
	for {
		command, err := stream.Recv()
		if err != nil {
			return err
		}
		if command.GetSettings() != nil {
			break
		}
	}
	late()
	l.ended.Go(func() {
		for {
			if _, err := stream.Recv(); err != nil {
				return
			}
		}
	})
	return nil
}

func (l *link) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	got, err := l.stub.Heartbeat(l.named(ctx), &v2.HeartbeatRequest{Group: l.group, ClientType: kind})
	if err != nil {
		return err
	}
	return told(got.GetStatus())
}

func (l *link) heartbeats(alive context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-alive.Done():
			return
		case <-tick.C:
			_ = l.beat(alive) // if it fails, so does the next request
		}
	}
}

// Close says good bye. What is not acked comes again after its invisible time.
func (l *link) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := l.stub.NotifyClientTermination(l.named(ctx), &v2.NotifyClientTerminationRequest{Group: l.group})
	l.cancel()
	l.ended.Wait()
	return errors.Join(err, l.conn.Close())
}

// named adds to a call who makes it.
func (l *link) named(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "x-mq-language", "GO", "x-mq-protocol", "v2", "x-mq-client-version", "5.1.4", "x-mq-client-id", l.id)
}

// told is what a status says, unless it is OK.
func told(s *v2.Status) error {
	if s.GetCode() == v2.Code_OK {
		return nil
	}
	return fmt.Errorf("the server answered %d: %s", s.GetCode(), s.GetMessage())
}
