package filelog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/rollcall-mq/rollcall"
)

// marks is the high mark of every partition, kept apart from the log: a log
// whose tail is gone, or an older copy of it, ends below its mark.
//
// A mark is raised after COMMIT and before anybody is told Stored. So after a
// crash a mark may be too low, which refuses nothing, and never too high. The
// slot of a partition is written, and synced, before the partition is created,
// and flagged before it is deleted: whichever half a crash leaves is accepted.
//
// Format: a header of 64 bytes, then a slot of 64 bytes for each partition id.
type marks struct {
	path string
	mu   sync.Mutex // of this process; the file lock is of the others
	file *os.File
	lock *flock.Flock
}

const (
	markSize      = 64
	marksMagic    = "rcmarks1"
	marksGrow     = 64 << 10
	marksFlag     = 1 // the partition is being deleted: it may be absent
	marksPatience = time.Second
)

// mark is one slot.
type mark struct {
	incarnation rollcall.Incarnation
	end         int64
	deleting    bool
}

func encodeMark(id int64, m mark) []byte {
	b := make([]byte, markSize)
	copy(b, m.incarnation[:])
	binary.BigEndian.PutUint64(b[16:], uint64(m.end))
	if m.deleting {
		b[24] = marksFlag
	}
	binary.BigEndian.PutUint32(b[60:], markSum(id, b))
	return b
}

func markSum(id int64, b []byte) uint32 {
	var head [8]byte
	binary.BigEndian.PutUint64(head[:], uint64(id))
	table := newCastagnoli()
	return crc32.Update(crc32.Checksum(head[:], table), table, b[:60])
}

var errMarksSum = errors.New("checksum does not match")

func decodeMark(id int64, b []byte) (mark, error) {
	blank := true
	for _, c := range b {
		blank = blank && c == 0
	}
	if blank {
		return mark{}, nil
	}
	if binary.BigEndian.Uint32(b[60:]) != markSum(id, b) {
		return mark{}, errMarksSum
	}
	m := mark{end: int64(binary.BigEndian.Uint64(b[16:])), deleting: b[24] == marksFlag}
	copy(m.incarnation[:], b)
	return m, nil
}

// openMarks opens the file; create says that a new one may be made.
func openMarks(path string, create bool) (*marks, error) {
	flags := os.O_RDWR | syscall.O_NOFOLLOW
	if create {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	return &marks{path: path, file: f, lock: flock.New(path, flock.SetFlag(os.O_RDWR))}, nil
}

func (k *marks) close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return errors.Join(k.lock.Close(), k.file.Close())
}

// locked runs do while no other process changes the file. A process that was
// stopped while it held the lock must not stop all others: after a second do
// runs without it, and the worst is a mark that is lower than it could be.
func (k *marks) locked(do func() error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), marksPatience)
	defer cancel()
	if ok, _ := k.lock.TryLockContext(ctx, time.Millisecond); ok {
		// What unlocking could report, closing the file would report again.
		defer func() { _ = k.lock.Unlock() }()
	}
	return do()
}

// format makes an empty file for that log. It is synced: a mark file that a
// power cut left empty would refuse a sound log.
func (k *marks) format(id [16]byte) error {
	if err := k.file.Truncate(0); err != nil {
		return err
	}
	if err := k.extend(0, marksGrow); err != nil {
		return err
	}
	return k.writeHead(id, marksGrow)
}

func (k *marks) writeHead(id [16]byte, size int64) error {
	b := make([]byte, markSize)
	copy(b, marksMagic)
	copy(b[8:], id[:])
	binary.BigEndian.PutUint64(b[24:], uint64(size))
	binary.BigEndian.PutUint32(b[60:], markSum(-1, b))
	if _, err := k.file.WriteAt(b, 0); err != nil {
		return err
	}
	return k.file.Sync()
}

// extend writes real zeros: a mark must find room on a full disk.
func (k *marks) extend(from, to int64) error {
	if _, err := k.file.WriteAt(make([]byte, to-from), from); err != nil {
		return err
	}
	return k.file.Sync()
}

