package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/audit"
)

const traceHelp = `Prints what the records say of one message: when it was sent, stored, acknowledged,
done, set aside, redriven, discarded, waived. MESSAGE is a message id, or a stamp as
LIFE/LANE/NUMBER. Nothing is changed, and nothing is guessed: what no record tells is
not there.

The destination is read for it from its beginning, or from --since on. Exit 1 when no
record knows the message.

  rollcall trace order-17                        by the id that it was sent with
  rollcall trace 1deaf8eb1a7a2033f0f819e3285e21bc/0/4
                                                 by a life, lane and number of an audit`

type traceOptions struct{ config, side, since string }

// traceEvent is one line of a timeline.
type traceEvent struct {
	Type  string     `json:"type"`
	Time  *time.Time `json:"time,omitempty"` // absent: the record has none
	Event string     `json:"event"`
	Where string     `json:"where,omitempty"`
	Text  string     `json:"text,omitempty"`
}

type traceSummary struct {
	Type      string `json:"type"`
	Verb      string `json:"verb"`
	Group     string `json:"group"`
	MessageID string `json:"message_id,omitempty"`
	Life      string `json:"life,omitempty"`
	Lane      uint32 `json:"lane"`
	Number    uint64 `json:"number,omitempty"`
	Copies    int    `json:"copies"`
	State     string `json:"state"`
	Events    int    `json:"events"`
}

func newTrace(a *app) *cobra.Command {
	var o traceOptions
	cmd := &cobra.Command{
		Use:   "trace MESSAGE",
		Short: "one message's timeline, from the records alone",
		Long:  traceHelp,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return usage(errors.New("one message is to be named"), "rollcall trace MESSAGE-ID, or LIFE/LANE/NUMBER")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), a, args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&o.config, "config", defaultFile, "pipeline file")
	f.StringVar(&o.side, "side", "", "side destination with the books of senders (default: audit.side of the file, _rollcall)")
	f.StringVar(&o.since, "since", "", "read the destination from then on: a duration such as 2h, or a time")
	return cmd
}

// notFound is the state of what no record tells of.
const notFound = "not found"

// trace is one message, as far as it is found.
type trace struct {
	a      *app
	in     *audited
	id     rollcall.MessageID
	stamp  rollcall.Stamp // zero until one is known
	events []traceEvent
	copies int
	state  string
}

func (o *traceOptions) run(ctx context.Context, a *app, what string) (err error) {
	ctx, stop := a.interruptible(ctx)
	defer stop()
	audits := auditOptions{side: o.side, since: o.since}
	since, err := audits.sinceTime(time.Now())
	if err != nil {
		return err
	}
	in, err := audits.open(ctx, a, o.config)
	if err != nil {
		return stopped(ctx, err)
	}
	defer func() { err = errors.Join(err, in.watch.Close(), in.close()) }()
	t := &trace{a: a, in: in, state: notFound}
	if t.stamp, err = stampNamed(what, in.destination); err != nil {
		return err
	}
	if t.stamp.IsZero() {
		t.id = rollcall.MessageID(what)
	}
	for _, read := range []func(context.Context) error{
		t.asides, t.outbox, func(ctx context.Context) error { return t.log(ctx, since) }, t.books, t.operators,
	} {
		if err := read(ctx); err != nil {
			return stopped(ctx, err)
		}
	}
	return t.print(what)
}

// stampNamed reads LIFE/LANE/NUMBER; the zero Stamp is no error: it is an id.
func stampNamed(what, destination string) (s rollcall.Stamp, err error) {
	parts := strings.Split(what, "/")
	life, herr := hex.DecodeString(parts[0])
	if len(parts) != 3 || herr != nil || len(life) != len(s.Life) {
		return s, nil
	}
	lane, lerr := strconv.ParseUint(parts[1], 10, 32)
	number, nerr := strconv.ParseUint(parts[2], 10, 64)
	if lerr != nil || nerr != nil || number == 0 {
		return s, usage(fmt.Errorf("%q names no lane and number", what), "write LIFE/LANE/NUMBER, as rollcall audit prints them; the first number is 1")
	}
	copy(s.Life[:], life)
	s.Lane, s.Sequence, s.Origin = uint32(lane), number, rollcall.OriginOf(destination)
	return s, nil
}

