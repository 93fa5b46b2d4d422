package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// relaying sends what a pipeline writes into its outbox, beside its consumer. All
// of its methods do nothing for a pipeline that writes nothing there.
type relaying struct {
	pipe   *pipe
	sender rollcall.Sender
	relay  relay
	stop   context.CancelFunc
	ended  chan error
}

// standby is how long a relay leaves the outbox to another process that took it
// over: longer than the default, since each change of hands interrupts requests.
const standby = 30 * time.Second

// requestBatch is how many requests to receivers that honour keys are taken out
// of the outbox in one transaction, and after a crash made again at most.
const requestBatch = 20

func newRelaying(ctx context.Context, a *app, p *pipe, observer rollcall.Observer) (*relaying, error) {
	sender, err := openSender(ctx, a, p)
	if err != nil || sender == nil {
		return &relaying{}, err
	}
	batch := requestBatch
	if len(p.file.Publishes()) == len(p.file.Effect)-len(p.file.Tables()) {
		batch = 0 // no requests: the default
	}
	config := rollcall.RelayConfig{Batch: batch, Standby: standby, Observer: observer, Books: p.file.BooksConfig()}
	return &relaying{pipe: p, sender: sender, relay: p.store.Relay(sender, config)}, nil
}

func (r *relaying) begin(ctx context.Context) {
	if r.sender == nil {
		return
	}
	ctx, r.stop = context.WithCancel(ctx)
	r.ended = make(chan error, 1)
	go func() { r.ended <- r.relay.Run(ctx) }()
}

// end finishes the request in hand; with drain it empties the outbox first.
func (r *relaying) end(ctx context.Context, drain bool) error {
	if r.sender == nil {
		return nil
	}
	r.stop()
	err := <-r.ended
	if drain && err == nil && ctx.Err() == nil {
		err = r.relay.Drain(ctx)
		if ctx.Err() != nil {
			err = nil // stopped; what is left is sent by the next run
		}
	}
	return errors.Join(err, r.sender.Close(context.WithoutCancel(ctx)))
}

// keptRequests is what became of requests that are not sent by themselves any more.
type keptRequests struct {
	Type    string `json:"type"`
	Group   string `json:"group"`
	Drained bool   `json:"drained"` // none waits to be sent
	Refused int    `json:"refused"`
	Parked  int    `json:"parked"`
}

// account prints what lies in the outbox and returns it.
func (r *relaying) account(ctx context.Context, a *app, group string) (keptRequests, error) {
	k := keptRequests{Type: "http", Group: group}
	if r.sender == nil {
		return k, nil
	}
	outbox, err := r.pipe.store.Requests()
	if err != nil {
		return k, err
	}
	waiting, err := outbox.Pending(ctx, 1)
	if err != nil {
		return k, err
	}
	k.Drained = len(waiting) == 0
	err = eachKept(ctx, r.pipe.store, func(row *rollcall.OutboxRow) error {
		if row.Refusal != "" {
			k.Refused++
		} else {
			k.Parked++
		}
		return nil
	})
	if err != nil || a.json {
		return k, errors.Join(err, a.objectIf(err == nil, k))
	}
	what, all, some := "http", "all requests are sent", "some requests wait to be sent"
	if len(r.pipe.file.RedisServers())+len(r.pipe.file.Publishes()) > 0 {
		what, all, some = "outbox", "all is sent", "some waits to be sent"
	}
	if !k.Drained {
		all = some
	}
	a.say("%s: %s; refused %d, parked %d", what, all, k.Refused, k.Parked)
	if k.Refused+k.Parked > 0 {
		a.note("next: rollcall dead outbox")
	}
	return k, nil
}

func (a *app) objectIf(is bool, v any) error {
	if !is {
		return nil
	}
	return a.object(v)
}

func (k *keptRequests) finding() error {
	return findings(fmt.Errorf("%d requests are refused and %d parked", k.Refused, k.Parked), "rollcall dead outbox")
}
