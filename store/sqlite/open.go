package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	rollcall "github.com/rollcall-mq/rollcall"
	driversqlite "modernc.org/sqlite"
)

const (
	headerSize = 100
	magic      = "SQLite format 3\x00"
	// checkpoint copies the write-ahead log into the file every 32 MiB instead
	// of 4: keys are random, so each page would be copied again and again. A
	// commit is as durable as before, it lies synced in the log.
	checkpoint = "wal_autocheckpoint(8000)"
	// spin is how long SQLite itself waits for the write lock before we look at
	// the context again: its own waiting cannot be interrupted, and grows to
	// many times the length of a transaction.
	spin = time.Millisecond
)

// prepareFile makes sure that there is a file that is ours to open: created
// with mode 0600 in folders of mode 0700, never through a symbolic link, and
// whole as far as its header tells.
func prepareFile(path string) (string, error) {
	if path == "" {
		return "", fmt.Errorf("%w: sqlite store: the path is empty: name a file", rollcall.ErrConfig)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("sqlite store %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(abs), 0o700); err != nil {
		return "", fmt.Errorf("sqlite store %s: create its folder: %w; create it by hand, mode 0700, or choose another path", abs, err)
	}
	for _, name := range []string{abs, abs + "-wal", abs + "-shm"} {
		info, err := os.Lstat(name)
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			return "", fmt.Errorf("sqlite store %s: %w", abs, err)
		case info.Mode()&os.ModeSymlink != 0:
			return "", fmt.Errorf("%w: sqlite store: %s is a symbolic link and is not followed: give the path of the file itself", rollcall.ErrConfig, name)
		case !info.Mode().IsRegular():
			return "", fmt.Errorf("%w: sqlite store: %s is not a regular file: choose another path", rollcall.ErrConfig, name)
		}
	}
	f, err := os.OpenFile(abs, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", fmt.Errorf("sqlite store %s: %w; the file and its folder must be writable for this user", abs, err)
	}
	defer f.Close()
	return abs, checkHeader(f, abs)
}

// checkHeader compares what the header says with the file. The main file may be
// shorter than its header says while a write-ahead log waits to be copied into
// it, so the size is compared only when there is none.
func checkHeader(f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("sqlite store %s: %w", path, err)
	}
	if info.Size() == 0 {
		return nil
	}
	header := make([]byte, headerSize)
	if n, err := io.ReadFull(f, header); err != nil {
		return damaged(path, "open", fmt.Errorf("it has %d bytes, the header alone has %d", n, headerSize))
	}
	if string(header[:len(magic)]) != magic {
		return damaged(path, "open", errors.New("it is not a SQLite database"))
	}
	size := int64(binary.BigEndian.Uint16(header[16:]))
	if size == 1 {
		size = 65536
	}
	if size < 512 || size&(size-1) != 0 {
		return damaged(path, "open", fmt.Errorf("the header says that a page has %d bytes", size))
	}
	pages := int64(binary.BigEndian.Uint32(header[28:]))
	counted := binary.BigEndian.Uint32(header[24:]) == binary.BigEndian.Uint32(header[92:])
	if wal, err := os.Stat(path + "-wal"); err == nil && wal.Size() > 0 {
		return nil
	}
	if counted && pages*size > info.Size() {
		return damaged(path, "open", fmt.Errorf("it has %d bytes, its header says %d pages of %d: %d bytes are missing",
			info.Size(), pages, size, pages*size-info.Size()))
	}
	return nil
}

// openPools opens the three handles and looks whether the file can be used.
func (s *Store) openPools() error {
	busy := fmt.Sprintf("busy_timeout(%d)", s.config.Busy.Milliseconds())
	keys := "foreign_keys(0)"
	if s.config.ForeignKeys {
		keys = "foreign_keys(1)"
	}
	cache := fmt.Sprintf("cache_size(-%d)", s.config.Cache)
	var err error
	if s.writer, err = s.pool(1, fmt.Sprintf("busy_timeout(%d)", spin.Milliseconds()), keys, cache,
		"synchronous(FULL)", "temp_store(MEMORY)", checkpoint); err != nil {
		return err
	}
	if s.reader, err = s.pool(s.config.Readers, busy, "query_only(1)"); err != nil {
		return err
	}
	if s.user, err = s.pool(16, busy, keys, "synchronous(FULL)"); err != nil {
		return err
	}
	if err := s.checkFile(); err != nil {
		_ = s.Close()
		return err
	}
	return nil
}

func (s *Store) pool(most int, pragmas ...string) (*sql.DB, error) {
	q := url.Values{"_txlock": {"immediate"}, "_pragma": pragmas, "mode": {"rw"}, "_defensive": {"1"}}
	dsn := (&url.URL{Scheme: "file", OmitHost: true, Path: s.path, RawQuery: q.Encode()}).String()
	base, err := driversqlite.NewConnector(dsn)
	if err != nil {
		return nil, fmt.Errorf("sqlite store %s: %w", s.path, err)
	}
	db := sql.OpenDB(connector{base})
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(min(most, 4))
	return db, nil
}

// checkFile switches to the write-ahead log, which stays in the file, and
// refuses what cannot be used.
func (s *Store) checkFile() error {
	ctx := context.Background()
	conn, err := s.user.Conn(ctx) // it waits for locks, the writer's handle does not
	if err != nil {
		return s.wrap("open", err)
	}
	defer conn.Close()
	var mode, encoding string
	if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode=WAL").Scan(&mode); err != nil {
		return s.wrap("switch to the write-ahead log", err)
	}
	if mode != "wal" {
		return fmt.Errorf("%w: sqlite store %s: its journal mode stays %q, rollcall needs WAL: put the file on a local file system", rollcall.ErrConfig, s.path, mode)
	}
	if err := conn.QueryRowContext(ctx, "PRAGMA encoding").Scan(&encoding); err != nil {
		return s.wrap("open", err)
	}
	if encoding != "UTF-8" {
		return fmt.Errorf("%w: sqlite store %s: its encoding is %s, rollcall needs UTF-8: dump it and load it into a new file", rollcall.ErrConfig, s.path, encoding)
	}
	return nil
}
