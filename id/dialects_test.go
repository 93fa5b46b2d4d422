package id_test

import (
	"errors"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/rollcall-mq/rollcall/id"
)

// dialects by the name of the client.
var dialects = map[string]id.Dialect{"pgx": id.PostgreSQL(pgState), "mysql": id.MySQL(mysqlNumber)}

func pgState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func mysqlNumber(err error) uint16 {
	var e *mysql.MySQLError
	if errors.As(err, &e) {
		return e.Number
	}
	return 0
}
