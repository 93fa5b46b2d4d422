package filelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/rollcall-mq/rollcall"
)

// A chunk is one row of the log: the records of one partition that one
// transaction wrote, up to a size. One row a message would cost ten times the
// time here; records keep their own checksums, so the damaged one is named.

const (
	chunkBytes   = 64 << 10
	chunkRecords = 1024
	offsetBits   = 40
	mostOffset   = 1<<offsetBits - 1
	mostID       = 1<<(63-offsetBits) - 1
)

// chunkID is the row's number: partitions one after the other, each in the
// order of its offsets, so that the table itself is the only index.
func chunkID(part, last int64) int64 { return part<<offsetBits | last }

// chunk is a row. last is part of its number.
type chunk struct {
	place
	first, last int64
	sum         uint32 // of all but data, whose records have their own
	data        []byte
}

// headSum covers what retention goes by without reading the records; size is
// the length of data.
func (c *chunk) headSum(size int) uint32 {
	var head [24]byte
	binary.BigEndian.PutUint64(head[:], uint64(c.first))
	binary.BigEndian.PutUint64(head[8:], uint64(c.last))
	binary.BigEndian.PutUint64(head[16:], uint64(size))
	return c.place.sum(c.first, head[:])
}

// add appends a record; the chunk then ends at its offset.
func (c *chunk) add(payload []byte) {
	c.last++
	c.data = binary.BigEndian.AppendUint32(c.data, c.place.sum(c.last, payload))
	c.data = binary.AppendUvarint(c.data, uint64(len(payload)))
	c.data = append(c.data, payload...)
}

// full reports whether another record of n bytes belongs into the next chunk.
func (c *chunk) full(n int) bool {
	return c.last >= c.first && (c.last-c.first+1 >= chunkRecords || len(c.data)+n > chunkBytes)
}

var (
	errChunkHead  = errors.New("the checksum of its row does not match")
	errChunkSum   = errors.New("its checksum does not match")
	errChunkShort = errors.New("its bytes end too early")
	errChunkLong  = errors.New("bytes follow the last record of its row")
)

// recordError is what is wrong with the record at an offset.
type recordError struct {
	offset int64
	cause  error
}

func (e *recordError) Error() string { return fmt.Sprintf("offset %d: %v", e.offset, e.cause) }

// each calls yield with every record from an offset on, after all records up
// to it were verified. yield returns false to stop.
func (c *chunk) each(from int64, yield func(offset int64, payload []byte) bool) error {
	if c.sum != c.headSum(len(c.data)) {
		return &recordError{c.first, errChunkHead}
	}
	r := reader{b: c.data}
	for offset := c.first; offset <= c.last; offset++ {
		sum := r.take(4)
		payload := r.bytes()
		if r.bad {
			return &recordError{offset, errChunkShort}
		}
		if binary.BigEndian.Uint32(sum) != c.place.sum(offset, payload) {
			return &recordError{offset, errChunkSum}
		}
		if offset >= from && !yield(offset, payload) {
			return nil
		}
	}
	if len(r.b) > 0 {
		return &recordError{c.last, errChunkLong}
	}
	return nil
}

// partSum is the checksum of a row of the table of partitions.
func partSum(p *part) uint32 {
	b := make([]byte, 0, 64+len(p.destination))
	b = binary.BigEndian.AppendUint64(b, uint64(p.id))
	b = binary.BigEndian.AppendUint32(b, uint32(p.number))
	b = binary.BigEndian.AppendUint32(b, uint32(p.total))
	b = append(b, p.incarnation[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(p.first))
	b = binary.BigEndian.AppendUint64(b, uint64(p.end))
	b = append(b, p.destination...)
	return crc32.Checksum(b, newCastagnoli())
}

// part is one row of the table of partitions.
type part struct {
	id            int64
	destination   string
	number, total int32
	incarnation   rollcall.Incarnation
	first, end    int64 // offsets first up to, not including, end
}

func (p *part) partition() rollcall.Partition {
	return rollcall.Partition{Destination: p.destination, Number: p.number}
}

func (p *part) place(stored int64) place { return place{p.incarnation, p.number, stored} }
