package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/rollcall-mq/rollcall/figures"
	"github.com/rollcall-mq/rollcall/figures/server"
	"github.com/rollcall-mq/rollcall/pipeline"
)

// checkServers looks whether the flags about servers fit together.
func (o *benchOptions) checkServers() error {
	switch {
	case o.postgres != "" && len(o.mysql) > 0:
		return usage(errors.New("--postgres and --mysql in one run"), "measure one after the other, with an --out for each")
	case o.redis != "" && o.postgres == "":
		return usage(fmt.Errorf("--redis %s without --postgres has nothing to be compared with", o.redis), "name a server with --postgres, or leave --redis out")
	case o.keys != 0 && o.postgres == "":
		return usage(fmt.Errorf("--keys %d without --postgres: growth is measured there", o.keys), "name a server with --postgres, or leave --keys out")
	case o.kafka != "" && o.postgres == "":
		return usage(fmt.Errorf("--kafka %s without --postgres: its topics are worked off into a database", o.kafka), "name a server with --postgres")
	case o.kafka != "" && (o.keys != 0 || o.redis != ""):
		return usage(errors.New("--kafka with --keys or --redis, which are measured without it"), "leave it out, or them")
	case o.watch < 0 || o.watch != 0 && o.kafka == "":
		return usage(fmt.Errorf("--watch %d: it is how many messages of Kafka are worked off", o.watch), "name a broker with --kafka, or leave --watch out")
	case o.keys < 0 || o.keys > 0 && o.keys < server.FewestKeys:
		return usage(fmt.Errorf("--keys %d are too few for a table to be large, or to be swept beside a run", o.keys), fmt.Sprintf("use %d or more", server.FewestKeys))
	}
	return nil
}

// runServers measures database servers, in both profiles; with --keys growth.
func (o *benchOptions) runServers(ctx context.Context, a *app) error {
	url, redactor, err := pipeline.Expand(o.postgres, pipeline.Env{})
	a.redactor = redactor
	if err != nil {
		return err
	}
	var page server.Page
	config := server.Config{Postgres: url, Redis: o.redis, Kafka: o.kafka, Deliveries: o.messages, Keys: o.keys, Watch: o.watch, Log: func(line string) { a.note("%s", line) }}
	runs, hidden := []server.Config{config}, []*pipeline.Redactor(nil)
	if err := o.readPage(&page); err != nil {
		return err
	}
	switch {
	case o.keys > 0 || o.watch > 0:
	case o.postgres != "":
		page, runs = server.Page{Growth: page.Growth, Resident: page.Resident}, profiles(config)
	default:
		page, runs = server.Page{}, nil
		for _, dsn := range o.mysql {
			if config.MySQL, a.redactor, err = pipeline.Expand(dsn, pipeline.Env{}); err != nil {
				return err
			}
			for _, c := range profiles(config) {
				runs, hidden = append(runs, c), append(hidden, a.redactor)
			}
		}
	}
	for i, c := range runs {
		if i < len(hidden) {
			a.redactor = hidden[i]
		}
		a.note("%s", map[bool]string{false: "== local", true: "== with a network's delay"}[c.Network])
		if err := server.Run(ctx, c, &page); err != nil {
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

func profiles(c server.Config) []server.Config {
	slow := c
	slow.Network = true
	if slow.Kafka != "" { // what counts there are turns
		slow.Deliveries = max(figures.Fewest, c.Deliveries/5)
	}
	return []server.Config{c, slow}
}

// readPage reads the figures that --out has, if any.
func (o *benchOptions) readPage(p *server.Page) error {
	if o.out == "" {
		return nil
	}
	text, err := os.ReadFile(o.out)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, p)
	}
	if err != nil {
		return usage(fmt.Errorf("--out %s: its figures cannot be read: %w", o.out, err), "name a file that bench --postgres wrote, or a new one")
	}
	return nil
}

type serverFigure struct {
	Type string `json:"type"`
	server.Figure
	Reached bool `json:"reached"`
}

type serverSummary struct {
	Type     string           `json:"type"`
	Verb     string           `json:"verb"`
	Date     string           `json:"date"`
	Go       string           `json:"go"`
	Postgres string           `json:"postgres,omitempty"`
	MySQL    []string         `json:"mysql,omitempty"`
	Redis    string           `json:"redis,omitempty"`
	Kafka    string           `json:"kafka,omitempty"`
	CPUs     int              `json:"cpus"`
	Missed   int              `json:"missed"`
	Commits  *server.Commits  `json:"commits,omitempty"`
	Growth   []server.Growth  `json:"growth,omitempty"`
	Churn    *server.Churn    `json:"churn,omitempty"`
	Resident *server.Resident `json:"resident,omitempty"`
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
	return a.object(serverSummary{"summary", "bench", p.Date, p.Go, p.Postgres, p.MySQL, p.Redis, p.Kafka, p.CPUs, missed, p.Commits, p.Growth, p.Churn, p.Resident})
}
