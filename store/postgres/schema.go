package postgres

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	rollcall "github.com/rollcall-mq/rollcall"
)

// migrations bring the tables from version i to i+1. One that was released is
// never changed. Names that people choose are text; what a message brings (ids,
// keys, headers, causes) is bytea, so that any bytes survive.
var migrations = [][]string{{
	`CREATE TABLE rollcall.tokens (
	grp text NOT NULL, worker text NOT NULL, destination text NOT NULL, number int NOT NULL,
	token bigint NOT NULL, released boolean NOT NULL, fenced boolean NOT NULL,
	PRIMARY KEY (grp, worker, destination, number))`,
	`CREATE TABLE rollcall.beats (
	grp text NOT NULL, worker text NOT NULL, destination text NOT NULL, number int NOT NULL, beat bigint NOT NULL,
	PRIMARY KEY (grp, worker, destination, number)) WITH (fillfactor = 50)`,
	`CREATE TABLE rollcall.inbox (
	grp text NOT NULL, dedup_key bytea NOT NULL, owner bytea NOT NULL, at bigint NOT NULL,
	PRIMARY KEY (grp, dedup_key))`,
	`CREATE TABLE rollcall.rolls (
	grp text NOT NULL, scope bytea NOT NULL, data bytea, at bigint NOT NULL, crc bigint NOT NULL,
	PRIMARY KEY (grp, scope)) WITH (fillfactor = 50)`,
	`CREATE TABLE rollcall.counts (
	grp text NOT NULL, destination text NOT NULL, slot int NOT NULL,
	applied bigint NOT NULL, repeated bigint NOT NULL, stale bigint NOT NULL,
	filtered bigint NOT NULL, discarded bigint NOT NULL, copies bigint NOT NULL,
	void bigint NOT NULL, lost bigint NOT NULL,
	PRIMARY KEY (grp, destination, slot)) WITH (fillfactor = 50)`,
	`CREATE TABLE rollcall.asides (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	grp text NOT NULL, identity bytea NOT NULL,
	state text NOT NULL, cause bytea NOT NULL, attempts int NOT NULL, early boolean NOT NULL,
	owns_key boolean NOT NULL, due bigint NOT NULL, created bigint NOT NULL, updated bigint NOT NULL,
	dedup_key bytea, life bytea, position bytea, destination text NOT NULL, part int NOT NULL,
	order_key bytea NOT NULL, message_id bytea NOT NULL, time bytea, stamp bytea, headers bytea, body bytea,
	crc_state bigint NOT NULL, crc_fixed bigint NOT NULL, crc_body bigint NOT NULL,
	UNIQUE (grp, identity))`,
	// A key may be of any length: its index is on what btree can hold.
	`CREATE INDEX asides_queue ON rollcall.asides (grp, substr(order_key, 1, 100), early, id) WHERE state = 'waiting'`,
	`CREATE INDEX asides_due ON rollcall.asides (grp, due) WHERE state = 'waiting'`,
	`CREATE INDEX asides_open ON rollcall.asides (grp, id) WHERE state IN ('waiting', 'dead', 'parked')`,
	`CREATE INDEX asides_held ON rollcall.asides (grp, dedup_key) WHERE dedup_key IS NOT NULL AND state IN ('waiting', 'dead', 'parked')`,
	`CREATE INDEX asides_life ON rollcall.asides (grp, life) WHERE life IS NOT NULL AND state IN ('waiting', 'dead', 'parked')`,
	`CREATE TABLE rollcall.outbox (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	destination text NOT NULL, part int NOT NULL, order_key bytea NOT NULL, message_id bytea NOT NULL,
	time bytea, stamp bytea, headers bytea, body bytea,
	refusal bytea, attempt bigint NOT NULL DEFAULT 0, doubt bytea, -- attempt: token of the relay that began to send it
	crc_fixed bigint NOT NULL, crc_stamp bigint NOT NULL)`,
	`CREATE INDEX outbox_pending ON rollcall.outbox (id) WHERE refusal IS NULL AND doubt IS NULL`,
	`CREATE INDEX outbox_kept ON rollcall.outbox (id) WHERE refusal IS NOT NULL OR doubt IS NOT NULL`,
	`CREATE TABLE rollcall.results (
	grp text NOT NULL, dedup_key bytea NOT NULL, content bytea NOT NULL, done boolean NOT NULL, result bytea,
	at bigint NOT NULL, crc bigint NOT NULL, PRIMARY KEY (grp, dedup_key))`,
	`CREATE TABLE rollcall.claims (
	grp text NOT NULL, dedup_key bytea NOT NULL, token bigint NOT NULL, done boolean NOT NULL, ends bigint NOT NULL,
	result bytea, crc bigint NOT NULL, PRIMARY KEY (grp, dedup_key))`,
	// The operator log only grows: nobody but the owner of the table may try to
	// change it, not even a role with rights to all tables, and nobody at all can.
	`CREATE TABLE rollcall.log (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	grp text NOT NULL, at bigint NOT NULL, operator bytea NOT NULL, verb text NOT NULL, reason bytea NOT NULL,
	aside bigint NOT NULL, message_id bytea NOT NULL, destination text NOT NULL,
	scope bytea, numbers bytea, detail bytea, crc bigint NOT NULL)`,
	`CREATE INDEX log_group ON rollcall.log (grp, id)`,
	`CREATE FUNCTION rollcall.log_only_grows() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'the operator log only grows'; END $$`,
	`CREATE TRIGGER log_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON rollcall.log
		FOR EACH STATEMENT EXECUTE FUNCTION rollcall.log_only_grows()`,
	`DO $$ DECLARE other name; BEGIN
	FOR other IN SELECT DISTINCT pg_get_userbyid(a.grantee) FROM pg_class c, aclexplode(c.relacl) a
		WHERE c.oid = 'rollcall.log'::regclass AND a.grantee NOT IN (c.relowner, 0) LOOP
		EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON rollcall.log FROM %I', other);
	END LOOP; END $$`,
}}

