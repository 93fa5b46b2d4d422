package server

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/rollcall-mq/rollcall"
)

// unlock deletes the lock if it is still ours.
var unlock = redis.NewScript(`if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`)

// textbook is the pattern that articles teach: a lock in Redis, a look whether
// the id was processed, the work and the mark in a transaction, the lock given
// back. One message after the other.
func (h *postgresHall) textbook(ctx context.Context, l *load) (time.Duration, error) {
	if err := h.fresh(ctx); err != nil {
		return 0, err
	}
	client := redis.NewClient(&redis.Options{Addr: h.redis})
	defer func() { _ = client.Close() }()
	errs := make([]error, len(l.parts))
	conns, done, err := h.connect(ctx, len(l.parts))
	if err != nil {
		return 0, err
	}
	defer done()
	var wg sync.WaitGroup
	begin := time.Now()
	for i, part := range l.parts {
		wg.Go(func() {
			for _, m := range part {
				if errs[i] == nil {
					errs[i] = h.lockLookWork(ctx, client, conns[i], m)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	return took, h.check(ctx, l)
}

func (h *postgresHall) lockLookWork(ctx context.Context, client *redis.Client, conn *pgx.Conn, m rollcall.Message) error {
	text := func(s string) string { return strings.ReplaceAll(s, "~", h.schema) }
	lock, owner := "lock:"+string(m.ID), "worker"
	if won, err := client.SetNX(ctx, lock, owner, 30*time.Second).Result(); err != nil || !won {
		return err
	}
	var done bool
	if err := conn.QueryRow(ctx, text("SELECT EXISTS (SELECT 1 FROM ~.processed WHERE id = $1)"), string(m.ID)).Scan(&done); err != nil {
		return err
	}
	if !done {
		o := parse(m.Body)
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, text("INSERT INTO ~.orders VALUES ($1, $2, $3)"), o.Number, o.Account, o.Amount); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, text("UPDATE ~.accounts SET balance = balance + $1 WHERE id = $2"), int64(o.Amount), o.Account); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, text("INSERT INTO ~.processed VALUES ($1)"), string(m.ID))
			return err
		})
		if err != nil {
			return err
		}
	}
	return unlock.Run(ctx, client, []string{lock}, owner).Err()
}
