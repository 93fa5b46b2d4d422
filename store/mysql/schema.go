package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	rollcall "github.com/rollcall-mq/rollcall"
)

// table is how each begins and ends: nothing is left to the server's defaults.
func table(name, columns string) string {
	return "CREATE TABLE IF NOT EXISTS rollcall." + name + " (" + columns + ") ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=binary"
}

// migrations bring the tables from version i to i+1. One that was released is
// never changed. DDL is not undone with a transaction here, so each statement
// bears to be run again. All text is binary: no collation takes two names or keys
// for one.
var migrations = [][]string{{
	table("tokens", `grp VARBINARY(255) NOT NULL, worker VARBINARY(255) NOT NULL, destination VARBINARY(255) NOT NULL, number INT NOT NULL,
	token BIGINT NOT NULL, released BOOLEAN NOT NULL, fenced BOOLEAN NOT NULL,
	PRIMARY KEY (grp, worker, destination, number)`),
	table("beats", `grp VARBINARY(255) NOT NULL, worker VARBINARY(255) NOT NULL, destination VARBINARY(255) NOT NULL, number INT NOT NULL, beat BIGINT NOT NULL,
	PRIMARY KEY (grp, worker, destination, number)`),
	table("inbox", `grp VARBINARY(255) NOT NULL, dedup_key BINARY(16) NOT NULL, owner VARBINARY(32) NOT NULL, at BIGINT NOT NULL, mark BINARY(8) NOT NULL,
	PRIMARY KEY (grp, dedup_key)`),
	table("rolls", `grp VARBINARY(255) NOT NULL, scope VARBINARY(64) NOT NULL, data LONGBLOB, at BIGINT NOT NULL, crc BIGINT NOT NULL,
	PRIMARY KEY (grp, scope)`),
	table("counts", `grp VARBINARY(255) NOT NULL, destination VARBINARY(255) NOT NULL, slot INT NOT NULL,
	applied BIGINT NOT NULL, repeated BIGINT NOT NULL, stale BIGINT NOT NULL,
	filtered BIGINT NOT NULL, discarded BIGINT NOT NULL, copies BIGINT NOT NULL,
	void BIGINT NOT NULL, lost BIGINT NOT NULL,
	PRIMARY KEY (grp, destination, slot)`),
	table("asides", `id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
	grp VARBINARY(255) NOT NULL, identity VARBINARY(32) NOT NULL,
	state VARBINARY(16) NOT NULL, cause LONGBLOB NOT NULL, attempts INT NOT NULL, early BOOLEAN NOT NULL,
	owns_key BOOLEAN NOT NULL, due BIGINT NOT NULL, created BIGINT NOT NULL, updated BIGINT NOT NULL,
	dedup_key BINARY(16), life BINARY(16), position VARBINARY(64), destination VARBINARY(255) NOT NULL, part INT NOT NULL,
	order_key LONGBLOB NOT NULL, message_id LONGBLOB NOT NULL, time VARBINARY(32), stamp VARBINARY(255), headers LONGBLOB, body LONGBLOB,
	crc_state BIGINT NOT NULL, crc_fixed BIGINT NOT NULL, crc_body BIGINT NOT NULL,
	UNIQUE KEY asides_identity (grp, identity),
	KEY asides_due (grp, state, due), KEY asides_queue (grp, state, order_key(64)),
	KEY asides_held (grp, dedup_key), KEY asides_life (grp, life)`),
	table("outbox", `id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
	destination VARBINARY(255) NOT NULL, part INT NOT NULL, order_key LONGBLOB NOT NULL, message_id LONGBLOB NOT NULL,
	time VARBINARY(32), stamp VARBINARY(255), headers LONGBLOB, body LONGBLOB,
	refusal LONGBLOB, attempt BIGINT NOT NULL DEFAULT 0, doubt LONGBLOB,
	crc_fixed BIGINT NOT NULL, crc_stamp BIGINT NOT NULL`),
	table("results", `grp VARBINARY(255) NOT NULL, dedup_key BINARY(16) NOT NULL, content VARBINARY(32) NOT NULL, done BOOLEAN NOT NULL, result LONGBLOB,
	at BIGINT NOT NULL, crc BIGINT NOT NULL, PRIMARY KEY (grp, dedup_key)`),
	table("claims", `grp VARBINARY(255) NOT NULL, dedup_key BINARY(16) NOT NULL, token BIGINT NOT NULL, done BOOLEAN NOT NULL, ends BIGINT NOT NULL,
	result LONGBLOB, crc BIGINT NOT NULL, PRIMARY KEY (grp, dedup_key)`),
	// The operator log only grows: see roles.sql. (A trigger takes rights that few
	// may give.)
	table("log", `id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
	grp VARBINARY(255) NOT NULL, at BIGINT NOT NULL, operator LONGBLOB NOT NULL, verb VARBINARY(16) NOT NULL, reason LONGBLOB NOT NULL,
	aside BIGINT NOT NULL, message_id LONGBLOB NOT NULL, destination VARBINARY(255) NOT NULL,
	scope VARBINARY(64), numbers VARBINARY(16), detail LONGBLOB, crc BIGINT NOT NULL, KEY log_group (grp, id)`),
}}

