package filelog

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

// memberFile is the sign of life of one member: a file that it holds locked,
// which the kernel lets go of when its process dies, with a counter in it that
// it raises as long as it runs. A stopped process keeps the lock, but its
// counter stands still.
type memberFile struct {
	uid  string // 32 hexadecimal digits
	path string
	file *os.File
	lock *flock.Flock
	beat uint64
}

const memberSuffix = ".lock"

// newMemberFile makes the file under another name and locks it before it gets
// its own: nobody sees it unlocked.
func newMemberFile(dir string) (*memberFile, error) {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	m := &memberFile{uid: hex.EncodeToString(id[:])}
	m.path = memberPath(dir, m.uid)
	making := m.path + ".new"
	var err error
	if m.file, err = os.OpenFile(making, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return nil, err
	}
	m.lock = flock.New(making, flock.SetFlag(os.O_RDWR))
	ok, err := m.lock.TryLock()
	if err == nil && !ok {
		err = errors.New("somebody else holds the lock of a new file")
	}
	if err == nil {
		err = m.raise()
	}
	if err == nil {
		err = os.Rename(making, m.path)
	}
	if err != nil {
		return nil, errors.Join(err, m.lock.Close(), m.file.Close(), os.Remove(making))
	}
	return m, nil
}

func memberPath(dir, uid string) string { return filepath.Join(dir, uid+memberSuffix) }

// raise is one heartbeat. It is not synced: it means nothing after a crash.
func (m *memberFile) raise() error {
	m.beat++
	_, err := m.file.WriteAt(binary.BigEndian.AppendUint64(nil, m.beat), 0)
	return err
}

// remove takes the file away before it lets go of the lock.
func (m *memberFile) remove() error {
	return errors.Join(os.Remove(m.path), m.lock.Close(), m.file.Close())
}

// probe looks at the file of another member: gone when its process is, else
// its counter.
func probe(dir, uid string) (beat uint64, gone bool) {
	path := memberPath(dir, uid)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, true
	}
	if err == nil && len(b) == 8 {
		beat = binary.BigEndian.Uint64(b)
	}
	lock := flock.New(path, flock.SetFlag(os.O_RDWR)) // never creates it
	free, err := lock.TryRLock()
	_ = lock.Close() // only looked
	return beat, free && err == nil || errors.Is(err, fs.ErrNotExist)
}

// strays returns the uids of member files that nobody holds.
func strays(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		uid, ok := strings.CutSuffix(e.Name(), memberSuffix)
		if !ok {
			continue
		}
		if _, gone := probe(dir, uid); gone {
			out = append(out, uid)
		}
	}
	return out, nil
}
