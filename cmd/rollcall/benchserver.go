package main

import (
	"context"

	"github.com/rollcall-mq/rollcall/figures/server"
	"github.com/rollcall-mq/rollcall/pipeline"
)

// runServer measures a database server, in both profiles.
func (o *benchOptions) runServer(ctx context.Context, a *app) error {
	url, redactor, err := pipeline.Expand(o.postgres, pipeline.Env{})
	a.redactor = redactor
	if err != nil {
		return err
	}
	var page server.Page
	config := server.Config{Postgres: url, Redis: o.redis, Deliveries: o.messages, Log: func(line string) { a.note("%s", line) }}
	for _, config.Network = range []bool{false, true} {
		a.note("%s", map[bool]string{false: "== local", true: "== with a network's delay"}[config.Network])
		if err := server.Run(ctx, config, &page); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
	}
	if err := printServer(a, page); err != nil {
		return err
	}
	return o.write(page)
}

type serverFigure struct {
	Type string `json:"type"`
	server.Figure
	Reached bool `json:"reached"`
}

type serverSummary struct {
	Type     string `json:"type"`
	Verb     string `json:"verb"`
	Date     string `json:"date"`
	Go       string `json:"go"`
	Postgres string `json:"postgres"`
	Redis    string `json:"redis,omitempty"`
	CPUs     int    `json:"cpus"`
	Missed   int    `json:"missed"`
}

func printServer(a *app, p server.Page) error {
	if !a.json {
		a.say("%s", p.Table())
		return nil
	}
	missed := 0
	for _, f := range p.Figures {
		if !f.Reached() {
			missed++
		}
		if err := a.object(serverFigure{"figure", f, f.Reached()}); err != nil {
			return err
		}
	}
	return a.object(serverSummary{"summary", "bench", p.Date, p.Go, p.Postgres, p.Redis, p.CPUs, missed})
}
