package id

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	driversqlite "modernc.org/sqlite"

	"github.com/rollcall-mq/rollcall"
)

// OpenFile opens a SQLite file as Blocks and Marks, and creates it with mode
// 0600 unless it is there; its folder must be. Any number of processes may have
// it open, on one machine and a local file system. It may be a file of
// store/sqlite: the table is rollcall_ids, beside the others. It waits up to
// 10 s for a process that writes.
func OpenFile(path string) (*SQL, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("id: store %s: %w", path, err)
	}
	info, err := os.Lstat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: id: store %s is no regular file: name the file itself", rollcall.ErrConfig, path)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("id: store: %w: name a file in a folder that is there and can be written; no id was given out", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("id: store: %w", err)
	}
	q := url.Values{"_txlock": {"immediate"}, "_defensive": {"1"}, "mode": {"rw"},
		"_pragma": {"busy_timeout(1)", "journal_mode(WAL)", "synchronous(FULL)"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("id: store %s: %w", path, err)
	}
	db.SetMaxOpenConns(1) // SQLite has one writer; ours wait here, in order
	s, err := NewSQL(context.Background(), db, SQLite())
	if err != nil {
		return nil, fmt.Errorf("%w: store %s", errors.Join(err, db.Close()), path)
	}
	s.close = db.Close
	return s, nil
}

// sqliteBusy is SQLITE_BUSY with all its extended codes.
func sqliteBusy(err error) bool {
	var e *driversqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == 5
}
