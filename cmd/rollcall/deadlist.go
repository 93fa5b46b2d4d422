package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall"
)

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
	o.filter.flags(cmd)
	cmd.Flags().IntVar(&o.max, "max", 100, "most rows; 0: all")
	cmd.Flags().BoolVar(&o.group, "group", false, "by fingerprint: the same error, code, place and destination are one")
	return cmd
}

func (o *deadOptions) list(ctx context.Context, a *app) error {
	if err := o.filter.read(); err != nil {
		return err
	}
	f, store, err := o.open(ctx, a)
	if err != nil {
		return err
	}
	defer store.Close()
	if o.group {
		return o.groups(ctx, a, store.Asides(), f.Name)
	}
	sum := deadSummary{Type: "summary", Verb: "dead list", Group: f.Name, ByState: make(map[string]int)}
	rest := false
	err = o.filter.each(ctx, store.Asides(), f.Name, func(rows []rollcall.Aside) (bool, error) {
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
	first := ""
	if rest {
		first = "the first "
	}
	a.say("%s%d set aside: %d dead, %d parked, %d waiting", first, sum.Listed, sum.ByState["dead"], sum.ByState["parked"], sum.ByState["waiting"])
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
