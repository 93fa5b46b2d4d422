package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/effect/httpsend"
)

const deadOutboxHelp = `The HTTP requests that are not sent by themselves any more: refused by the
receiver, or parked because nobody knows whether they took effect there. Ask the
receiver, it knows the idempotency key; then discard what it has done, and
redrive what it has not. Redriven requests bear the same key.

Run it without flags first: it lists the rows and changes nothing.`

type outboxOptions struct{ redrive, discard []string }

func newDeadOutbox(a *app, o *deadOptions) *cobra.Command {
	var ids outboxOptions
	cmd := &cobra.Command{
		Use:   "outbox",
		Short: "HTTP requests that were refused or are in doubt: list, redrive, discard",
		Long:  deadOutboxHelp,
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.outbox(cmd.Context(), a, &ids) },
	}
	cmd.Flags().StringSliceVar(&ids.redrive, "redrive", nil, "send these rows again")
	cmd.Flags().StringSliceVar(&ids.discard, "discard", nil, "delete these rows for good")
	return cmd
}

type requestObject struct {
	Type           string `json:"type"`
	ID             int64  `json:"id"`
	State          string `json:"state"`
	Destination    string `json:"destination"`
	MessageID      string `json:"message_id"`
	IdempotencyKey string `json:"idempotency_key,omitempty"`
	Key            string `json:"key,omitempty"` // that was to be set
	Cause          string `json:"cause"`
}

type outboxSummary struct {
	Type     string `json:"type"`
	Verb     string `json:"verb"`
	Listed   int    `json:"listed"`
	Redriven int    `json:"redriven"`
	Discard  int    `json:"discarded"`
}

func (o *deadOptions) outbox(ctx context.Context, a *app, ids *outboxOptions) error {
	redrive, err := rowNumbers(ids.redrive)
	if err != nil {
		return err
	}
	discard, err := rowNumbers(ids.discard)
	if err != nil {
		return err
	}
	if ctx == nil {
		ctx = context.Background()
	}
	_, store, err := o.open(ctx, a)
	if err != nil {
		return err
	}
	defer store.Close()
	sum := outboxSummary{Type: "summary", Verb: "dead outbox"}
	if len(redrive)+len(discard) == 0 {
		err = eachKept(ctx, store, func(row *rollcall.OutboxRow) error {
			sum.Listed++
			return printRequest(a, row)
		})
	} else {
		err = sum.decide(ctx, store, redrive, discard)
	}
	if err != nil {
		return err
	}
	switch {
	case a.json:
		return a.object(sum)
	case len(redrive)+len(discard) == 0:
		a.say("%d requests kept", sum.Listed)
	default:
		a.say("redriven: %d, discarded: %d", sum.Redriven, sum.Discard)
	}
	return nil
}

func (sum *outboxSummary) decide(ctx context.Context, s store, redrive, discard []int64) error {
	outbox, err := s.Requests()
	if err != nil {
		return err
	}
	if sum.Redriven, err = outbox.Redrive(ctx, redrive); err != nil {
		return err
	}
	sum.Discard, err = outbox.Discard(ctx, discard)
	return err
}

func printRequest(a *app, row *rollcall.OutboxRow) error {
	r := requestObject{Type: "request", ID: row.ID, State: "parked", Destination: row.Message.Destination, MessageID: string(row.Message.ID), Cause: row.Doubt}
	if strings.HasPrefix(r.Destination, httpsend.Prefix) {
		r.IdempotencyKey = httpsend.Key(r.Destination, row.Message.ID)
	} else {
		r.Key = row.Message.Key
	}
	if row.Refusal != "" {
		r.State, r.Cause = "refused", row.Refusal
	}
	if a.json {
		return a.object(r)
	}
	a.say("%d  %s  %s, message %s, key %s: %s", r.ID, r.State, oneLine(r.Destination), oneLine(r.MessageID), oneLine(r.IdempotencyKey+r.Key), oneLine(r.Cause))
	return nil
}

func rowNumbers(texts []string) ([]int64, error) {
	var out []int64
	for _, text := range texts {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil || id < 1 {
			return nil, usage(fmt.Errorf("%q is no number of a row", text), "see: rollcall dead outbox")
		}
		out = append(out, id)
	}
	return out, nil
}

// eachKept calls do with every row that waits for a decision.
func eachKept(ctx context.Context, s store, do func(*rollcall.OutboxRow) error) error {
	outbox, err := s.Requests()
	for after := int64(0); err == nil; {
		var rows []rollcall.OutboxRow
		if rows, err = outbox.Kept(ctx, after, page); err != nil || len(rows) == 0 {
			return err
		}
		for i := range rows {
			if err = do(&rows[i]); err != nil {
				return err
			}
		}
		after = rows[len(rows)-1].ID
	}
	return err
}
