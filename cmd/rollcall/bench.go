package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall/figures"
)

const benchHelp = `Measures this machine with the embedded pair, log and store in a temporary
folder: the ceiling F (the fastest batched insert of the same rows that the
driver allows), each strategy, handlers, and the textbook's way, a transaction
a message. Everything in one run, as shares of F: read ratios, the machine is
noisy. Nothing is left behind but what --out and --svg name.

With --postgres it measures that server instead: each strategy and way to write
handlers as shares of F there, locally and with a network's delay (0.5 ms a turn,
1 ms a commit, for which the user must be a superuser), and with --redis the
textbook's lock and a record in Redis beside them. --keys measures, instead, what
an Inbox keeps of its rate with so many keys in its table; it and the others keep
each other's figures in --out. --mysql (also twice, for MySQL and MariaDB) measures such servers.
With --kafka (a broker, host:port) and --postgres it measures topics worked off
into that server, beside the bare clients, sending, and members that come and go;
--watch measures, instead, the memory over so many messages.
It works in a schema or database, and topics, of its own and drops them.`

type benchOptions struct {
	messages, keys  int
	watch           int
	out, svg        string
	postgres, redis string
	kafka           string
	mysql           []string
}

func newBench(a *app) *cobra.Command {
	var o benchOptions
	cmd := &cobra.Command{
		Use:   "bench [flags]",
		Short: "this machine's figures, as ratios in one run",
		Long:  benchHelp,
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), a) },
	}
	f := cmd.Flags()
	f.IntVar(&o.messages, "messages", figures.Rows, "messages for each figure")
	f.StringVar(&o.out, "out", "", "write the figures to this file, as JSON")
	f.StringVar(&o.svg, "svg", "", "draw them into this file")
	f.StringVar(&o.postgres, "postgres", "", "measure this PostgreSQL server (URL) instead of the embedded pair")
	f.StringVar(&o.redis, "redis", "", "with --postgres: the Redis server (host:port) of the textbook's lock")
	f.IntVar(&o.keys, "keys", 0, "with --postgres: measure growth, with so many keys in an Inbox")
	f.StringVar(&o.kafka, "kafka", "", "with --postgres: measure topics of this Kafka broker (host:port), worked off into it")
	f.IntVar(&o.watch, "watch", 0, "with --kafka: measure memory, over so many messages")
	f.StringArrayVar(&o.mysql, "mysql", nil, "measure this MySQL or MariaDB server (DSN) instead of the embedded pair")
	return cmd
}

func (o *benchOptions) check() error {
	if err := o.checkServers(); err != nil {
		return err
	}
	if o.messages < figures.Fewest || o.messages > figures.Most {
		return usage(fmt.Errorf("--messages %d is not possible", o.messages),
			fmt.Sprintf("use %d to %d; leave it out for %d", figures.Fewest, figures.Most, figures.Rows))
	}
	if o.messages%figures.Fewest != 0 {
		return usage(fmt.Errorf("--messages %d is no multiple of %d, the batch of a transaction", o.messages, figures.Fewest),
			fmt.Sprintf("use %d", o.messages/figures.Fewest*figures.Fewest))
	}
	for flag, path := range map[string]string{"--out": o.out, "--svg": o.svg} {
		if path == "" {
			continue
		}
		if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
			return usage(fmt.Errorf("%s %s: its folder is not there", flag, path), "name a file in a folder that is")
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return usage(fmt.Errorf("%s %s is a folder", flag, path), "name a file")
		}
	}
	return nil
}

func (o *benchOptions) run(ctx context.Context, a *app) error {
	if err := o.check(); err != nil {
		return err
	}
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	if o.postgres != "" || len(o.mysql) > 0 {
		return o.runServers(ctx, a)
	}
	config := figures.Config{Messages: o.messages, Begin: func(name string, at, of int) { a.note("%d of %d: %s", at+1, of, name) }}
	if a.verbose {
		config.Log = func(line string) { a.note("%s", line) }
	}
	page, err := figures.Run(ctx, config)
	switch {
	case errors.Is(err, errInterrupted):
		return errInterrupted
	case err != nil:
		return fmt.Errorf("bench: %w", err)
	}
	if err := printPage(a, page); err != nil {
		return err
	}
	return o.write(page)
}

type benchFigure struct {
	Type string `json:"type"`
	figures.Figure
	Reached bool `json:"reached"`
}

type benchSummary struct {
	Type     string `json:"type"`
	Verb     string `json:"verb"`
	Date     string `json:"date"`
	Go       string `json:"go"`
	SQLite   string `json:"sqlite"`
	CPUs     int    `json:"cpus"`
	Messages int    `json:"messages"`
	Missed   int    `json:"missed"`
}

func printPage(a *app, p figures.Page) error {
	missed := 0
	if !a.json {
		a.say("%-48s %8s %8s %11s", "what", "of F", "target", "messages/s")
	}
	for _, f := range p.Figures {
		if !f.Reached() {
			missed++
		}
		if a.json {
			if err := a.object(benchFigure{"figure", f, f.Reached()}); err != nil {
				return err
			}
			continue
		}
		target := ""
		if f.Target > 0 {
			target = figures.Percent(f.Target)
		}
		a.say("%-48s %8s %8s %11.0f", f.Name, figures.Percent(f.Share), target, f.Rate)
	}
	if a.json {
		return a.object(benchSummary{"summary", "bench", p.Date, p.Go, p.SQLite, p.CPUs, p.Messages, missed})
	}
	a.say("\nF is the fastest batched insert of the same rows, measured beside each figure. %d targets are missed.", missed)
	a.say("%s, SQLite %s, %d cores, %d messages a figure", p.Go, p.SQLite, p.CPUs, p.Messages)
	return nil
}

// write keeps the files of --out and --svg.
func (o *benchOptions) write(p interface{ SVG() string }) error {
	text, err := json.MarshalIndent(p, "", "\t")
	if err != nil {
		return err
	}
	for path, content := range map[string]string{o.out: string(text) + "\n", o.svg: p.SVG()} {
		if path == "" {
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return &failure{exitServer, err, "the figures are above; name a file that can be written"}
		}
	}
	return nil
}
