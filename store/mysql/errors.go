package mysql

import (
	"context"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net"
	"slices"

	"github.com/go-sql-driver/mysql"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/internal/sqlstore"
)

// errUserEnded: the handler ended a transaction that is not its own to end.
var errUserEnded = errors.New("mysql store: the transaction belongs to rollcall, a handler must not begin, commit or roll back, " +
	"nor run what commits by itself (CREATE, ALTER, LOCK and the like): return nil to have it committed, an error to have it undone")

// Numbers of the servers, https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html
// and https://mariadb.com/kb/en/mariadb-error-codes/.
const (
	codeDeadlock     = 1213
	codeLockWait     = 1205
	codeNoTable      = 1146
	codeNoDatabase   = 1049
	codePassword     = 1045
	codeReadOnly     = 1290
	codeFull         = 1114
	codeDiskFull     = 1021
	codeTooMany      = 1040
	codePacket       = 1153
	codeInterrupted  = 1317
	codeSelectTime   = 3024
	codeMaxTime      = 1969
	codeSecure       = 3159
	codeShutdown     = 1053
	codeIdle         = 4031
	codeKilled       = 1927
	codeLockTable    = 1206
	codeCommitFailed = 1180
	codeGroupRefused = 3101
	codeBinlogFailed = 1598
)

// conflicts are between transactions: redo.
var conflicts = []uint16{codeDeadlock, codeLockWait, 3572, 1020, 1412, 1615, 1689, 3058, codeGroupRefused}

// denied is a right that is missing.
var denied = []uint16{1044, 1142, 1143, 1227, 1370}

// environment is nobody's fault. A table, column or procedure that is missing is
// a mistake of configuration or migration, and must not use up the messages.
var environment = append([]uint16{
	codeNoTable, codeNoDatabase, codePassword, codeReadOnly, codeFull, codeDiskFull, codeTooMany, codeInterrupted, codeSecure, codeShutdown,
	codeIdle, codeKilled, codeLockTable, codeCommitFailed, codeBinlogFailed,
	1054, 1305, 1046, 1109, // no column, no procedure, no database chosen
	1792, 1836, 1203, 1226, 1129, 1130, 1131, 1251, // read only, too many connections, who may connect
	1015, 1016, 1017, 1023, 1024, 1026, 1030, 1037, 1038, 1041, 1135, 1181, 1194, 1195, // files and memory
	1077, 1078, 1079, 1080, 1047, 1152, 1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161, 1184, // shutting down, networks
	1286, 1665, 3100,
}, denied...)

func codeOf(err error) uint16 {
	var answer *mysql.MySQLError
	if errors.As(err, &answer) {
		return answer.Number
	}
	return 0
}

// rolledBack reports whether the server rolled back the whole transaction with
// this error, or may have. A lock wait timeout takes only the statement with it,
// unless innodb_rollback_on_timeout is set.
func rolledBack(err error) bool {
	switch codeOf(err) {
	case codeDeadlock, codeLockWait, codeLockTable, codeFull, codeDiskFull, codeShutdown, codeIdle, codeKilled, codeGroupRefused, codeCommitFailed, 1020, 1181, 1614:
		return true
	}
	return false
}

// cutShort are answers to COMMIT after which it may have happened all the same.
func cutShort(number uint16) bool {
	return slices.Contains([]uint16{codeShutdown, codeInterrupted, codeIdle, codeKilled, codeBinlogFailed, 1152, 1154, 1158, 1159, 1160, 1161, 1184}, number)
}

