package rocketmq

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
)

// session is one client as the server sees it: a client id with its settings, and a
// stream to every proxy that it talks to. The sender is one, and so is each subscription.
type session struct {
	cluster *Cluster
	id      string
	kind    v2.ClientType
	group   *v2.Resource // of a consumer
	// orphan is called for transactions that nobody decided.
	orphan func(s *stream, found *v2.RecoverOrphanedTransactionCommand)
	// accept looks at the server's answer to our settings.
	accept func(*v2.Settings) error

	ctx    context.Context // ends when the session closes
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu       sync.Mutex
	settings *v2.Settings
	streams  map[*link]*stream
}

func (c *Cluster) session(kind v2.ClientType, settings *v2.Settings) *session {
	s := &session{cluster: c, id: clientID(), kind: kind, settings: settings, streams: make(map[*link]*stream),
		accept: func(*v2.Settings) error { return nil }}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// clientID is unique among all clients: the server keeps settings by it.
func clientID() string {
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	var random [8]byte
	_, _ = rand.Read(random[:]) // it never fails
	return fmt.Sprintf("%s@%d@rollcall-%s", host, os.Getpid(), hex.EncodeToString(random[:]))
}

// signed is the context of a call of the session.
func (s *session) signed(ctx context.Context) context.Context {
	return s.cluster.config.signed(ctx, s.id)
}

// call is the context of a call with the usual deadline.
func (s *session) call(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, s.cluster.config.Timeout)
	return s.signed(ctx), cancel
}

// stream to a proxy, opened when it is first asked for; nil once the session is closed.
func (s *session) stream(l *link) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil
	}
	t := s.streams[l]
	if t == nil {
		t = newStream(s, l)
		s.streams[l] = t
		s.ended.Go(t.keep)
		s.ended.Go(t.heartbeats)
	}
	return t
}

// close says good bye, if patience lasts, and ends every goroutine.
func (s *session) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	var all sync.WaitGroup
	for _, t := range s.opened() {
		if t.known() {
			all.Go(func() {
				_, _ = t.link.stub.NotifyClientTermination(s.signed(ctx), &v2.NotifyClientTerminationRequest{Group: s.group})
			})
		}
	}
	all.Wait()
	s.mu.Lock()
	s.cancel() // nothing is opened any more
	s.mu.Unlock()
	s.ended.Wait()
}

// opened are the streams; none once the session is closed.
func (s *session) opened() []*stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil
	}
	return slices.Collect(maps.Values(s.streams))
}

// farewell is how long a good bye may take. Without one the server forgets us by itself.
const farewell = 2 * time.Second