// is reports whether a message is the one.
func (t *trace) is(m *rollcall.Message) bool {
	if t.id != "" && m.ID == t.id {
		return true
	}
	return !t.stamp.IsZero() && m.Stamp.Life == t.stamp.Life && m.Stamp.Lane == t.stamp.Lane && m.Stamp.Sequence == t.stamp.Sequence && m.Stamp.Origin == t.stamp.Origin
}

// learn takes over what a copy says of itself.
func (t *trace) learn(m *rollcall.Message) {
	t.id = cmp.Or(t.id, m.ID)
	if t.stamp.IsZero() {
		t.stamp = m.Stamp
	}
}

func (t *trace) add(at time.Time, event, where, text string) {
	e := traceEvent{Type: "event", Event: event, Where: where, Text: text}
	if !at.IsZero() {
		at = at.UTC()
		e.Time = &at
	}
	t.events = append(t.events, e)
}

// asides are the rows of the store.
func (t *trace) asides(ctx context.Context) error {
	all := deadFilter{rows: rollcall.AsideFilter{States: everyState}}
	return all.each(ctx, t.in.store.Asides(), t.in.group, func(rows []rollcall.Aside) (bool, error) {
		for i := range rows {
			r := &rows[i]
			if !t.is(&r.Message) {
				continue
			}
			t.learn(&r.Message)
			where := fmt.Sprintf("row %d", r.ID)
			t.add(r.Created, "set aside", where, oneLine(r.Cause))
			if r.Updated.After(r.Created) || r.State != rollcall.AsideWaiting {
				t.add(r.Updated, string(r.State), where, fmt.Sprintf("attempts %d: %s", r.Attempts, oneLine(r.Cause)))
			}
			t.state = string(r.State)
		}
		return true, nil
	})
}

// outbox are rows that wait to be sent, or were kept.
func (t *trace) outbox(ctx context.Context) error {
	out, err := t.in.store.Requests()
	if err != nil {
		return nil // this store has no outbox that can be listed
	}
	pending, err := out.Pending(ctx, 10_000)
	if err != nil {
		return err
	}
	kept, err := out.Kept(ctx, 0, 10_000)
	if err != nil {
		return err
	}
	for _, r := range append(pending, kept...) {
		if !t.is(&r.Message) {
			continue
		}
		t.learn(&r.Message)
		t.add(r.Message.Time, "in the outbox", fmt.Sprintf("outbox row %d", r.ID), oneLine(cmp.Or(r.Refusal, r.Doubt, "waits to be sent")))
		t.be("in the outbox")
	}
	return nil
}

// log are the copies that lie in the destination.
func (t *trace) log(ctx context.Context, since time.Time) error {
	tapper, can := t.in.broker.source.(rollcall.Tapper)
	measurer, also := t.in.broker.source.(rollcall.Measurer)
	if !can || !also {
		return nil
	}
	ends, err := measurer.Measure(ctx)
	if err != nil {
		return err
	}
	tap, err := tapper.Tap(ctx, since)
	if err != nil {
		return err
	}
	defer tap.Close()
	next := make(map[int32]int64)
	for quiet := 0; quiet < 5; quiet++ { // what a tap from --since on skips at the end never comes
		done := true
		for _, x := range ends {
			done = done && max(next[x.Partition.Number], x.First) >= x.End
		}
		if done {
			return nil
		}
		batches, err := tap.Fetch(ctx, rollcall.FetchRequest{Max: 5000, Min: 1, Wait: time.Second})
		if err != nil && !errors.Is(err, rollcall.ErrMissed) {
			return err
		}
		for i := range batches {
			t.copiesIn(&batches[i], next)
			quiet = 0
		}
	}
	return nil
}

