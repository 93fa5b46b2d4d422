package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/internal/sqlstore"
)

// Codes of PostgreSQL, https://www.postgresql.org/docs/current/errcodes-appendix.html.
const (
	codeDeadlock       = "40P01"
	codeCanceled       = "57014"
	codeLockTimeout    = "55P03"
	codeAborted        = "25P02"
	codeUndefinedTable = "42P01"
	codeNoIndex        = "42P10"
	codeDiskFull       = "53100"
	codeReadOnly       = "25006"
	codePassword       = "28P01"
	codeAuthorization  = "28000"
	codeNoDatabase     = "3D000"
	codeIdleTimeout    = "25P03"
	codePrivilege      = "42501"
)

func codeOf(err error) string {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return answer.Code
	}
	return ""
}

// Classify says whose fault an error is. Data (the message's): wrong values and
// broken constraints (22, 23), limits (54), what a function raised, the handler's own errors
// and deadline, a statement that took longer than Config.Statement. Conflict:
// deadlocks and serialization failures (40). Environment: connections, disk,
// memory, a standby, missing rights, and a table, column or unique index that is
// missing: that is a mistake of configuration or migration, and it must not use up
// the messages.
func (s *Store) Classify(err error) rollcall.Class {
	code := codeOf(err)
	own := sqlstore.IsOwn(err)
	switch {
	case err == nil, errors.Is(err, errUserEnded), errors.Is(err, errRefused), errors.Is(err, errOutlives), errors.Is(err, errUngathered):
		return rollcall.ClassData
	case strings.HasPrefix(code, "40"):
		return rollcall.ClassConflict
	case foreignSession(err):
		return rollcall.ClassEnvironment
	case code == codeCanceled || code == codeLockTimeout:
		if own {
			return rollcall.ClassEnvironment
		}
		return rollcall.ClassData
	case errors.Is(err, errAborted):
		return rollcall.ClassData
	case limit(err) && !own:
		return rollcall.ClassData
	case code != "":
		return classOf(code)
	case errors.Is(err, context.DeadlineExceeded) && !own:
		return rollcall.ClassData
	case errors.Is(err, context.Canceled), own, s.gone(err),
		errors.Is(err, rollcall.ErrClosed), errors.Is(err, rollcall.ErrDamaged), errors.Is(err, rollcall.ErrInDoubt), errors.Is(err, rollcall.ErrConfig):
		return rollcall.ClassEnvironment
	}
	return rollcall.ClassData
}

// gone reports whether a connection to our server ended, or could not be opened.
// A handler's own calls elsewhere are the message's: it may be what they fail on.
func (s *Store) gone(err error) bool {
	var wire *wireError
	var failed *pgconn.ConnectError
	if errors.As(err, &failed) {
		ours := s.pool.Config().ConnConfig
		return failed.Config.Host == ours.Host && failed.Config.Port == ours.Port
	}
	for _, text := range []string{"conn closed", "closed pool", "the connection is gone"} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return errors.As(err, &wire)
}

// explained is an error of a handler's statement with the next step, where the
// environment is to blame.
func explained(err error) error {
	if text := hint(err); text != "" {
		return fmt.Errorf("%s%w", text, err)
	}
	return err
}

// foreignSession: a statement that pgx prepared is not there, or there already:
// the session is another one than that of the statement before.
func foreignSession(err error) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && (answer.Code == "26000" || answer.Code == "42P05") && strings.Contains(answer.Message, "stmtcache_")
}

// limits of one statement are its message's, but for 54000 of a server that has no
// numbers of transactions left. XX000 is what a value too large for memory brings;
// a server that is damaged says XX001 or XX002.
func limit(err error) bool {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) || strings.HasPrefix(answer.Routine, "GetNew") {
		return false
	}
	return strings.HasPrefix(answer.Code, "54") || answer.Code == "XX000"
}

func classOf(code string) rollcall.Class {
	switch code {
	case codeUndefinedTable, codeNoIndex, "42703", "42883", "3F000", "42704", codePrivilege, codeAborted, codeIdleTimeout, "0A000":
		return rollcall.ClassEnvironment
	}
	switch code[:2] {
	case "08", "25", "28", "3D", "53", "54", "55", "57", "58", "F0", "XX":
		return rollcall.ClassEnvironment
	}
	return rollcall.ClassData
}

// hint is the next step for what goes wrong most often.
func hint(err error) string {
	var failed *pgconn.ConnectError
	if errors.As(err, &failed) && codeOf(err) == "" {
		return "the server cannot be reached, nothing was sent; start it, or check host, port and TLS in the url: "
	}
	if codeOf(err) == "42704" && failed != nil {
		return "the server does not know a setting of PostgreSQL 14; 14 or newer is needed: "
	}
	if foreignSession(err) {
		return "a pooler in transaction mode gives a connection the sessions of others, nothing was committed; connect to the server itself, " +
			"or to a pool in session mode: "
	}
	switch codeOf(err) {
	case codeDiskFull:
		return "the server's disk is full, nothing was committed; make room, work goes on by itself: "
	case codeReadOnly:
		return "the server is read-only (a standby?), nothing was committed; connect to the primary (target_session_attrs=read-write in the url): "
	case codePassword, codeAuthorization:
		return "the server refuses user or password; check the url and pg_hba.conf: "
	case codeNoDatabase:
		return "create the database, or name one that is there in the url: "
	case codePrivilege:
		return "the role lacks a right; grant it (see store/postgres/roles.sql): "
	case codeUndefinedTable:
		return "a table is missing: make it; if it is one of rollcall's, run the migration (Config.NoMigrate is set?), or restore it from a backup: "
	case codeNoIndex:
		return "a unique index is gone, without it nothing can be told from its repeat; make it again (see the table's PRIMARY KEY), work goes on by itself: "
	case codeDeadlock:
		return "a deadlock, nothing was committed, it is redone: "
	case codeCanceled:
		return "it took longer than statement_timeout or was cancelled, nothing was committed: "
	case codeIdleTimeout:
		return "the transaction waited for its client for longer than Config.Idle, nothing was committed: "
	case "08P01":
		if strings.Contains(err.Error(), "unsupported startup parameter") {
			return "this is a pooler that refuses session settings; connect to the server itself, or to a pool in session mode: "
		}
	}
	return ""
}
