package id

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// ID is a UUID of version 7 (RFC 9562): 48 bits of Unix milliseconds, 12 bits
// that divide the millisecond into 4096 ticks of 244 ns, and 62 random bits.
// Bytes and text sort by time.
type ID [16]byte

// String is the usual text, 36 characters in lower case.
func (id ID) String() string {
	var b [36]byte
	hex.Encode(b[:8], id[:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:], id[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// Time is when the id was made, by the clock of its maker and to the tick; it
// lies ahead of that clock while the maker goes on from a mark.
func (id ID) Time() time.Time {
	t := id.tick()
	return time.UnixMilli(t >> tickBits).Add(time.Duration(t&(1<<tickBits-1)) * time.Millisecond >> tickBits)
}

// Parse reads the text of String. Other forms and versions are errors.
func Parse(text string) (ID, error) {
	u, err := uuid.Parse(text)
	if err != nil || len(text) != 36 || u.Version() != 7 || u.Variant() != uuid.RFC4122 {
		return ID{}, fmt.Errorf("id: %q is no UUID of version 7 in its usual form", text)
	}
	return ID(u), nil
}

// tickBits is how many bits of a tick are below the millisecond.
const tickBits = 12

func tickOf(t time.Time) int64 {
	return t.UnixMilli()<<tickBits | int64(t.Nanosecond()%1e6)<<tickBits/1e6
}

// ticks is a duration, to the microsecond.
func ticks(d time.Duration) int64 { return d.Microseconds() << tickBits / 1000 }

// duration of a difference of ticks, to the microsecond.
func duration(ticks int64) time.Duration {
	return time.Duration(ticks>>tickBits)*time.Millisecond + time.Duration(ticks&(1<<tickBits-1)*1000>>tickBits)*time.Microsecond
}

func (id ID) tick() int64 {
	ms := int64(id[0])<<40 | int64(id[1])<<32 | int64(id[2])<<24 | int64(id[3])<<16 | int64(id[4])<<8 | int64(id[5])
	return ms<<tickBits | int64(id[6]&0x0f)<<8 | int64(id[7])
}

// setTick writes all but the random bits, and the version and variant over
// them.
func (id *ID) setTick(tick int64) {
	ms := tick >> tickBits
	id[0], id[1], id[2], id[3], id[4], id[5] = byte(ms>>40), byte(ms>>32), byte(ms>>24), byte(ms>>16), byte(ms>>8), byte(ms)
	id[6], id[7] = 0x70|byte(tick>>8)&0x0f, byte(tick)
	id[8] = 0x80 | id[8]&0x3f
}
