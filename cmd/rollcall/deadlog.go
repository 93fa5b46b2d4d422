package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall"
)

// entryObject is a line of the operator log in JSON. Detail is text, or
// DetailBase64 when it is none.
type entryObject struct {
	Type         string                `json:"type"`
	ID           int64                 `json:"id"`
	Time         time.Time             `json:"time"`
	Operator     string                `json:"operator"`
	Verb         rollcall.OperatorVerb `json:"verb"`
	Reason       string                `json:"reason,omitempty"`
	Aside        int64                 `json:"aside,omitempty"`
	MessageID    string                `json:"message_id,omitempty"`
	Destination  string                `json:"destination,omitempty"`
	Scope        string                `json:"scope,omitempty"` // in hexadecimal
	First        uint64                `json:"first,omitempty"`
	Last         uint64                `json:"last,omitempty"`
	Detail       string                `json:"detail,omitempty"`
	DetailBase64 string                `json:"detail_base64,omitempty"`
}

type logSummary struct {
	Type    string `json:"type"`
	Verb    string `json:"verb"`
	Group   string `json:"group"`
	Entries int    `json:"entries"`
}

func newDeadLog(a *app, o *deadOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "log",
		Short: "the operator log: who redrove, edited, discarded or waived what, when and why",
		Long: `The operator log, oldest first: who redrove, edited, discarded, waived or recovered
what, when and why, and what was discarded because of its age. Nothing changes or
removes an entry. --json has the bodies of what was edited or discarded, too.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.log(cmd.Context(), a) },
	}
}

func (o *deadOptions) log(ctx context.Context, a *app) error {
	f, store, err := o.open(ctx, a)
	if err != nil {
		return err
	}
	defer store.Close()
	sum := logSummary{Type: "summary", Verb: "dead log", Group: f.Name}
	err = eachEntry(ctx, store.Operations(), f.Name, func(e *rollcall.OperatorEntry) error {
		sum.Entries++
		if a.json {
			return a.object(entryOf(e))
		}
		a.say("%s", entryLine(e))
		return nil
	})
	if err != nil {
		return err
	}
	if a.json {
		return a.object(sum)
	}
	a.say("%d entries", sum.Entries)
	return nil
}

func entryLine(e *rollcall.OperatorEntry) string {
	var about []string
	if e.Aside != 0 {
		about = append(about, fmt.Sprintf("row %d", e.Aside))
	}
	if e.MessageID != "" {
		about = append(about, "message "+oneLine(string(e.MessageID)))
	}
	if e.Numbers != (rollcall.NumberRange{}) {
		about = append(about, fmt.Sprintf("numbers %d to %d of lane %d of %x", e.Numbers.First, e.Numbers.Last, e.Scope.Number, e.Scope.ID))
	}
	if e.Destination != "" {
		about = append(about, "of "+oneLine(e.Destination))
	}
	text := fmt.Sprintf("%d  %s  %s  %s  %s", e.ID, e.Time.UTC().Format(time.RFC3339), oneLine(e.Operator), e.Verb, strings.Join(about, ", "))
	if e.Reason != "" {
		text += ": " + oneLine(e.Reason)
	}
	return text
}

func entryOf(e *rollcall.OperatorEntry) entryObject {
	o := entryObject{Type: "entry", ID: e.ID, Time: e.Time.UTC(), Operator: e.Operator, Verb: e.Verb, Reason: e.Reason, Aside: e.Aside,
		MessageID: string(e.MessageID), Destination: e.Destination, First: e.Numbers.First, Last: e.Numbers.Last}
	if e.Scope != (rollcall.Scope{}) {
		o.Scope = fmt.Sprintf("%x", e.Scope.Bytes())
	}
	o.Detail, o.DetailBase64 = textOrBase64(e.Detail)
	return o
}

// textOrBase64 is how bytes go into JSON.
func textOrBase64(b []byte) (text, encoded string) {
	if utf8.Valid(b) {
		return string(b), ""
	}
	return "", base64.StdEncoding.EncodeToString(b)
}
