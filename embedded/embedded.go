// Package embedded is a log and a store in one folder, without a server: the
// drivers broker/filelog and store/sqlite put together. Any number of
// processes of one host may have the folder open.
package embedded

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
	"github.com/rollcall-mq/rollcall/store/sqlite"
)

// The files in the folder.
const (
	LogFile   = "log.db"
	StoreFile = "store.db"
)

// Config is the settings of a DB. The zero value is safe.
type Config struct {
	// Log is the settings of the log.
	Log filelog.Config
	// Store is the settings of the store.
	Store sqlite.Config
	// StorePath is the file of the store: your own database, or a new file.
	// Default: store.db in the folder.
	StorePath string
}

// DB is an open folder. It is safe for concurrent use.
type DB struct {
	log   *filelog.Log
	store *sqlite.Store
}

// Open opens a folder, and makes it (mode 0700) if it is not there.
func Open(folder string) (*DB, error) { return OpenConfig(folder, Config{}) }

// OpenConfig opens a folder with settings. After an error nothing is open.
func OpenConfig(folder string, config Config) (*DB, error) {
	if folder == "" {
		return nil, fmt.Errorf("%w: embedded: the folder has no name; give its path", rollcall.ErrConfig)
	}
	log, err := filelog.Open(filepath.Join(folder, LogFile), config.Log)
	if err != nil {
		return nil, err
	}
	if config.StorePath == "" {
		config.StorePath = filepath.Join(folder, StoreFile)
	}
	store, err := sqlite.Open(config.StorePath, config.Store)
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return &DB{log: log, store: store}, nil
}

// Source is the receiving half for these destinations.
func (db *DB) Source(destinations ...string) *filelog.Source { return db.log.Source(destinations...) }

// Sender is the sending half without stamps and retries: for Publisher and Relay.
func (db *DB) Sender() *filelog.Sender { return db.log.Sender() }

// Publisher makes a publisher with a new life. Close it before the DB.
func (db *DB) Publisher(config rollcall.PublisherConfig) *rollcall.Publisher {
	return rollcall.NewPublisher(db.log.Sender(), config)
}

// Store is where "done" is recorded, beside your tables.
func (db *DB) Store() *sqlite.Store { return db.store }

// Log is the log, to create, raise and delete destinations.
func (db *DB) Log() *filelog.Log { return db.log }

// DB is a handle on the store's file for your own tables. Do not write through
// it inside a handler: the handler's transaction holds the write lock.
func (db *DB) DB() *sql.DB { return db.store.DB() }

// Close closes both files. Consumers and publishers must have ended.
func (db *DB) Close() error { return errors.Join(db.log.Close(), db.store.Close()) }
