package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall"
)

// asideObject is a row in JSON. Body is text, or BodyBase64 when it is none.
type asideObject struct {
	Type        string              `json:"type"`
	ID          int64               `json:"id"`
	State       rollcall.AsideState `json:"state"`
	MessageID   string              `json:"message_id"`
	Destination string              `json:"destination"`
	Key         string              `json:"key,omitempty"`
	Attempts    int                 `json:"attempts"`
	Cause       string              `json:"cause"`
	Created     time.Time           `json:"created"`
	Updated     time.Time           `json:"updated"`
	Due         *time.Time          `json:"due,omitempty"`
	Fingerprint string              `json:"fingerprint"`
	Partition   int32               `json:"partition"`
	Offset      *int64              `json:"offset,omitempty"`
	Incarnation string              `json:"incarnation,omitempty"`
	Stamp       *stampObject        `json:"stamp,omitempty"`
	History     []entryObject       `json:"history,omitempty"` // its entries of the operator log; of redrive the cause until then
	Headers     []headerObject      `json:"headers,omitempty"`
	Body        string              `json:"body,omitempty"`
	BodyBase64  string              `json:"body_base64,omitempty"`
}

type stampObject struct {
	Life   string `json:"life"`
	Lane   uint32 `json:"lane"`
	Number uint64 `json:"number"`
}

type headerObject struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func newDeadShow(a *app, o *deadOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID...",
		Short: "show rows with causes, attempts, stamp, place, headers and body",
		Args:  someIDs,
		RunE:  func(cmd *cobra.Command, args []string) error { return o.show(cmd.Context(), a, args) },
	}
}

func (o *deadOptions) show(ctx context.Context, a *app, args []string) error {
	f, store, err := o.open(ctx, a)
	if err != nil {
		return err
	}
	defer store.Close()
	rows, err := byID(ctx, store.Asides(), f.Name, args)
	if err != nil {
		return err
	}
	history, err := historyOf(ctx, store.Operations(), f.Name, rows)
	if err != nil {
		return err
	}
	sum := deadSummary{Type: "summary", Verb: "dead show", Group: f.Name, ByState: make(map[string]int)}
	for i := range rows {
		sum.Listed++
		sum.ByState[string(rows[i].State)]++
		done := history[rows[i].ID]
		if !a.json {
			showRow(a, &rows[i], done)
			continue
		}
		o := objectOf(&rows[i])
		for j := range done {
			o.History = append(o.History, entryOf(&done[j]))
		}
		if err := a.object(o); err != nil {
			return err
		}
	}
	if a.json {
		return a.object(sum)
	}
	return nil
}

// historyOf is what the operator log says about the rows.
func historyOf(ctx context.Context, ops operations, group string, rows []rollcall.Aside) (map[int64][]rollcall.OperatorEntry, error) {
	history := make(map[int64][]rollcall.OperatorEntry)
	err := eachEntry(ctx, ops, group, func(e *rollcall.OperatorEntry) error {
		if slices.ContainsFunc(rows, func(r rollcall.Aside) bool { return r.ID == e.Aside }) {
			history[e.Aside] = append(history[e.Aside], *e)
		}
		return nil
	})
	return history, err
}

// showHistory prints what was done to a row, the last first, with the causes that
// it had before it was redriven, and returns the body that the log keeps.
func showHistory(a *app, done []rollcall.OperatorEntry) (kept []byte) {
	for _, e := range slices.Backward(done) {
		text := fmt.Sprintf("%s at %s by %s", e.Verb, e.Time.UTC().Format(time.RFC3339), oneLine(e.Operator))
		if e.Reason != "" {
			text += ", " + oneLine(e.Reason)
		}
		if e.Verb == rollcall.OperatorRedrive {
			text += "; the cause was: " + oneLine(string(e.Detail))
		} else {
			kept = e.Detail
		}
		a.say("  before       %s", text)
	}
	return kept
}

func showRow(a *app, row *rollcall.Aside, done []rollcall.OperatorEntry) {
	m := &row.Message
	a.say("row %d: %s", row.ID, row.State)
	a.say("  cause        %s", oneLine(row.Cause))
	kept := showHistory(a, done)
	a.say("  fingerprint  %s", fingerprintOf(row).ID())
	a.say("  attempts     %d", row.Attempts)
	a.say("  message      %s", oneLine(string(m.ID)))
	a.say("  destination  %s, partition %d%s", m.Destination, m.Partition, offsetOf(row))
	if m.Key != "" {
		a.say("  key          %s", oneLine(m.Key))
	}
	if !m.Stamp.IsZero() {
		a.say("  stamp        life %s, lane %d, number %d", m.Stamp.Life, m.Stamp.Lane, m.Stamp.Sequence)
	}
	a.say("  set aside    %s, changed %s", row.Created.UTC().Format(time.RFC3339), row.Updated.UTC().Format(time.RFC3339))
	if row.State == rollcall.AsideWaiting {
		a.say("  due          %s", row.Due.UTC().Format(time.RFC3339))
	}
	for _, h := range m.Headers {
		a.say("  header       %s: %s", oneLine(h.Name), oneLine(string(h.Value)))
	}
	body := m.Body
	if len(body) == 0 && len(kept) > 0 {
		body = kept
		a.say("  body         %d bytes, kept by the operator log only", len(body))
	} else {
		a.say("  body         %d bytes", len(body))
	}
	if len(body) > 0 {
		a.say("%s", string(body))
	}
}

func offsetOf(row *rollcall.Aside) string {
	if row.Position.IsZero() {
		return ""
	}
	return fmt.Sprintf(", offset %d of incarnation %x", row.Position.Offset, row.Position.Incarnation)
}

func objectOf(row *rollcall.Aside) asideObject {
	m := &row.Message
	o := asideObject{Type: "aside", ID: row.ID, State: row.State, MessageID: string(m.ID), Destination: m.Destination, Key: m.Key,
		Attempts: row.Attempts, Cause: row.Cause, Created: row.Created.UTC(), Updated: row.Updated.UTC(), Fingerprint: fingerprintOf(row).ID(), Partition: m.Partition}
	if !row.Position.IsZero() {
		o.Offset, o.Incarnation = &row.Position.Offset, fmt.Sprintf("%x", row.Position.Incarnation)
	}
	if !m.Stamp.IsZero() {
		o.Stamp = &stampObject{m.Stamp.Life.String(), m.Stamp.Lane, m.Stamp.Sequence}
	}
	if row.State == rollcall.AsideWaiting {
		due := row.Due.UTC()
		o.Due = &due
	}
	for _, h := range m.Headers {
		o.Headers = append(o.Headers, headerObject{h.Name, string(h.Value)})
	}
	o.Body, o.BodyBase64 = textOrBase64(m.Body)
	return o
}
