package postgres_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/servers"
	"github.com/rollcall-mq/rollcall/store/crashtest"
	"github.com/rollcall-mq/rollcall/store/postgres"
)

func openClaims(ctx context.Context, url, schema string) (rollcall.Claims, func() error, error) {
	s, err := postgres.Open(ctx, url, postgres.Config{Schema: schema, Connections: 6})
	if err != nil {
		return nil, nil, err
	}
	return s.Claims(), s.Close, nil
}

// TestRecordCrash: once with a receiver that honours the key; once or parked,
// never doubled, with one that does not.
func TestRecordCrash(t *testing.T) {
	server := servers.Start(t, servers.Postgres15, servers.Config{})
	for name, honours := range map[string]bool{"honours the key": true, "does not": false} {
		t.Run(name, func(t *testing.T) {
			crashtest.RunRecord(t, openClaims, server, schema(), crashtest.RecordLoad{Keys: 600, Honours: honours, Kills: 5, Sleeps: 2, ServerKills: 2})
		})
	}
}

// guarded is a row of its own that compares the token in its transaction.
var guarded = crashtest.Guarded{Open: openClaims, Write: func(ctx context.Context, url, schema string, token rollcall.Token) (bool, error) {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return false, err
	}
	defer func() { _ = c.Close(ctx) }()
	tag, err := c.Exec(ctx, "UPDATE "+schema+".report SET token = $1 WHERE token <= $1", int64(token))
	return tag.RowsAffected() == 1, err
}}

// TestLockStopped: a holder that was stopped past its lease is refused by the
// row, whose transaction compares the token.
func TestLockStopped(t *testing.T) {
	server, name := servers.Shared(t, servers.Postgres15), schema()
	s, err := postgres.Open(t.Context(), server.URL(), postgres.Config{Schema: name})
	if err != nil {
		t.Fatal(err)
	}
	exec(t, s, "CREATE TABLE "+name+".report (token bigint NOT NULL)")
	exec(t, s, "INSERT INTO "+name+".report VALUES (0)")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	crashtest.RunLock(t, guarded, server.URL(), name)
}