// Classify says whose fault an error is. Data (the message's): wrong values and
// broken constraints, what a procedure raised, the handler's own errors and
// deadline. Conflict: deadlocks, lock wait timeouts. Environment: connections,
// disk, memory, a read-only server, missing rights, tables and columns.
func (s *Store) Classify(err error) rollcall.Class {
	code := codeOf(err)
	mine := sqlstore.IsOwn(err)
	own := mine
	switch {
	case err == nil, errors.Is(err, errUserEnded), errors.Is(err, errUngathered):
		return rollcall.ClassData
	case slices.Contains(conflicts, code):
		return rollcall.ClassConflict
	case code == codeSelectTime, code == codeMaxTime, code == codePacket, errors.Is(err, mysql.ErrPktTooLarge):
		if own {
			return rollcall.ClassEnvironment
		}
		return rollcall.ClassData
	case slices.Contains(environment, code):
		return rollcall.ClassEnvironment
	case code != 0:
		return rollcall.ClassData
	case errors.Is(err, context.DeadlineExceeded) && !own:
		return rollcall.ClassData
	case own, errors.Is(err, context.Canceled), ended(err), errors.Is(err, rollcall.ErrClosed), errors.Is(err, rollcall.ErrDamaged),
		errors.Is(err, rollcall.ErrInDoubt), errors.Is(err, rollcall.ErrConfig):
		return rollcall.ClassEnvironment
	}
	return rollcall.ClassData
}

// gone reports whether a connection of the store ended, or was not opened.
func gone(err error) bool {
	var wire net.Error
	return ended(err) || errors.As(err, &wire)
}

// ended reports whether an error says that the store's connection ended. A
// handler's own calls over the network are not: their failure is the message's.
func ended(err error) bool {
	var lost *lostError
	switch codeOf(err) {
	case codeShutdown, codeIdle, codeKilled:
		return true
	}
	for _, e := range []error{driver.ErrBadConn, mysql.ErrInvalidConn, mysql.ErrMalformPkt, mysql.ErrPktSync, mysql.ErrBusyBuffer, sql.ErrConnDone} {
		if errors.Is(err, e) {
			return true
		}
	}
	return errors.As(err, &lost) && codeOf(err) == 0
}

// hint is the next step for what goes wrong most often.
func hint(err error) string {
	code := codeOf(err)
	switch {
	case slices.Contains(denied, code):
		return "the user lacks a right; grant it (see store/mysql/roles.sql): "
	case errors.Is(err, mysql.ErrNoTLS):
		return "the server speaks no TLS; set it up there, or take tls= out of the dsn: "
	case isCertificate(err):
		return "the server's certificate is not trusted; register its CA (mysql.RegisterTLSConfig) and name it in the dsn: "
	case errors.Is(err, mysql.ErrPktTooLarge), code == codePacket:
		return "more than max_allowed_packet in one statement, nothing was committed; raise it at the server: "
	}
	return map[uint16]string{
		codePassword:    "the server refuses user or password; check the dsn and CREATE USER: ",
		codeNoDatabase:  "create the database, or name one that is there in the dsn: ",
		codeNoTable:     "a table is missing: make it; if it is one of rollcall's, run the migration (Config.NoMigrate is set?), or restore it from a backup: ",
		codeReadOnly:    "the server is read-only (a replica?), nothing was committed; connect to the primary: ",
		1836:            "the server is read-only (a replica?), nothing was committed; connect to the primary: ",
		codeFull:        "the server's disk or tablespace is full, nothing was committed; make room, work goes on by itself: ",
		codeDiskFull:    "the server's disk is full, nothing was committed; make room, work goes on by itself: ",
		codeTooMany:     "the server has no connection left; raise max_connections or lower Config.Connections: ",
		codeDeadlock:    "a deadlock, nothing was committed, it is redone: ",
		codeLockWait:    "it waited for a lock for longer than Config.Statement, nothing was committed, it is redone: ",
		codeInterrupted: "it was killed at the server, nothing was committed: ",
		codeIdle:        "the transaction waited for its client for longer than Config.Idle, nothing was committed: ",
		codeSecure:      "the server demands TLS; add tls=true to the dsn: ",
	}[code]
}

func isCertificate(err error) bool {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &authority) || errors.As(err, &name) || errors.As(err, &invalid)
}
