package server

import (
	"context"
	"fmt"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/memory"
)

// Commits is how many transactions the server counted for a batched run
// (pg_stat_database.xact_commit), those of connecting and of the tables included.
type Commits struct {
	Deliveries   int   `json:"deliveries"`
	Transactions int64 `json:"transactions"`
	Limit        int64 `json:"limit"` // wanted: at most
}

// Reached reports whether there were no more than wanted.
func (c Commits) Reached() bool { return c.Transactions <= c.Limit }

// more counts the commits of a run by stamp.
func (h *postgresHall) more(ctx context.Context, p *Page) error {
	if h.c.Network || h.c.Only != "" {
		return nil
	}
	n := h.c.Deliveries
	before, err := h.counted(ctx)
	if err != nil {
		return err
	}
	if _, err := h.setBased(memory.Replayable, rollcall.ByStamp)(ctx, newLoad(n, 1, false)); err != nil {
		return err
	}
	after, err := h.counted(ctx)
	p.Commits = &Commits{n, after - before, int64(2 * n / perTransaction)}
	h.c.Log(fmt.Sprintf("%d transactions for %d deliveries by stamp, at most %d wanted", p.Commits.Transactions, n, p.Commits.Limit))
	return err
}

// counted reads the counter when the connections of the last run are closed: they
// report at the latest then.
func (h *postgresHall) counted(ctx context.Context) (n int64, err error) {
	const patience = 10 * time.Second
	for begin, others := time.Now(), 1; others > 0; time.Sleep(20 * time.Millisecond) {
		if time.Since(begin) > patience {
			return 0, fmt.Errorf("%d other connections to the database after %v: their commits would be counted too; measure on a server of your own", others, patience)
		}
		err := h.admin.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'").Scan(&others)
		if err != nil {
			return 0, err
		}
	}
	err = h.admin.QueryRow(ctx, "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()").Scan(&n)
	return n, err
}