// Migrate makes the database and brings its tables up to date, one process at a
// time. Open does it unless Config.NoMigrate is set. A process that ends in
// between leaves tables that the next one goes on with.
func (s *Store) Migrate(ctx context.Context) error {
	have := 0
	err := s.pool.QueryRowContext(ctx, s.D.SQL("SELECT version FROM rollcall.schema_version")).Scan(&have)
	if err == nil && have == len(migrations) {
		return nil // nothing to do: no lock, no right to create anything
	}
	return s.Database.Wrap("create the tables", s.migrate(ctx))
}

func (s *Store) migrate(ctx context.Context) error {
	held, err := s.pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = held.Close() }()
	name := "rollcall " + s.config.Schema
	name = name[:min(len(name), 64)]
	var got sql.NullInt64
	wait := seconds(s.config.Statement)
	if err := held.QueryRowContext(ctx, "SELECT GET_LOCK(?, "+wait+")", name).Scan(&got); err != nil {
		return err
	}
	if got.Int64 != 1 {
		return fmt.Errorf("another process migrates for longer than %s s; look at it, or try again", wait)
	}
	defer func() {
		_, _ = held.ExecContext(context.WithoutCancel(ctx), "DO RELEASE_LOCK(?)", name) // else it goes with the connection
	}()
	q := direct{held, s.D}
	found := 0
	err = held.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = ?", s.config.Schema).Scan(&found)
	if err == nil && found == 0 {
		_, err = q.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+s.D.Schema)
	}
	if err == nil {
		_, err = q.Exec(ctx, table("schema_version", "id INT PRIMARY KEY, version INT NOT NULL, token_base BIGINT NOT NULL, claim_token BIGINT NOT NULL"))
	}
	if err != nil {
		return err
	}
	return s.Core.Migrate(ctx, q, migrations)
}

// inspect asks the server what it is, and refuses one that cannot keep the
// promise.
func (s *Store) inspect(ctx context.Context) error {
	set, err := s.variables(ctx)
	if err != nil {
		return s.Database.Wrap("open", err)
	}
	s.version = set["version"]
	if what, next := unfit(set, s.config.Unsafe); what != "" {
		return fmt.Errorf("%w: mysql store %s: %s; %s; nothing was changed", rollcall.ErrConfig, s.name, what, next)
	}
	return nil
}

// engines refuses tables of ours that somebody moved to an engine without
// transactions.
func (s *Store) engines(ctx context.Context) error {
	var name, engine string
	err := s.pool.QueryRowContext(ctx, `SELECT table_name, engine FROM information_schema.tables WHERE table_schema = ? AND engine <> 'InnoDB'
		AND table_name IN ('tokens', 'beats', 'inbox', 'rolls', 'counts', 'asides', 'outbox', 'results', 'claims', 'log', 'schema_version') LIMIT 1`,
		s.config.Schema).Scan(&name, &engine)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return s.Database.Wrap("open", err)
	}
	return fmt.Errorf("%w: mysql store %s: table %s.%s is of engine %s, which undoes nothing; ALTER TABLE … ENGINE=InnoDB; nothing was changed",
		rollcall.ErrConfig, s.name, s.config.Schema, name, engine)
}

