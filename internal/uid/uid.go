// Package uid mints identifiers that sort by time.
package uid

import "github.com/google/uuid"

// New is a UUID version 7 (RFC 9562): ordered by time, so that indexes of it
// stay small, with 62 random bits. It never goes back within a process.
func New() string {
	id, err := uuid.NewV7()
	if err != nil { // the system has no randomness: a number alone would repeat
		panic("uid: no random numbers: " + err.Error())
	}
	return id.String()
}

// Is reports whether it is the usual text of a UUID, of any version.
func Is(text string) bool { return len(text) == 36 && uuid.Validate(text) == nil }
