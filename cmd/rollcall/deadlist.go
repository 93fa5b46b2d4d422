package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"
	"unicode/utf8"

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
	Headers     []headerObject      `json:"headers,omitempty"`
	Body        string              `json:"body,omitempty"`
	BodyBase64  string              `json:"body_base64,omitempty"`
}

type headerObject struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type deadSummary struct {
	Type    string         `json:"type"`
	Verb    string         `json:"verb"`
	Group   string         `json:"group"`
	Listed  int            `json:"listed"`
	ByState map[string]int `json:"by_state"`
}

func newDeadList(a *app, o *deadOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list what was set aside",
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.list(cmd.Context(), a) },
	}
	o.filterFlags(cmd)
	cmd.Flags().IntVar(&o.max, "max", 100, "most rows; 0: all")
	return cmd
}

func (o *deadOptions) filterFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.state, "state", "", "only these: waiting, dead, parked, with commas between")
	cmd.Flags().StringVar(&o.key, "key", "", "only of this key")
}

func (o *deadOptions) list(ctx context.Context, a *app) error {
	states, err := o.states()
	if err != nil {
		return err
	}
	f, store, err := o.open(ctx, a)
	if err != nil {
		return err
	}
	defer store.Close()
	sum := deadSummary{Type: "summary", Verb: "dead list", Group: f.Name, ByState: make(map[string]int)}
	rest := false
	err = eachPage(ctx, store.Asides(), f.Name, rollcall.AsideFilter{States: states, Key: o.key}, func(rows []rollcall.Aside) (bool, error) {
		for i := range rows {
			if o.max > 0 && sum.Listed == o.max {
				rest = true
				return false, nil
			}
			sum.Listed++
			sum.ByState[string(rows[i].State)]++
			if err := printRow(a, &rows[i]); err != nil {
				return false, err
			}
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	if rest {
		a.note("there are more; --max 0 lists all")
	}
	if a.json {
		return a.object(sum)
	}
	a.say("%d set aside: %d dead, %d parked, %d waiting", sum.Listed, sum.ByState["dead"], sum.ByState["parked"], sum.ByState["waiting"])
	return nil
}

func printRow(a *app, row *rollcall.Aside) error {
	if a.json {
		o := objectOf(row)
		o.Headers, o.Body, o.BodyBase64 = nil, "", "" // show prints them
		return a.object(o)
	}
	key := ""
	if row.Message.Key != "" {
		key = ", key " + oneLine(row.Message.Key)
	}
	a.say("%d  %s  %s%s, attempts %d: %s", row.ID, row.State, oneLine(string(row.Message.ID)), key, row.Attempts, oneLine(row.Cause))
	return nil
}

func newDeadShow(a *app, o *deadOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID...",
		Short: "show rows with cause, attempts, headers and body",
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
	sum := deadSummary{Type: "summary", Verb: "dead show", Group: f.Name, ByState: make(map[string]int)}
	for i := range rows {
		sum.Listed++
		sum.ByState[string(rows[i].State)]++
		if !a.json {
			showRow(a, &rows[i])
		} else if err := a.object(objectOf(&rows[i])); err != nil {
			return err
		}
	}
	if a.json {
		return a.object(sum)
	}
	return nil
}

func showRow(a *app, row *rollcall.Aside) {
	m := &row.Message
	a.say("row %d: %s", row.ID, row.State)
	a.say("  cause        %s", oneLine(row.Cause))
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
	a.say("  body         %d bytes", len(m.Body))
	if len(m.Body) > 0 {
		a.say("%s", string(m.Body))
	}
}

func offsetOf(row *rollcall.Aside) string {
	if row.Position.IsZero() {
		return ""
	}
	return fmt.Sprintf(", offset %d", row.Position.Offset)
}

func objectOf(row *rollcall.Aside) asideObject {
	m := &row.Message
	o := asideObject{Type: "aside", ID: row.ID, State: row.State, MessageID: string(m.ID), Destination: m.Destination, Key: m.Key,
		Attempts: row.Attempts, Cause: row.Cause, Created: row.Created.UTC(), Updated: row.Updated.UTC()}
	if row.State == rollcall.AsideWaiting {
		due := row.Due.UTC()
		o.Due = &due
	}
	for _, h := range m.Headers {
		o.Headers = append(o.Headers, headerObject{h.Name, string(h.Value)})
	}
	if utf8.Valid(m.Body) {
		o.Body = string(m.Body)
	} else {
		o.BodyBase64 = base64.StdEncoding.EncodeToString(m.Body)
	}
	return o
}
