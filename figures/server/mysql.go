package server

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/mysql"
)

// mysqlHall is a MySQL or MariaDB server.
type mysqlHall struct {
	c       Config
	dsn     string // through the network's delay, if there is one
	schema  string
	version string
	admin   *sql.DB
	proxies []*proxy
}

func openMySQL(ctx context.Context, c Config) (*mysqlHall, error) {
	h := &mysqlHall{c: c, dsn: c.MySQL, schema: fmt.Sprintf("rollcall_bench_%d", os.Getpid())}
	config, err := driver.ParseDSN(c.MySQL)
	if err != nil {
		return nil, fmt.Errorf("the DSN of MySQL: %w; it is user:password@tcp(host:port)/database", err)
	}
	if h.admin, err = sql.Open("mysql", c.MySQL); err != nil {
		return nil, err
	}
	if err := h.admin.QueryRowContext(ctx, "SELECT VERSION()").Scan(&h.version); err != nil {
		_ = h.admin.Close()
		return nil, fmt.Errorf("connect to MySQL: %w: start the server, or check the DSN; nothing was changed", err)
	}
	if number, _, maria := strings.Cut(h.version, "-MariaDB"); maria {
		h.version = "MariaDB " + number
	} else {
		h.version = "MySQL " + h.version
	}
	if c.Network {
		p, err := newProxy(config.Addr)
		if err != nil {
			_ = h.admin.Close()
			return nil, err
		}
		h.proxies = append(h.proxies, p)
		config.Addr = p.address()
		h.dsn = config.FormatDSN()
	}
	return h, nil
}

func (h *mysqlHall) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := h.admin.ExecContext(ctx, "DROP DATABASE IF EXISTS "+h.schema); err != nil {
		h.c.Log("clean up: " + err.Error())
	}
	_ = h.admin.Close()
	for _, p := range h.proxies {
		p.close()
	}
}

func (h *mysqlHall) describe(p *Page) {
	if n := len(p.MySQL); n == 0 || p.MySQL[n-1] != h.version {
		p.MySQL = append(p.MySQL, h.version)
	}
}

func (h *mysqlHall) more(context.Context, *Page) error { return nil }

func (h *mysqlHall) grow(context.Context, *Page) error {
	return errors.New("growth is measured on PostgreSQL only: leave Keys out, or set Postgres; nothing was done")
}

// text puts the database's name in.
func (h *mysqlHall) text(s string) string { return strings.ReplaceAll(s, "~", h.schema) }

// fresh makes the tables anew.
func (h *mysqlHall) fresh(ctx context.Context) error {
	rows := make([]string, accounts)
	for i := range rows {
		rows[i] = fmt.Sprintf("(%d,0)", i)
	}
	for _, text := range []string{
		"DROP DATABASE IF EXISTS ~", "CREATE DATABASE ~",
		"CREATE TABLE ~.orders (number bigint PRIMARY KEY, account int NOT NULL, amount int NOT NULL) ENGINE=InnoDB",
		"CREATE TABLE ~.accounts (id int PRIMARY KEY, balance bigint NOT NULL) ENGINE=InnoDB",
		"INSERT INTO ~.accounts VALUES " + strings.Join(rows, ","),
	} {
		if _, err := h.admin.ExecContext(ctx, h.text(text)); err != nil {
			return err
		}
	}
	return nil
}

// check sees that the tables hold each order once.
func (h *mysqlHall) check(ctx context.Context, l *load) error {
	var orders int
	var sum, balance int64
	err := h.admin.QueryRowContext(ctx, h.text("SELECT COUNT(*), COALESCE(SUM(amount), 0), (SELECT SUM(balance) FROM ~.accounts) FROM ~.orders")).Scan(&orders, &sum, &balance)
	if err == nil && (orders != l.orders || sum != l.sum || balance != l.sum) {
		err = fmt.Errorf("%d orders of %d, balances %d of %d: the run was wrong", orders, l.orders, balance, l.sum)
	}
	return err
}

// store opens a store of a worker.
func (h *mysqlHall) store(ctx context.Context) (rollcall.Store[*sql.Tx], func() error, error) {
	s, err := mysql.Open(ctx, h.dsn, mysql.Config{Schema: h.schema})
	if err != nil {
		return nil, nil, err
	}
	return s, s.Close, nil
}

func (h *mysqlHall) name() string { return h.version }

func (h *mysqlHall) turns() int64 { return turnsOf(h.proxies) }
