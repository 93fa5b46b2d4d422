package dialect

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestEnumValues(t *testing.T) {
	for declared, want := range map[string][]string{
		"enum('a','B')": {"a", "B"}, "enum('it''s','')": {"it's", ""}, "enum('one')": {"one"}, "enum('(',')')": {"(", ")"},
	} {
		if got := enumValues(declared); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", declared, got, want)
		}
	}
}

func TestBinaryCollation(t *testing.T) {
	for name, want := range map[string]bool{"": true, "binary": true, "utf8mb4_0900_bin": true, "utf8mb4_nopad_bin": true,
		"utf8mb4_bin": false, "utf8mb3_bin": false, "utf8mb4_general_ci": false, "latin1_swedish_ci": false} {
		if got := binaryCollation(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

type stateError string

func (e stateError) Error() string    { return "ERROR" }
func (e stateError) SQLState() string { return string(e) }

type numberError uint16

func (e numberError) Error() string { return "Error" }

// Conflicts are told without importing a client.
func TestConflict(t *testing.T) {
	number := func(err error) uint16 {
		var n numberError
		errors.As(err, &n)
		return uint16(n)
	}
	for _, c := range []struct {
		d    Dialect
		err  error
		want bool
	}{
		{PostgreSQL(), stateError("23505"), true}, {PostgreSQL(), fmt.Errorf("wrapped: %w", stateError("23505")), true},
		{PostgreSQL(), stateError("23503"), false}, {PostgreSQL(), errors.New("23505"), false}, {PostgreSQL(), nil, false},
		{MySQL(number), numberError(1062), true}, {MariaDB(number), fmt.Errorf("wrapped: %w", numberError(1586)), true},
		{MySQL(number), numberError(1213), false}, {MySQL(number), nil, false}, {SQLite(), errors.New("UNIQUE"), false},
	} {
		if got := c.d.Conflict(c.err); got != c.want {
			t.Errorf("%s, %v: %v", c.d.Name, c.err, got)
		}
	}
}
