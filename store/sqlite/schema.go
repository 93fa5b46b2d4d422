package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	rollcall "github.com/rollcall-mq/rollcall"
)

// migrations bring the tables from version i to i+1. One that was released is
// never changed. Text that a message brings (ids, keys, headers) is kept as
// BLOB, so that any bytes survive; names are TEXT and compare binary.
var migrations = [...]string{`
CREATE TABLE rollcall_tokens (
	grp TEXT NOT NULL, worker TEXT NOT NULL, destination TEXT NOT NULL, number INTEGER NOT NULL,
	token INTEGER NOT NULL,
	released INTEGER NOT NULL,          -- the owner gave it back cleanly
	fenced INTEGER NOT NULL DEFAULT 0,  -- the sweeper raised it, the owner was silent
	beat INTEGER NOT NULL,              -- last sign of life, ns, the store's clock
	PRIMARY KEY (grp, worker, destination, number)
) WITHOUT ROWID;
CREATE TABLE rollcall_keys (
	grp TEXT NOT NULL, key BLOB NOT NULL, owner BLOB NOT NULL, at INTEGER NOT NULL,
	PRIMARY KEY (grp, key)
) WITHOUT ROWID;
CREATE TABLE rollcall_rolls (
	grp TEXT NOT NULL, scope BLOB NOT NULL, data BLOB, at INTEGER NOT NULL, crc INTEGER NOT NULL,
	PRIMARY KEY (grp, scope)
) WITHOUT ROWID;
CREATE TABLE rollcall_counts (
	grp TEXT NOT NULL, destination TEXT NOT NULL, slot INTEGER NOT NULL,
	applied INTEGER NOT NULL, repeated INTEGER NOT NULL, stale INTEGER NOT NULL,
	filtered INTEGER NOT NULL, discarded INTEGER NOT NULL, copies INTEGER NOT NULL,
	PRIMARY KEY (grp, destination, slot)
) WITHOUT ROWID;
CREATE TABLE rollcall_asides (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	grp TEXT NOT NULL, identity BLOB NOT NULL,
	state TEXT NOT NULL, cause TEXT NOT NULL, attempts INTEGER NOT NULL, early INTEGER NOT NULL,
	owns_key INTEGER NOT NULL, due INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
	dedup_key BLOB, life BLOB, position BLOB, destination TEXT NOT NULL, part INTEGER NOT NULL,
	key BLOB NOT NULL, message_id BLOB NOT NULL, time BLOB, stamp BLOB, headers BLOB, body BLOB,
	crc_state INTEGER NOT NULL, crc_fixed INTEGER NOT NULL, crc_body INTEGER NOT NULL,
	UNIQUE (grp, identity)
);
CREATE INDEX rollcall_asides_queue ON rollcall_asides (grp, key, early, id) WHERE state = 'waiting' AND key <> x'';
CREATE INDEX rollcall_asides_due ON rollcall_asides (grp, due) WHERE state = 'waiting';
CREATE INDEX rollcall_asides_late ON rollcall_asides (grp, updated) WHERE state = 'waiting';
CREATE INDEX rollcall_asides_open ON rollcall_asides (grp, id, destination, state) WHERE state IN ('waiting', 'dead', 'parked');
CREATE INDEX rollcall_asides_held ON rollcall_asides (grp, dedup_key, owns_key, state) WHERE dedup_key IS NOT NULL AND state IN ('waiting', 'dead', 'parked');
CREATE INDEX rollcall_asides_life ON rollcall_asides (grp, life) WHERE life IS NOT NULL AND state IN ('waiting', 'dead', 'parked');
CREATE INDEX rollcall_asides_over ON rollcall_asides (grp, updated) WHERE state IN ('attempt', 'done', 'discarded');
CREATE TABLE rollcall_outbox (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	destination TEXT NOT NULL, part INTEGER NOT NULL, key BLOB NOT NULL, message_id BLOB NOT NULL,
	time BLOB, stamp BLOB, headers BLOB, body BLOB, refusal TEXT,
	crc_fixed INTEGER NOT NULL, crc_stamp INTEGER NOT NULL
);
CREATE INDEX rollcall_outbox_pending ON rollcall_outbox (id) WHERE refusal IS NULL;
`, `
CREATE TABLE rollcall_results (
	grp TEXT NOT NULL, key BLOB NOT NULL,
	content BLOB NOT NULL,              -- fingerprint of what was asked for, zeros: none
	done INTEGER NOT NULL DEFAULT 0,    -- 0: taken, its call has not returned
	result BLOB,
	at INTEGER NOT NULL, crc INTEGER NOT NULL,
	PRIMARY KEY (grp, key)
);
CREATE INDEX rollcall_results_over ON rollcall_results (grp, at);
CREATE TABLE rollcall_claims (
	grp TEXT NOT NULL, key BLOB NOT NULL,
	token INTEGER NOT NULL, done INTEGER NOT NULL,
	until INTEGER NOT NULL,             -- end of the lease; of the window when done
	result BLOB, crc INTEGER NOT NULL,
	PRIMARY KEY (grp, key)
);
CREATE INDEX rollcall_claims_over ON rollcall_claims (grp, until);
ALTER TABLE rollcall_schema ADD COLUMN claim_token INTEGER NOT NULL DEFAULT 0;
`, `
ALTER TABLE rollcall_outbox ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0; -- token of the relay that began to send it
ALTER TABLE rollcall_outbox ADD COLUMN doubt TEXT;                         -- parked: why nobody knows what became of it
DROP INDEX rollcall_outbox_pending;
CREATE INDEX rollcall_outbox_pending ON rollcall_outbox (id) WHERE refusal IS NULL AND doubt IS NULL;
CREATE INDEX rollcall_outbox_kept ON rollcall_outbox (id) WHERE refusal IS NOT NULL OR doubt IS NOT NULL;
`, `
ALTER TABLE rollcall_counts ADD COLUMN void INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollcall_counts ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;
`, `
CREATE TABLE rollcall_log ( -- the operator log: it only grows
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	grp TEXT NOT NULL, at INTEGER NOT NULL, operator BLOB NOT NULL, verb TEXT NOT NULL, reason BLOB NOT NULL,
	aside INTEGER NOT NULL, message_id BLOB NOT NULL, destination TEXT NOT NULL,
	scope BLOB, numbers BLOB, detail BLOB, crc INTEGER NOT NULL
);
CREATE INDEX rollcall_log_group ON rollcall_log (grp, id);
CREATE TRIGGER rollcall_log_unchanged BEFORE UPDATE ON rollcall_log
	BEGIN SELECT RAISE(ABORT, 'the operator log only grows'); END;
CREATE TRIGGER rollcall_log_kept BEFORE DELETE ON rollcall_log
	BEGIN SELECT RAISE(ABORT, 'the operator log only grows'); END;
CREATE TRIGGER rollcall_log_not_replaced BEFORE INSERT ON rollcall_log -- INSERT OR REPLACE deletes without a DELETE
	WHEN EXISTS (SELECT 1 FROM rollcall_log WHERE id = NEW.id)
	BEGIN SELECT RAISE(ABORT, 'the operator log only grows'); END;
`}