func (t *trace) copiesIn(b *rollcall.Batch, next map[int32]int64) {
	for i := range b.Deliveries {
		d := &b.Deliveries[i]
		next[d.Partition] = max(next[d.Partition], d.Position.Offset+1)
		if !t.is(&d.Message) {
			continue
		}
		t.learn(&d.Message)
		t.copies++
		t.add(d.Time, "stored", fmt.Sprintf("%s, partition %d, offset %d", d.Destination, d.Partition, d.Position.Offset), "time of the message")
	}
	for _, c := range b.Covered {
		next[b.Partition.Number] = max(next[b.Partition.Number], c.Last+1)
	}
}

// books is what senders and the group's rolls say of the number.
func (t *trace) books(ctx context.Context) error {
	if t.stamp.IsZero() {
		return nil
	}
	if _, err := t.in.watch.Step(ctx, time.Now()); err != nil {
		return err
	}
	said := t.in.watch.Number(t.stamp)
	switch {
	case said.Stored:
		t.add(said.Since, "acknowledged", "books of "+oneLine(cmp.Or(said.Sender, "a sender without a name")), "by then")
	case said.Void:
		t.add(said.Since, "void", "books of "+oneLine(cmp.Or(said.Sender, "a sender without a name")), "surely never stored")
	}
	switch said.Done {
	case audit.Present:
		if t.state == notFound {
			t.add(time.Time{}, "done", "roll of group "+t.in.group, "it took effect")
		} else {
			t.add(time.Time{}, "recorded", "roll of group "+t.in.group, "as set aside: its row says what became of it")
		}
		t.be("done")
	case audit.Unknown:
		t.add(time.Time{}, "unknown", "roll of group "+t.in.group, "the roll was too large and gave this number up")
	default:
		if len(t.events) > 0 {
			t.add(time.Time{}, "not done", "roll of group "+t.in.group, "to go, or missing: see rollcall audit")
		}
	}
	switch {
	case t.copies > 0:
		t.be("stored, not done")
	case said.Stored:
		t.be("acknowledged, not found")
	case said.Void:
		t.be("void")
	}
	return nil
}

// be sets how it stands, unless a record that says more has done so.
func (t *trace) be(state string) {
	if t.state == notFound {
		t.state = state
	}
}

// operators is what was done by hand.
func (t *trace) operators(ctx context.Context) error {
	return eachEntry(ctx, t.in.store.Operations(), t.in.group, func(e *rollcall.OperatorEntry) error {
		sameNumber := !t.stamp.IsZero() && e.Scope == rollcall.SenderScope(t.stamp) && e.Numbers.First <= t.stamp.Sequence && t.stamp.Sequence <= e.Numbers.Last
		if t.id != "" && e.MessageID == t.id || sameNumber {
			t.add(e.Time, string(e.Verb), "operator "+oneLine(e.Operator), oneLine(e.Reason))
		}
		return nil
	})
}

func (t *trace) print(what string) error {
	slices.SortStableFunc(t.events, func(x, y traceEvent) int {
		switch {
		case x.Time == nil || y.Time == nil:
			return cmp.Compare(b2i(x.Time == nil), b2i(y.Time == nil)) // what has no time comes last
		}
		return x.Time.Compare(*y.Time)
	})
	sum := traceSummary{Type: "summary", Verb: "trace", Group: t.in.group, MessageID: string(t.id), Lane: t.stamp.Lane, Number: t.stamp.Sequence,
		Copies: t.copies, State: t.state, Events: len(t.events)}
	if !t.stamp.IsZero() {
		sum.Life = t.stamp.Life.String()
	}
	var unknown error
	if len(t.events) == 0 {
		unknown = findings(fmt.Errorf("no record knows %q", what), "see the spelling of the id; a stamp is LIFE/LANE/NUMBER; --since leaves out what is older")
	}
	if t.a.json {
		for _, e := range t.events {
			if err := t.a.object(e); err != nil {
				return err
			}
		}
		return errors.Join(t.a.object(sum), unknown)
	}
	if unknown != nil {
		return unknown
	}
	for _, e := range t.events {
		at := "-"
		if e.Time != nil {
			at = e.Time.Format(time.RFC3339Nano)
		}
		t.a.say("%s", strings.TrimRight(fmt.Sprintf("%-30s  %-13s %s  %s", at, e.Event, e.Where, e.Text), " "))
	}
	t.a.say("%s: %s", what, t.state)
	return nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
