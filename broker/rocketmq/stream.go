package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/backoff"
)

// stream is the Telemetry stream of a session to one proxy. It brings our settings
// there, without which nothing is received, and commands back. It is opened anew for as
// long as the session lives.
type stream struct {
	session *session
	link    *link

	mu      sync.Mutex
	cut     context.CancelFunc // ends the stream that is open
	open    v2.MessagingService_TelemetryClient
	ready   bool          // settings were answered and a heartbeat too
	changed chan struct{} // closed and made anew when ready or err change
	err     error         // why the last one ended
}

func newStream(s *session, l *link) *stream {
	return &stream{session: s, link: l, changed: make(chan struct{}), cut: func() {}}
}

// errStreamEnded: the server closed it in good order.
var errStreamEnded = errors.New("the server closed the stream of settings")

// keep opens the stream, again and again.
func (t *stream) keep() {
	for try := 0; t.session.ctx.Err() == nil; try++ {
		began := time.Now()
		err := t.run()
		t.set(false, err)
		if time.Since(began) > 10*time.Second {
			try = 0
		}
		select {
		case <-t.session.ctx.Done():
		case <-time.After(backoff.Delay(try, 100*time.Millisecond, 2*time.Second)):
		}
	}
	t.set(false, rollcall.ErrClosed)
}

// set what is known of the stream, and wake who waits for it.
func (t *stream) set(ready bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ready, t.err = ready, err
	close(t.changed)
	t.changed = make(chan struct{})
}

// run is one stream, from our settings to its end.
func (t *stream) run() error {
	ctx, cancel := context.WithCancel(t.session.ctx)
	defer cancel()
	t.mu.Lock()
	t.cut = cancel
	t.mu.Unlock()
	late := time.AfterFunc(t.session.cluster.config.Timeout, cancel) // for settings that are never answered
	defer late.Stop()
	open, err := t.link.stub.Telemetry(t.session.signed(ctx))
	if err != nil {
		return t.link.failed(err)
	}
	defer t.opened(nil)
	if err := t.opened(open); err != nil {
		_, err = open.Recv() // it knows why
		return t.link.failed(err)
	}
	for {
		command, err := open.Recv()
		if err != nil {
			return t.link.failed(err)
		}
		if code := command.GetStatus(); code != nil && code.GetCode() != v2.Code_OK {
			return t.link.failed(told(code))
		}
		if err := t.obey(ctx, command, late); err != nil {
			return err
		}
	}
}

// opened remembers the stream that is open, and tells it our settings.
func (t *stream) opened(open v2.MessagingService_TelemetryClient) error {
	t.mu.Lock()
	t.open = open
	t.mu.Unlock()
	if open == nil {
		return nil
	}
	return t.tell()
}

// tell sends today's settings, also on a stream that is open already: while there is none,
// nobody could ask us about a transaction.
func (t *stream) tell() error {
	t.session.mu.Lock()
	settings := t.session.settings
	t.session.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ready = false
	if t.open == nil {
		return nil // it is told when it opens
	}
	return t.open.Send(&v2.TelemetryCommand{Command: &v2.TelemetryCommand_Settings{Settings: settings}})
}

// obey does what the server tells.
func (t *stream) obey(ctx context.Context, command *v2.TelemetryCommand, late *time.Timer) error {
	switch c := command.GetCommand().(type) {
	case *v2.TelemetryCommand_Settings:
		if err := t.session.accept(c.Settings); err != nil {
			return err
		}
		if err := t.beat(ctx); err != nil {
			return err
		}
		late.Stop()
		t.set(true, nil)
	case *v2.TelemetryCommand_RecoverOrphanedTransactionCommand:
		if t.session.orphan != nil {
			t.session.ended.Go(func() { t.session.orphan(t, c.RecoverOrphanedTransactionCommand) })
		}
	case *v2.TelemetryCommand_ReconnectEndpointsCommand:
		return errStreamEnded
	}
	return nil
}

// wait until the proxy knows our settings.
func (t *stream) wait(ctx context.Context) error {
	for {
		t.mu.Lock()
		ready, err, changed := t.ready, t.err, t.changed
		t.mu.Unlock()
		if ready {
			return nil
		}
		if err != nil && lasts(err) {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("%s: no answer yet", t.link.name)
			}
			return fmt.Errorf("rocketmq: %w (%w)", err, context.Cause(ctx))
		}
	}
}

// lasts: trying again is of no use.
func lasts(err error) bool {
	return errors.Is(err, rollcall.ErrConfig) || errors.Is(err, rollcall.ErrClosed) || errors.Is(err, rollcall.ErrNoDestination)
}

// known: the proxy knows us.
func (t *stream) known() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ready
}

// again opens the stream anew, with today's settings.
func (t *stream) again() {
	t.mu.Lock()
	t.ready = false
	cut := t.cut
	t.mu.Unlock()
	cut()
}

// beatEvery is how often the server hears that we live. It forgets who is silent.
const beatEvery = 10 * time.Second

func (t *stream) heartbeats() {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-t.session.ctx.Done():
			return
		case <-tick.C:
		}
		if !t.known() {
			continue
		}
		if err := t.beat(t.session.ctx); err != nil && t.session.ctx.Err() == nil {
			t.again() // it has forgotten us, or is away
		}
	}
}

func (t *stream) beat(ctx context.Context) error {
	ctx, cancel := t.session.call(ctx)
	defer cancel()
	got, err := t.link.stub.Heartbeat(ctx, &v2.HeartbeatRequest{Group: t.session.group, ClientType: t.session.kind})
	if err != nil {
		return t.link.failed(err)
	}
	if err := told(got.GetStatus()); err != nil {
		return t.link.failed(err)
	}
	return nil
}
