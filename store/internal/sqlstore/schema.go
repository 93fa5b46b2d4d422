package sqlstore

import (
	"context"
	"fmt"

	rollcall "github.com/rollcall-mq/rollcall"
)

// Migrate brings the tables up to date through q, on which the caller holds the
// lock of migrations. migrations[i] are the statements that lead from version i
// to i+1; where statements are not undone with the transaction they must bear to
// run again.
func (c *Core) Migrate(ctx context.Context, q Querier, migrations [][]string) error {
	have, err := c.version(ctx, q)
	if err != nil {
		return err
	}
	if have > len(migrations) {
		return fmt.Errorf("%w: schema %s: its tables are of version %d, this rollcall knows up to %d: upgrade rollcall; nothing was changed",
			rollcall.ErrNewerSchema, c.D.Schema, have, len(migrations))
	}
	for _, statements := range migrations[have:] {
		for _, text := range statements {
			if _, err := q.Exec(ctx, text); err != nil {
				return fmt.Errorf("%w (in: %s)", err, text)
			}
		}
		have++
		if _, err := q.Exec(ctx, "UPDATE rollcall.schema_version SET version = ?", have); err != nil {
			return err
		}
	}
	return nil
}

// version reads which tables there are, and makes the one that says it.
//
// token_base is the highest token of a row that was deleted: rows made anew
// start above it, so no token is ever issued twice.
func (c *Core) version(ctx context.Context, q Querier) (int, error) {
	_, err := q.Exec(ctx, `CREATE TABLE IF NOT EXISTS rollcall.schema_version (
		id INT PRIMARY KEY, version INT NOT NULL, token_base BIGINT NOT NULL, claim_token BIGINT NOT NULL)`)
	if err != nil {
		return 0, err
	}
	have, found := 0, false
	read := func() error {
		return q.Query(ctx, "SELECT version FROM rollcall.schema_version", nil, func(r Row) error { found = true; return r.Scan(&have) })
	}
	if err := read(); err != nil || found {
		return have, err
	}
	_, err = q.Exec(ctx, "INSERT INTO rollcall.schema_version (id, version, token_base, claim_token) VALUES (1, 0, 0, 0)")
	return 0, err
}
