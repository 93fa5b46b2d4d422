package server

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/postgres"
)

// postgresHall is a PostgreSQL server, and Redis beside it.
type postgresHall struct {
	c                     Config
	url, redis, schema    string
	version, redisVersion string
	admin                 *pgx.Conn
	proxies               []*proxy
}

func openPostgres(ctx context.Context, c Config) (h *postgresHall, err error) {
	h = &postgresHall{c: c, url: c.Postgres, redis: c.Redis, schema: fmt.Sprintf("rollcall_bench_%d", os.Getpid())}
	if h.admin, err = pgx.Connect(ctx, c.Postgres); err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w: start the server, or check the URL; nothing was changed", err)
	}
	if err := h.admin.QueryRow(ctx, "SHOW server_version").Scan(&h.version); err != nil {
		return nil, err
	}
	if c.Redis != "" {
		client := redis.NewClient(&redis.Options{Addr: c.Redis})
		info, err := client.Info(ctx, "server").Result()
		if err != nil {
			return nil, fmt.Errorf("connect to Redis: %w: start the server, or check the address; nothing was changed", err)
		}
		_, after, _ := strings.Cut(info, "redis_version:")
		h.redisVersion, _, _ = strings.Cut(after, "\r")
		_ = client.Close()
	}
	if c.Network {
		return h, h.slow(ctx)
	}
	return h, nil
}

// slow puts the delay between us and the servers.
func (h *postgresHall) slow(ctx context.Context) error {
	config, err := pgx.ParseConfig(h.c.Postgres)
	if err != nil {
		return err
	}
	address := fmt.Sprintf("%s:%d", config.Host, config.Port)
	p, err := newProxy(address)
	if err != nil {
		return err
	}
	h.proxies = append(h.proxies, p)
	h.url = strings.Replace(h.c.Postgres, address, p.address(), 1)
	if h.url == h.c.Postgres {
		return fmt.Errorf("the URL of PostgreSQL does not name %s; write it with host and port", address)
	}
	if h.redis != "" {
		if p, err = newProxy(h.redis); err != nil {
			return err
		}
		h.proxies = append(h.proxies, p)
		h.redis = p.address()
	}
	// The server waits before each flush: with commit_siblings 0 always.
	for _, text := range []string{"ALTER SYSTEM SET commit_delay = 1000", "ALTER SYSTEM SET commit_siblings = 0", "SELECT pg_reload_conf()"} {
		if _, err := h.admin.Exec(ctx, text); err != nil {
			return fmt.Errorf("the network profile slows the server's commits, which needs a superuser: %w", err)
		}
	}
	return nil
}

func (h *postgresHall) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	texts := []string{"DROP SCHEMA IF EXISTS " + h.schema + " CASCADE"}
	if h.c.Network {
		texts = append(texts, "ALTER SYSTEM RESET commit_delay", "ALTER SYSTEM RESET commit_siblings", "SELECT pg_reload_conf()")
	}
	for _, text := range texts {
		if _, err := h.admin.Exec(ctx, text); err != nil {
			h.c.Log("clean up: " + err.Error())
		}
	}
	_ = h.admin.Close(ctx)
	for _, p := range h.proxies {
		p.close()
	}
}

// fresh makes the tables anew.
func (h *postgresHall) fresh(ctx context.Context) error {
	for _, text := range []string{
		"DROP SCHEMA IF EXISTS ~ CASCADE", "CREATE SCHEMA ~",
		"CREATE TABLE ~.orders (number bigint PRIMARY KEY, account int NOT NULL, amount int NOT NULL)",
		"CREATE TABLE ~.accounts (id int PRIMARY KEY, balance bigint NOT NULL) WITH (fillfactor = 50)",
		"CREATE TABLE ~.processed (id text PRIMARY KEY)",
		fmt.Sprintf("INSERT INTO ~.accounts SELECT x, 0 FROM generate_series(0, %d) x", accounts-1),
		"ANALYZE ~.accounts", "CHECKPOINT",
	} {
		if _, err := h.admin.Exec(ctx, strings.ReplaceAll(text, "~", h.schema)); err != nil {
			return err
		}
	}
	return nil
}

// check sees that the tables hold each order once.
func (h *postgresHall) check(ctx context.Context, l *load) error {
	var orders int
	var sum, balance int64
	err := h.admin.QueryRow(ctx, strings.ReplaceAll(`SELECT count(*), COALESCE(sum(amount), 0), (SELECT sum(balance)::bigint FROM ~.accounts) FROM ~.orders`,
		"~", h.schema)).Scan(&orders, &sum, &balance)
	if err == nil && (orders != l.orders || sum != l.sum || balance != l.sum) {
		err = fmt.Errorf("%d orders of %d, balances %d of %d: the run was wrong", orders, l.orders, balance, l.sum)
	}
	return err
}

// store opens a store of a worker.
func (h *postgresHall) store(ctx context.Context) (rollcall.Store[pgx.Tx], func() error, error) {
	s, err := postgres.Open(ctx, h.url, postgres.Config{Schema: h.schema})
	if err != nil {
		return nil, nil, err
	}
	return s, s.Close, nil
}

func (h *postgresHall) describe(p *Page) {
	if p.Postgres = h.version; h.redisVersion != "" {
		p.Redis = h.redisVersion
	}
}

// connect opens bare connections.
func (h *postgresHall) connect(ctx context.Context, n int) (conns []*pgx.Conn, done func(), err error) {
	done = func() {
		for _, c := range conns {
			_ = c.Close(ctx)
		}
	}
	for range n {
		c, err := pgx.Connect(ctx, h.url)
		if err != nil {
			done()
			return nil, nil, err
		}
		conns = append(conns, c)
	}
	return conns, done, nil
}

// name is empty: a page has one such server.
func (h *postgresHall) name() string { return "" }

func (h *postgresHall) turns() int64 { return turnsOf(h.proxies) }