// Migrate makes the schema and brings its tables up to date, in one transaction
// and one process at a time. Open does it unless Config.NoMigrate is set.
func (s *Store) Migrate(ctx context.Context) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		have := 0
		err := tx.QueryRow(ctx, s.D.SQL("SELECT version FROM rollcall.schema_version")).Scan(&have)
		if err == nil && have == len(migrations) {
			return nil // nothing to do: no lock, no right to create anything
		}
		return pgx.ErrNoRows
	})
	if err == nil {
		return nil
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtext('rollcall'), hashtext($1))", s.config.Schema); err != nil {
			return err
		}
		// A role may make tables in a schema that is there without the right to
		// make schemas: do not try.
		var there bool
		err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)", s.config.Schema).Scan(&there)
		if err == nil && !there {
			_, err = tx.Exec(ctx, "CREATE SCHEMA "+s.D.Schema)
		}
		if err != nil {
			return err
		}
		return s.Core.Migrate(ctx, direct{tx, s.D}, migrations)
	})
	return s.Database.Wrap("create the tables", err)
}

// oldest is the oldest version of the server that has what we need.
const oldest = 140000

// inspect asks the server what it is, and refuses one that cannot keep the
// promise.
func (s *Store) inspect(ctx context.Context) error {
	var number, fsync, pages, sync string
	var standby bool
	err := s.pool.QueryRow(ctx, `SELECT current_setting('server_version'), current_setting('server_version_num'), current_setting('fsync'),
		current_setting('full_page_writes'), current_setting('synchronous_commit'), pg_is_in_recovery()`, pgx.QueryExecModeExec).
		Scan(&s.version, &number, &fsync, &pages, &sync, &standby)
	if err != nil {
		return s.Database.Wrap("open", err)
	}
	refuse := s.refuse
	n, _ := strconv.Atoi(number) // 0 when it is no number: refused
	switch {
	case n < oldest:
		return refuse("the server is PostgreSQL "+s.version, "14 or newer is needed")
	case standby:
		return refuse("the server is a standby, it takes no writes", "connect to the primary (target_session_attrs=read-write in the url)")
	case !s.config.Unsafe && fsync != "on":
		return refuse("fsync is off: what was confirmed is lost when the machine stops", "turn it on, or set Config.Unsafe")
	case !s.config.Unsafe && pages != "on":
		return refuse("full_page_writes is off", "turn it on, or set Config.Unsafe")
	case !s.config.Unsafe && sync == "off":
		return refuse("synchronous_commit is off: what was confirmed is lost when the server stops", "turn it on, or set Config.Unsafe")
	}
	return s.inspectSession(ctx)
}

// refuse is the error of a server that cannot keep the promise.
func (s *Store) refuse(what, next string) error {
	return fmt.Errorf("%w: postgres store %s: %s; %s; nothing was changed", rollcall.ErrConfig, s.name, what, next)
}
