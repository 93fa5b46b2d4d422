package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/rollcall-mq/rollcall/figures/server"
)

// runServer measures a database server, in both profiles.
func (o *benchOptions) runServer(ctx context.Context, a *app) error {
	var page server.Page
	config := server.Config{Postgres: o.postgres, Redis: o.redis, Deliveries: o.messages, Log: func(line string) { a.note("%s", line) }}
	for _, config.Network = range []bool{false, true} {
		a.note("%s", map[bool]string{false: "== local", true: "== with a network's delay"}[config.Network])
		if err := server.Run(ctx, config, &page); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return fmt.Errorf("bench: %w", err)
		}
	}
	if a.json {
		if err := json.NewEncoder(a.out).Encode(page); err != nil {
			return err
		}
	} else {
		fmt.Fprint(a.out, page.Table())
	}
	if o.svg != "" {
		if err := os.WriteFile(o.svg, []byte(page.SVG()), 0o644); err != nil {
			return err
		}
	}
	if o.out == "" {
		return nil
	}
	text, err := json.MarshalIndent(page, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(o.out, append(text, '\n'), 0o644)
}
