package dialect

// Affinity is what a column makes of a value that is stored in it.
type Affinity uint8

// The affinities of SQLite (https://www.sqlite.org/datatype3.html).
const (
	Blob    Affinity = iota // keeps every value as it is bound
	Text                    // turns numbers into text
	Numeric                 // turns text that looks like a number into one
	Integer                 // as Numeric
	Real                    // turns every number into a float
)

// Kind is what values a column can hold.
type Kind uint8

// The kinds. Columns of SQLite are Loose: they hold anything, after their
// Affinity.
const (
	Loose Kind = iota
	Int
	Decimal // exact, with the digits after the point that it is declared with
	Float
	String
	Bytes
	Bool
	Timestamp
	Date
	JSON
	UUID
	Other // none that is written
)

// affinities are what comes nearest to a kind.
var affinities = map[Kind]Affinity{Int: Integer, Decimal: Numeric, Float: Real, String: Text}

// as sets kind and affinity.
func (c *Column) as(k Kind) { c.Kind, c.Affinity = k, affinities[k] }

// refuse says why the column cannot be written.
func (c *Column) refuse(why string) {
	c.as(Other)
	c.Refused = why
}

// whole are the bounds of whole numbers of so many bytes.
func (c *Column) whole(bytes int, unsigned bool) {
	c.as(Int)
	bits := 8 * bytes
	switch {
	case unsigned && bytes == 8:
		c.Least, c.Most = 0, 1<<63-1 // what is above has no room in the numbers that we compute with
	case unsigned:
		c.Least, c.Most = 0, 1<<bits-1
	default:
		c.Least, c.Most = -1<<(bits-1), 1<<(bits-1)-1
	}
}

// Taken is the text that makes a value for the column out of the text x, which
// the database has as text (PostgreSQL only: all values travel as texts there).
func (c Column) Taken(x string) string {
	switch c.Kind {
	case Int:
		return x + "::bigint"
	case Decimal:
		return x + "::numeric"
	case Float:
		if c.Single {
			return x + "::real"
		}
		return x + "::double precision"
	case Bytes:
		return "decode(" + x + ", 'hex')"
	case Timestamp:
		if c.Zoned {
			return "(" + x + " || '+00')::timestamptz"
		}
		return x + "::timestamp"
	case JSON:
		if c.Plain {
			return x + "::json"
		}
		return x + "::jsonb"
	case Bool, Date, UUID:
		return x + "::" + map[Kind]string{Bool: "boolean", Date: "date", UUID: "uuid"}[c.Kind]
	}
	if c.Values != nil {
		return x + "::" + c.Type
	}
	return x
}

// Given is the text that reads column x so that every client gives back the
// same.
func (d Dialect) Given(c Column, x string) string {
	switch {
	case d.Family == FamilySQLite:
		return "+" + x // keeps the driver from guessing at dates
	case d.Family == FamilyMySQL && c.Kind == Timestamp:
		return "DATE_FORMAT(" + x + ", '%Y-%m-%d %H:%i:%s.%f')"
	case d.Family == FamilyMySQL && c.Kind == Date:
		return "DATE_FORMAT(" + x + ", '%Y-%m-%d')"
	case d.Family == FamilyMySQL:
		return x
	case c.Kind == Bytes:
		return "encode(" + x + ", 'hex')"
	case c.Kind == Timestamp && c.Zoned:
		return "to_char(" + x + " AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
	case c.Kind == Timestamp:
		return "to_char(" + x + ", 'YYYY-MM-DD HH24:MI:SS.US')"
	}
	return x + "::text"
}
