package rollcall

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// recordKind is what a row says of its key.
type recordKind byte

// The kinds of a recordRow; their numbers lie in stores.
const (
	recordResult   recordKind = 1 // it happened: data is the result
	recordBare     recordKind = 2 // it happened: data says why there is no result
	recordParked   recordKind = 3 // it may have happened: data says what is known
	recordRedriven recordKind = 4 // of a decision: it did not happen
)

// recordRow is what Record completes a claim with: a version, the kind, the
// fingerprint of what was asked for, data.
type recordRow struct {
	kind    recordKind
	content Fingerprint
	data    []byte
}

const (
	recordVersion = 1
	recordHead    = 2 + len(Fingerprint{})
)

func (w recordRow) bytes() []byte {
	return append(append([]byte{recordVersion, byte(w.kind)}, w.content[:]...), w.data...)
}

// happened is the row of a result. One that cannot be kept has happened all the
// same, so it is not an error yet.
func (r *record) happened(result any) recordRow {
	data, err := encodeResult(result)
	if err == nil && len(data) > MaxResult-recordHead {
		err = fmt.Errorf("it has %d bytes, at most %d are kept: return what names it instead", len(data), MaxResult-recordHead)
	}
	if err != nil {
		return recordRow{recordBare, r.content, []byte(err.Error())}
	}
	return recordRow{recordResult, r.content, data}
}

// recorded reads a row, and compares what was asked for.
func (r *record) recorded(data []byte) (recordRow, error) {
	if len(data) < recordHead {
		return recordRow{}, fmt.Errorf("%w: record %s: a row of %d bytes: fn was not run", ErrDamaged, r.key, len(data))
	}
	w := recordRow{kind: recordKind(data[1]), content: Fingerprint(data[2:recordHead]), data: data[recordHead:]}
	switch {
	case data[0] != recordVersion || w.kind < recordResult || w.kind > recordRedriven:
		return recordRow{}, fmt.Errorf("%w: record %s: row version %d, kind %d: fn was not run", ErrNewerSchema, r.key, data[0], w.kind)
	case w.content != r.content && w.content != Fingerprint{} && r.content != Fingerprint{}:
		return recordRow{}, fmt.Errorf("%w: record %s; fn was not run: new business needs a new key", ErrKeyReused, r.key)
	}
	return w, nil
}

// A role is what a key of the claims is for. Whoever changes how keys are made
// makes all that lie in stores new.
const (
	roleRecord   = "record"   // the lease, then what came of it
	roleAttempt  = "attempt"  // fn has begun
	roleDecision = "decision" // what is known later of a parked one
	roleReceiver = "receiver" // what the receiver is given
	roleLock     = "lock"
)

func (r *record) at(role string, generation int) DedupKey {
	return roleKey(role, generation, r.base)
}

func roleKey(role string, generation int, base DedupKey) (key DedupKey) {
	h := sha256.New()
	h.Write([]byte{keyFormat})
	writeField(h, role)
	h.Write(base[:])
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(generation)))
	copy(key[:], h.Sum(nil))
	return key
}
