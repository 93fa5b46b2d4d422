package rollcall

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
)

// StampHeader is the one header in which the Stamp travels.
const StampHeader = "rollcall-stamp"

// MaxStampSize is the most bytes that an encoded Stamp takes.
const MaxStampSize = 40

// Life is one run of a sender: 128 random bits minted at start, never stored
// and never reused, so that a copied disk cannot make two senders one.
type Life [16]byte

// NewLife mints a life.
func NewLife() Life {
	var l Life
	// crypto/rand.Read never fails since Go 1.24: it ends the program instead.
	_, _ = rand.Read(l[:])
	return l
}

// String is the life in hexadecimal.
func (l Life) String() string { return hex.EncodeToString(l[:]) }

// Stamp numbers a message: within one life, original destination and lane the
// sequence runs 1, 2, 3 … without holes. It is made once, before the first
// send, and travels unchanged through retries, bridges and redrives.
type Stamp struct {
	Life     Life
	Lane     uint32 // number of the lane within its life
	Sequence uint64 // from 1
	Origin   uint64 // OriginOf the destination that it was first sent to
	OwnID    bool   // the MessageID is the application's own
}

// IsZero reports whether the message is not stamped.
func (s Stamp) IsZero() bool { return s.Sequence == 0 }

// OriginOf is the hash by which a stamp remembers its original destination:
// the first 8 bytes of SHA-256 over the name, big endian.
func OriginOf(destination string) uint64 {
	sum := sha256.Sum256([]byte(destination))
	return binary.BigEndian.Uint64(sum[:8])
}

const (
	stampVersion = 1
	stampOwnID   = 0x80
)

// AppendStamp appends the encoded stamp: a byte of version (low seven bits)
// and the OwnID bit (high bit), life (16), origin (8), lane and sequence as
// varints (encoding/binary). At most MaxStampSize bytes.
func AppendStamp(dst []byte, s Stamp) []byte {
	head := byte(stampVersion)
	if s.OwnID {
		head |= stampOwnID
	}
	dst = append(dst, head)
	dst = append(dst, s.Life[:]...)
	dst = binary.BigEndian.AppendUint64(dst, s.Origin)
	dst = binary.AppendUvarint(dst, uint64(s.Lane))
	return binary.AppendUvarint(dst, s.Sequence)
}

var errStampShort = errors.New("it ends too early")

// ParseStamp reads what AppendStamp wrote. Anything else is an error: a
// message with a damaged stamp must not be taken for an unstamped one.
func ParseStamp(b []byte) (Stamp, error) {
	fail := func(err error) (Stamp, error) {
		return Stamp{}, fmt.Errorf("%w: header %s of %d bytes: %w", ErrBadStamp, StampHeader, len(b), err)
	}
	if len(b) < 25 {
		return fail(errStampShort)
	}
	if v := b[0] &^ stampOwnID; v != stampVersion {
		return fail(fmt.Errorf("version %d is not known here, upgrade rollcall", v))
	}
	var s Stamp
	s.OwnID = b[0]&stampOwnID != 0
	copy(s.Life[:], b[1:17])
	s.Origin = binary.BigEndian.Uint64(b[17:25])
	rest := b[25:]
	lane, n := binary.Uvarint(rest)
	if n <= 0 || lane > 1<<32-1 {
		return fail(errors.New("the lane is not a number of 32 bits"))
	}
	seq, k := binary.Uvarint(rest[n:])
	if k <= 0 || len(rest) != n+k {
		return fail(errors.New("the sequence is not a number of 64 bits, or bytes follow it"))
	}
	if seq == 0 {
		return fail(errors.New("sequence 0 does not exist"))
	}
	s.Lane, s.Sequence = uint32(lane), seq
	return s, nil
}