// load reads the whole file and checks its header.
func (k *marks) load(id [16]byte) (markTable, error) {
	info, err := k.file.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, info.Size())
	n, err := k.file.ReadAt(b, 0)
	if err != nil && n < len(b) {
		return nil, err
	}
	if len(b) < markSize || string(b[:8]) != marksMagic || binary.BigEndian.Uint32(b[60:]) != markSum(-1, b[:markSize]) {
		return nil, fmt.Errorf("it is no file of marks (%d bytes)", len(b))
	}
	if [16]byte(b[8:24]) != id {
		return nil, errors.New("it belongs to another log")
	}
	if want := binary.BigEndian.Uint64(b[24:]); uint64(len(b)) < want {
		return nil, fmt.Errorf("it has %d bytes and should have %d", len(b), want)
	}
	return markTable(b), nil
}

// markTable is what load read.
type markTable []byte

// slots is how many partition ids have a slot.
func (t markTable) slots() int64 { return int64(len(t))/markSize - 1 }

// at returns the slot of a partition id; blank if the file ends before it.
func (t markTable) at(id int64) (mark, error) {
	if id < 0 || id >= t.slots() {
		return mark{}, nil
	}
	return decodeMark(id, t[(id+1)*markSize:(id+2)*markSize])
}

// reserve writes the slots of partitions that are about to be created, synced.
func (k *marks) reserve(logID [16]byte, parts []*part) error {
	return k.locked(func() error {
		info, err := k.file.Stat()
		if err != nil {
			return err
		}
		size := info.Size()
		for _, p := range parts {
			for (p.id+2)*markSize > size {
				if err := k.extend(size, size+marksGrow); err != nil {
					return err
				}
				size += marksGrow
			}
			if err := k.write(p.id, mark{incarnation: p.incarnation, end: p.end}); err != nil {
				return err
			}
		}
		return k.writeHead(logID, size)
	})
}

func (k *marks) write(id int64, m mark) error {
	_, err := k.file.WriteAt(encodeMark(id, m), (id+1)*markSize)
	return err
}

func (k *marks) read(id int64) (mark, error) {
	b := make([]byte, markSize)
	if _, err := k.file.ReadAt(b, (id+1)*markSize); err != nil {
		return mark{}, err
	}
	return decodeMark(id, b)
}

// raise lifts the marks to what was committed. A slot of another incarnation
// is left alone: the destination was deleted since.
func (k *marks) raise(parts []part) error {
	return k.locked(func() error {
		for i := range parts {
			p := &parts[i]
			m, err := k.read(p.id)
			if err != nil {
				return err
			}
			if m.incarnation != p.incarnation || m.end >= p.end {
				continue
			}
			m.end = p.end
			if err := k.write(p.id, m); err != nil {
				return err
			}
		}
		return nil
	})
}

// flag says that partitions are being deleted, or are not after all.
func (k *marks) flag(parts []*part, deleting bool) error {
	return k.locked(func() error {
		for _, p := range parts {
			m, err := k.read(p.id)
			if err != nil {
				return err
			}
			if m.incarnation != p.incarnation {
				continue
			}
			m.deleting = deleting
			if err := k.write(p.id, m); err != nil {
				return err
			}
		}
		return k.file.Sync()
	})
}

// blank reports whether no slot tells of a message, whatever the header says:
// an Open that was cut short leaves such a file beside an empty log.
func (k *marks) blank() (bool, error) {
	info, err := k.file.Stat()
	if err != nil {
		return false, err
	}
	b := make([]byte, info.Size())
	if n, err := k.file.ReadAt(b, 0); err != nil && n < len(b) {
		return false, err
	}
	table := markTable(b)
	for id := range table.slots() {
		if m, err := table.at(id); err != nil || m.end > 0 && !m.deleting {
			return false, nil
		}
	}
	return true, nil
}