// variables are what the server says of itself, by name; those that it does not
// know are missing.
func (s *Store) variables(ctx context.Context) (map[string]string, error) {
	rows, err := s.pool.QueryContext(ctx, `SHOW SESSION VARIABLES WHERE Variable_name IN ('version', 'read_only', 'super_read_only', 'innodb_read_only',
		'innodb_flush_log_at_trx_commit', 'log_bin', 'sync_binlog', 'binlog_format', 'sql_mode', 'wsrep_on', 'group_replication_single_primary_mode',
		'transaction_isolation', 'tx_isolation', 'wait_timeout', 'character_set_client')`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	set := make(map[string]string)
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, err
		}
		set[strings.ToLower(name)] = value
	}
	return set, rows.Err()
}

// safeSets are character sets in which no byte of a letter is a quote or a
// backslash: values are written into texts.
var safeSets = []string{"utf8mb4", "utf8mb3", "utf8", "latin1", "ascii", "binary"}

// unfit says what a server lacks, and the next step; empty if nothing.
func unfit(set map[string]string, unsafe bool) (what, next string) {
	on := func(name string) bool { v := strings.ToUpper(set[name]); return v == "ON" || v == "1" }
	version, maria := set["version"], strings.Contains(set["version"], "MariaDB")
	flush := set["innodb_flush_log_at_trx_commit"]
	switch {
	case strings.Contains(version, "TiDB"), strings.Contains(version, "Vitess"):
		return "the server is " + version, "its locks are not those of MySQL; take MySQL or MariaDB"
	case !atLeast(version, maria):
		return "the server is " + version, "MySQL 8.0 or newer, or MariaDB 10.6 or newer, is needed"
	case on("read_only"), on("super_read_only"), on("innodb_read_only"):
		return "the server is read-only, it takes no writes", "connect to the primary"
	case on("wsrep_on"), set["group_replication_single_primary_mode"] == "OFF":
		return "the server is one of several primaries (Galera, group replication): a lock of one node means nothing on another", "take a server with one primary"
	case on("log_bin") && set["binlog_format"] == "STATEMENT":
		return "binlog_format is STATEMENT, which takes no writes in READ COMMITTED", "set it to ROW"
	case !strings.Contains(set["sql_mode"], "STRICT_TRANS_TABLES"):
		return "the session is not strict (sql_mode " + set["sql_mode"] + ")", "let sessions set sql_mode: a proxy in between may keep them from it"
	case !slices.Contains(safeSets, set["character_set_client"]):
		return "character_set_client is " + set["character_set_client"] + ": a byte of a letter may be taken for a quote, and a value for SQL",
			"set charset=utf8mb4 in the dsn"
	case set["transaction_isolation"]+set["tx_isolation"] != "READ-COMMITTED" && set["transaction_isolation"] != "READ-COMMITTED":
		return "the session is " + set["transaction_isolation"] + set["tx_isolation"], "let sessions set their isolation: a proxy in between may keep them from it"
	case !unsafe && flush != "1" && (!maria || flush != "3"):
		return "innodb_flush_log_at_trx_commit is " + flush + ": what was confirmed is lost when the machine stops", "set it to 1, or set Config.Unsafe"
	case !unsafe && on("log_bin") && set["sync_binlog"] != "1":
		return "sync_binlog is " + set["sync_binlog"] + ": what was confirmed may be undone when the machine stops", "set it to 1, or set Config.Unsafe"
	}
	return "", ""
}

// atLeast compares with the oldest version that has what we need.
func atLeast(version string, maria bool) bool {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return false
	}
	if maria {
		return major > 10 || major == 10 && minor >= 6
	}
	return major >= 8
}
