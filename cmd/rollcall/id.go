package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall/id"
	"github.com/rollcall-mq/rollcall/pipeline"
)

const idHelp = `Ids of 128 bits that sort by time (UUID version 7), and short numbers 1, 2, 3 …
of named series. With a store, ids go on above all earlier ones even when the
clock was set back between two runs, and nothing is ever given out twice,
whatever is killed. Numbers may have gaps.

The store is a SQLite file, or a database: postgres://user:password@host/database,
or user:password@tcp(host:3306)/database of MySQL or MariaDB. Others see what is
on the command line: '${DATABASE_URL}' or '${file:PATH}', in single quotes, keeps
the password off it.`

const storeUsage = "file or database that remembers what was given out"

func newID(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "id next|serve",
		Short: "ids: time-ordered ones and short numbers; over HTTP too",
		Long:  idHelp,
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			return usage(errors.New("what to do is missing"), "use next or serve")
		},
	}
	cmd.AddCommand(newIDNext(a), newIDServe(a))
	return cmd
}

// mostIDs is how many one run of `id next` may ask for.
const mostIDs = 1_000_000

type idNextOptions struct {
	count int
	store string
	name  string
	short bool
}

func newIDNext(a *app) *cobra.Command {
	var o idNextOptions
	cmd := &cobra.Command{
		Use:   "next [flags]",
		Short: "print ids, one a line",
		Long:  idHelp,
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), a) },
	}
	f := cmd.Flags()
	f.IntVar(&o.count, "count", 1, "how many")
	f.StringVar(&o.store, "store", "", storeUsage+" (default: none)")
	f.StringVar(&o.name, "name", "default", "series of numbers, or mark of ids, in the store")
	f.BoolVar(&o.short, "short", false, "short numbers of the series; needs --store")
	return cmd
}

type idLine struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

type idSummary struct {
	Type  string `json:"type"`
	Verb  string `json:"verb"`
	Count int    `json:"count"`
}

func (o *idNextOptions) run(ctx context.Context, a *app) (err error) {
	if o.count < 1 || o.count > mostIDs {
		return usage(fmt.Errorf("--count %d is not possible", o.count), fmt.Sprintf("use 1 to %d", mostIDs))
	}
	if o.short && o.store == "" {
		return usage(errors.New("--short needs a store"), "add --store, a file or a database: it remembers which numbers were given out")
	}
	if ctx == nil {
		ctx = context.Background()
	}
	var store *idStore
	if o.store != "" {
		if store, err = openIDFlag(ctx, a, o.store); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, store.close()) }()
	}
	texts, err := o.take(ctx, a, store)
	if err != nil {
		return err
	}
	return o.print(a, texts)
}

func (o *idNextOptions) take(ctx context.Context, a *app, store *idStore) ([]string, error) {
	texts := make([]string, o.count)
	if o.short {
		first, err := store.Next(ctx, o.name, int64(o.count))
		for i := range texts {
			texts[i] = strconv.FormatInt(first+int64(i), 10)
		}
		return texts, err
	}
	ids, err := newGenerator(ctx, a, store, o.name)
	if err != nil {
		return nil, err
	}
	taken, err := ids.Take(ctx, o.count)
	for i, t := range taken {
		texts[i] = t.String()
	}
	return texts, behindFailure(err)
}

// openIDFlag opens the store of a flag; its password is printed nowhere.
func openIDFlag(ctx context.Context, a *app, store string) (*idStore, error) {
	at, redactor, err := pipeline.Expand(store, pipeline.Env{})
	a.redactor = redactor
	if err != nil {
		return nil, err
	}
	return openIDs(ctx, at)
}

// newGenerator makes ids; store may be nil.
func newGenerator(ctx context.Context, a *app, store *idStore, name string) (*id.Generator, error) {
	config := id.Config{Name: name, OnBehind: tellBehind(a)}
	if store != nil { // a nil *SQL in the interface would be no nil
		config.Marks = store.SQL
	}
	return id.New(ctx, config)
}

func tellBehind(a *app) func(time.Duration) {
	return func(by time.Duration) {
		a.note("the clock is %v behind the newest id; ids go on from there", by.Round(time.Millisecond))
	}
}

func behindFailure(err error) error {
	if errors.Is(err, id.ErrBehind) {
		return &failure{exitServer, err, "set the clock right; if the mark is what is wrong, use another --name, whose ids sort before the older ones"}
	}
	return err
}

func (o *idNextOptions) print(a *app, texts []string) error {
	if a.json {
		for _, t := range texts {
			if err := a.object(idLine{"id", t}); err != nil {
				return err
			}
		}
		return a.object(idSummary{"summary", "id next", len(texts)})
	}
	for _, t := range texts {
		a.say("%s", t)
	}
	return nil
}
