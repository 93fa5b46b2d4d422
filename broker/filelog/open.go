package filelog

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-mq/rollcall"
)

// Log is one open log file. It is safe for concurrent use, and any number of
// processes may have the same file open.
type Log struct {
	path   string
	config Config
	id     [16]byte
	db     *sql.DB
	marks  *marks

	writer struct {
		sync.Mutex
		conn    *conn     // nil until the first write, and after an I/O error
		trimmed time.Time // when retention last ran here
	}
	reader struct { // of calls that are rare: Measure, Settled, Verify
		sync.Mutex
		conn *conn
	}
	queue   queue
	changed signal
	done    chan struct{} // closed by Close
	once    sync.Once
	joined  sync.WaitGroup // goroutines of ours
	subs    atomic.Int64
}

// Open opens the log at path, and makes it if it is not there: its folder with
// mode 0700, its files with 0600. A path that is a symbolic link, no regular
// file, or writable by everybody is refused.
//
// It compares the log with its marks: rollcall.ErrDamaged when the end of a
// partition is gone, when the log is an older copy, or when the marks are
// missing although there are messages (see RebuildMarks). ErrNewerSchema when a
// newer rollcall wrote it. Records are verified when they are read.
func Open(path string, config Config) (*Log, error) {
	return open(path, config, false)
}

func open(path string, config Config, rebuild bool) (*Log, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("filelog: %s: %w", path, err)
	}
	l := &Log{path: path, config: config, done: make(chan struct{})}
	if err := l.openFiles(rebuild); err != nil {
		return nil, err
	}
	if err := l.start(rebuild); err != nil {
		l.closeFiles()
		return nil, err
	}
	return l, nil
}

func (l *Log) dir() string     { return filepath.Dir(l.path) }
func (l *Log) members() string { return l.path + ".members" }

// openFiles makes what is missing. It never opens the log itself: closing any
// descriptor of it would drop the locks that SQLite holds in this process.
func (l *Log) openFiles(rebuild bool) error {
	fail := func(err error) error {
		return fmt.Errorf("filelog: open %s: %w; the folder must exist or be creatable, and be writable by this user", l.path, err)
	}
	if err := os.MkdirAll(l.dir(), 0o700); err != nil {
		return fail(err)
	}
	fresh, err := l.checkFile()
	if err != nil {
		return err
	}
	marksPath := l.path + ".marks"
	l.marks, err = openMarks(marksPath, fresh || rebuild)
	if errors.Is(err, os.ErrNotExist) {
		return l.damaged("", "its high marks, "+marksPath+", are missing: a lost tail could not be noticed", nextMarks)
	}
	if err != nil {
		return fail(err)
	}
	if fresh {
		err = makeFile(l.path)
	}
	if err == nil {
		err = os.MkdirAll(l.members(), 0o700)
	}
	if err == nil {
		l.db, err = openDB(l.path)
	}
	if err != nil {
		return errors.Join(fail(err), l.marks.close())
	}
	return nil
}

// checkFile reports whether the log is still to be made.
func (l *Log) checkFile() (fresh bool, err error) {
	info, err := os.Lstat(l.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("filelog: open %s: %w", l.path, err)
	case !info.Mode().IsRegular():
		return false, fmt.Errorf("filelog: open %s: it is no regular file (%v); give the path of the file itself", l.path, info.Mode().Type())
	case info.Mode().Perm()&0o002 != 0:
		return false, fmt.Errorf("filelog: open %s: everybody can write it (mode %v); run chmod 600 on it", l.path, info.Mode().Perm())
	}
	// An empty file is what a crash in the first Open leaves, or a truncation:
	// the marks tell.
	return info.Size() == 0, nil
}

// makeFile makes an empty file under another name first, so that SQLite of this
// process never has it open while a descriptor of it is closed.
func makeFile(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the link it is only a second name
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// start prepares tables, compares with the marks and starts the committer.
func (l *Log) start(rebuild bool) error {
	// The write lock lets one process in: the first two to come must not both
	// find nothing.
	if err := l.write(l.prepareSchema); err != nil {
		return l.explain("open", err)
	}
	if rebuild {
		return nil
	}
	if err := l.checkAll(); err != nil {
		return err
	}
	l.queue.init()
	l.changed.init()
	l.joined.Go(l.commitLoop)
	return nil
}

func (l *Log) closeFiles() error {
	var errs []error
	l.writer.Lock() // a subscription that is leaving may still write
	if l.writer.conn != nil {
		errs = append(errs, l.writer.conn.close())
		l.writer.conn = nil
	}
	l.writer.Unlock()
	l.reader.Lock()
	if l.reader.conn != nil {
		errs = append(errs, l.reader.conn.close())
		l.reader.conn = nil
	}
	l.reader.Unlock()
	return errors.Join(append(errs, l.db.Close(), l.marks.close())...)
}

// Close closes the log. Publishes still waiting become Unknown with ErrClosed.
// Subscriptions must be closed before: they keep their connections.
func (l *Log) Close() error {
	var err error
	l.once.Do(func() {
		if n := l.subs.Load(); n > 0 {
			err = fmt.Errorf("filelog: %s: %d subscriptions are open; close them first", l.path, n)
		}
		close(l.done)
		l.joined.Wait()
		err = errors.Join(err, l.closeFiles())
	})
	return err
}

func (l *Log) isClosed() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

func (l *Log) errClosed() error { return fmt.Errorf("%w: log %s", rollcall.ErrClosed, l.path) }
