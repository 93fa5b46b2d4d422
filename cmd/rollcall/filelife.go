package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/rollcall-mq/rollcall"
)

// A file that is sent takes its life from what is in it, and its numbers from
// its records: sent again it repeats both, and is absorbed. The file is read
// twice. So that what is sent is what was hashed, every chunk of the second
// reading is compared before anything of it is handed out.

// fileFormat is hashed into every life of a file: it is raised when what a
// record is changes.
const fileFormat = 1

// chunkSize is how much is compared at a time.
const chunkSize = 1 << 20

// fileLife is what the first reading found.
type fileLife struct {
	life   rollcall.Life
	size   int64
	chunks [][16]byte
}

// readLife is the first reading: a hash over the format version, what decides
// where a record begins and ends, and the bytes.
func readLife(r io.Reader, format string, read func(n int) error) (*fileLife, error) {
	whole := sha256.New()
	fmt.Fprintf(whole, "rollcall file %d %s\n", fileFormat, format)
	f := &fileLife{}
	buf := make([]byte, chunkSize)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			whole.Write(buf[:n])
			f.chunks = append(f.chunks, chunkSum(buf[:n]))
			f.size += int64(n)
			if err := read(n); err != nil {
				return nil, err
			}
		}
		switch {
		case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF):
			copy(f.life[:], whole.Sum(nil))
			return f, nil
		case err != nil:
			return nil, err
		}
	}
}

func chunkSum(b []byte) (sum [16]byte) {
	full := sha256.Sum256(b)
	copy(sum[:], full[:])
	return sum
}

// id is the MessageID of a record without one of its own.
func (f *fileLife) id(number uint64) rollcall.MessageID {
	return rollcall.MessageID(fmt.Sprintf("%s-%d", f.life, number))
}

// stamp is the stamp of a record: one lane for the whole file, whatever the
// partition, so that neither --key nor the number of partitions changes it.
func (f *fileLife) stamp(destination string, number uint64, own bool) rollcall.Stamp {
	return rollcall.Stamp{Life: f.life, Lane: 0, Sequence: number, Origin: rollcall.OriginOf(destination), OwnID: own}
}

// errChanged: the second reading did not find what the first one did.
var errChanged = errors.New("the file changed while it was read")

// verifiedReader is the second reading.
type verifiedReader struct {
	from  io.Reader
	life  *fileLife
	chunk int
	buf   []byte
	ready []byte
}

func newVerifiedReader(r io.Reader, life *fileLife) *verifiedReader {
	return &verifiedReader{from: r, life: life, buf: make([]byte, chunkSize)}
}

func (v *verifiedReader) Read(p []byte) (int, error) {
	for len(v.ready) == 0 {
		if err := v.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, v.ready)
	v.ready = v.ready[n:]
	return n, nil
}

// fill reads and compares the next chunk; io.EOF only where the first reading
// had it, too.
func (v *verifiedReader) fill() error {
	n, err := io.ReadFull(v.from, v.buf)
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	switch {
	case n == 0 && v.chunk == len(v.life.chunks):
		return io.EOF
	case n == 0 || v.chunk == len(v.life.chunks) || chunkSum(v.buf[:n]) != v.life.chunks[v.chunk]:
		return fmt.Errorf("%w, between bytes %d and %d", errChanged, int64(v.chunk)*chunkSize, int64(v.chunk)*chunkSize+max(int64(n), 1))
	}
	v.chunk++
	v.ready = v.buf[:n]
	return nil
}