// migrate creates or upgrades the tables in one transaction.
func (s *Store) migrate(ctx context.Context) error {
	have, err := s.schemaVersion(ctx, s.reader)
	if err != nil {
		return s.wrap("read the version of the tables", err)
	}
	if have == len(migrations) {
		return nil // nothing to write: do not wait for the lock
	}
	return s.write(ctx, "create the tables", func(tx *sql.Tx) error {
		have, err := s.schemaVersion(ctx, tx) // another process may have been faster
		if err != nil {
			return err
		}
		if have > len(migrations) {
			return fmt.Errorf("%w: %s: its tables are of version %d, this rollcall knows up to %d: upgrade rollcall; nothing was changed",
				rollcall.ErrNewerSchema, s.path, have, len(migrations))
		}
		for _, text := range migrations[have:] {
			if _, err := tx.ExecContext(ctx, text); err != nil {
				return err
			}
		}
		if have < len(migrations) {
			_, err = tx.ExecContext(ctx, `INSERT INTO rollcall_schema (id, version, token_base) VALUES (1, ?, 0)
				ON CONFLICT (id) DO UPDATE SET version = excluded.version`, len(migrations))
		}
		return err
	})
}

// schemaVersion is 0 when there are no tables yet. In a write transaction it
// creates the table that holds the version.
func (s *Store) schemaVersion(ctx context.Context, q querier) (int, error) {
	if tx, ok := q.(*sql.Tx); ok {
		// token_base is the highest token of a row that was deleted: rows made
		// anew start above it, so no token is ever issued twice.
		if _, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS rollcall_schema (
			id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, token_base INTEGER NOT NULL)`); err != nil {
			return 0, err
		}
	}
	version := 0
	err := each(ctx, q, "SELECT version FROM rollcall_schema WHERE id = 1", nil, func(r *sql.Rows) error { return r.Scan(&version) })
	if err != nil && schemaMistake(err.Error()) {
		return 0, nil
	}
	if err == nil && version < 0 {
		return 0, damaged(s.path, "open", errors.New("its tables have a negative version"))
	}
	return version, err
}
