package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/rollcall-mq/rollcall/internal/sqltext"
)

// patience is how much longer than the server the client waits for an answer.
const patience = 5 * time.Second

// pools are that of the store and that of the user.
func pools(mc *mysql.Config, config Config) (store, user *sql.DB, err error) {
	prepare(mc, config)
	theirs := mc.Clone()
	if mc.ReadTimeout == 0 {
		mc.ReadTimeout = config.Statement + patience
	}
	if store, err = newPool(mc, config); err != nil {
		return nil, nil, err
	}
	user, err = newPool(theirs, config)
	return store, user, err
}

func newPool(mc *mysql.Config, config Config) (*sql.DB, error) {
	c, err := newConnector(mc, config)
	if err != nil {
		return nil, err
	}
	pool := sql.OpenDB(c)
	pool.SetMaxOpenConns(config.Connections)
	pool.SetMaxIdleConns(config.Connections)
	// The server ends connections that are idle for as long as Idle.
	pool.SetConnMaxIdleTime(idle(config) / 2)
	return pool, nil
}

// prepare sets what the promise rests on, whatever the dsn says.
func prepare(mc *mysql.Config, config Config) {
	mc.InterpolateParams = true // one turn for each statement
	mc.ClientFoundRows = false  // an unchanged row counts 0: keys are told by it
	mc.MultiStatements = false  // a COMMIT behind another statement
	mc.RejectReadOnly = false   // it would turn an answer into a lost connection
	mc.AllowAllFiles = false
	mc.AllowCleartextPasswords = false
	mc.AllowFallbackToPlaintext = false
	mc.AllowOldPasswords = false
	mc.CheckConnLiveness = true
	mc.Logger = &mysql.NopLogger{}
	mc.MaxAllowedPacket = 0 // what the server says
	if mc.Timeout == 0 {
		mc.Timeout = 10 * time.Second
	}
	if mc.WriteTimeout == 0 {
		mc.WriteTimeout = 30 * time.Second
	}
	if config.Dial != nil {
		mc.DialFunc = config.Dial
	}
	if mc.Params == nil {
		mc.Params = make(map[string]string)
	}
	mc.Params["autocommit"] = "1"
	mc.Params["completion_type"] = "'NO_CHAIN'"
	mc.Params["wait_timeout"] = seconds(idle(config))
	mc.Params["net_write_timeout"] = seconds(idle(config))
	mc.Params["innodb_lock_wait_timeout"] = seconds(config.Statement)
	mc.Params["lock_wait_timeout"] = seconds(config.Statement)
	mc.Params["time_zone"] = "'+00:00'"
	// Not in place of the server's: it may have reasons for more. ANSI_QUOTES and
	// NO_BACKSLASH_ESCAPES would change what is a string.
	mc.Params["sql_mode"] = "REPLACE(REPLACE(REPLACE(CONCAT_WS(',', NULLIF(@@sql_mode, ''), 'STRICT_TRANS_TABLES', 'NO_ENGINE_SUBSTITUTION'), " +
		"'ANSI_QUOTES', ''), 'NO_BACKSLASH_ESCAPES', ''), 'ANSI', '')"
}

func idle(config Config) time.Duration { return max(time.Second, config.Idle.Round(time.Second)) }

func seconds(d time.Duration) string {
	return strconv.FormatInt(max(1, int64((d+time.Second-1)/time.Second)), 10)
}

// connector opens connections that guard their transactions.
type connector struct {
	driver.Connector
	several driver.Connector // for texts of several statements
	bare    driver.Connector // without the session's settings, to kill
	idle    time.Duration
	reads   time.Duration

	gathers atomic.Bool // connections are to take texts of several statements
	texts   sqltext.Memo[said]
}

func newConnector(mc *mysql.Config, config Config) (*connector, error) {
	bare := mc.Clone()
	bare.Params, bare.MaxAllowedPacket, bare.ReadTimeout = nil, 1<<20, patience
	k, err := mysql.NewConnector(bare)
	if err != nil {
		return nil, err
	}
	c, err := mysql.NewConnector(mc)
	if err != nil {
		return nil, err
	}
	mc = mc.Clone()
	mc.MultiStatements = true
	several, err := mysql.NewConnector(mc)
	return &connector{Connector: c, several: several, bare: k, idle: idle(config), reads: mc.ReadTimeout}, err
}

// Connect opens one connection.
func (k *connector) Connect(ctx context.Context) (driver.Conn, error) {
	opens, several := k.Connector, k.gathers.Load()
	if several {
		opens = k.several
	}
	raw, err := opens.Connect(ctx)
	if err != nil {
		return nil, err
	}
	in, ok := raw.(inner)
	if !ok {
		_ = raw.Close()
		return nil, fmt.Errorf("mysql store: the driver's connection %T lacks what this version of rollcall needs", raw)
	}
	c := &conn{inner: in, from: k, used: time.Now(), several: several}
	if err := c.settle(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

// settle sets what has another name on each server, and asks for the
// connection's number.
func (c *conn) settle(ctx context.Context) error {
	if _, err := c.inner.ExecContext(ctx, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE", nil); err != nil {
		return err
	}
	rows, err := c.inner.QueryContext(ctx, "SELECT CONNECTION_ID()", nil)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	value := make([]driver.Value, 1)
	if err := rows.Next(value); err != nil {
		return err
	}
	c.id = fmt.Sprintf("%d", value[0])
	if text, is := value[0].([]byte); is {
		c.id = string(text)
	}
	return nil
}

// kill ends what the server still does for a connection that we gave up: it
// would hold its locks until then. If it cannot be told, its deadlines remain.
func (k *connector) kill(id string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	raw, err := k.bare.Connect(ctx)
	if err != nil {
		return
	}
	defer func() { _ = raw.Close() }()
	if e, ok := raw.(driver.ExecerContext); ok {
		_, _ = e.ExecContext(ctx, "KILL "+id, nil)
	}
}
