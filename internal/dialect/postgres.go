package dialect

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// PostgreSQL is the dialect of PostgreSQL. A statement takes a few arrays, so
// it may be as long as a batch.
func PostgreSQL() Dialect {
	return Dialect{Name: "PostgreSQL", Family: FamilyPostgreSQL, Quote: '"', BestValues: 16000, MaxValues: 65535,
		conflict: func(err error) bool { return sqlState(err) == "23505" },
		noIndex:  func(err error) bool { return sqlState(err) == "42P10" || sqlState(err) == "55000" },
		catalogue: catalogue{
			ready:    postgresReady,
			names:    "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p') AND pg_table_is_visible(oid) AND relnamespace <> 'pg_catalog'::regnamespace",
			columns:  postgresColumns,
			uniques:  postgresUniques,
			triggers: "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = " + postgresTable,
		}}
}

// postgresTable is the table of that name in the search path.
const postgresTable = "(SELECT oid FROM pg_class WHERE relname = $1::text AND relkind IN ('r', 'p') AND pg_table_is_visible(oid))"

// sqlState is the five letters of an error of PostgreSQL.
func sqlState(err error) string {
	var coded interface{ SQLState() string }
	if errors.As(err, &coded) {
		return coded.SQLState()
	}
	return ""
}

func postgresReady(ctx context.Context, c Conn) error {
	return scan(ctx, c, "SELECT current_setting('server_encoding')", nil, func(r Cursor) error {
		var encoding string
		if err := r.Scan(&encoding); err != nil || encoding == "UTF8" {
			return err
		}
		return fmt.Errorf("the database's encoding is %s, which cannot hold every text; use a database with ENCODING 'UTF8'", encoding)
	})
}

func postgresColumns(ctx context.Context, c Conn, t *Table) error {
	// A domain is taken for what it is made of; its own checks are the database's.
	return scan(ctx, c, `SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), b.typname::text, b.typtype::text,
			CASE WHEN y.typtype = 'd' THEN y.typtypmod ELSE a.atttypmod END, a.attnotnull OR y.typnotnull,
			a.atthasdef OR a.attidentity <> '' OR y.typdefault IS NOT NULL, a.attgenerated <> '' OR a.attidentity = 'a',
			COALESCE((SELECT string_agg(e.enumlabel, E'\n' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = b.oid), '')
		FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid JOIN pg_type b ON b.oid = CASE WHEN y.typtype = 'd' THEN y.typbasetype ELSE y.oid END
		WHERE a.attrelid = `+postgresTable+` AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`, []any{t.Name}, func(r Cursor) error {
		var col Column
		var base, kind, labels string
		var modifier int
		err := r.Scan(&col.Name, &col.Type, &base, &kind, &modifier, &col.NotNull, &col.HasDefault, &col.Generated, &labels)
		if kind == "e" {
			col.as(String)
			col.NoZero = true
			col.Values = strings.Split(labels, "\n")
		} else {
			col.postgresType(base, modifier)
		}
		t.Columns = append(t.Columns, col)
		return err
	})
}

// postgresType says what the type holds; modifier is what stands in brackets
// behind it, as the catalogue keeps it.
func (c *Column) postgresType(base string, modifier int) {
	switch base {
	case "int2", "int4", "int8":
		c.whole(int(base[3]-'0'), false)
	case "numeric":
		c.as(Decimal)
		c.Scale = -1
		if modifier >= 4 {
			c.Precision, c.Scale = (modifier-4)>>16, (modifier-4)&0x7ff
			if c.Scale >= 1024 { // eleven bits with a sign
				c.refuse("its scale is negative, so it would round whole numbers; use numeric without one")
			}
		}
	case "float4", "float8":
		c.as(Float)
		c.Single = base == "float4"
	case "text", "varchar", "bpchar":
		c.as(String)
		c.Length, c.Fixed, c.NoZero = max(0, modifier-4), base == "bpchar", true
	case "bytea":
		c.as(Bytes)
	case "bool":
		c.as(Bool)
	case "timestamptz", "timestamp":
		c.as(Timestamp)
		c.Zoned, c.Digits = base == "timestamptz", 6
		if modifier >= 0 {
			c.Digits = modifier
		}
	case "date":
		c.as(Date)
	case "json", "jsonb":
		c.as(JSON)
		c.Plain, c.NoZero = base == "json", base == "jsonb"
	case "uuid":
		c.as(UUID)
	default:
		c.refuse("its type " + c.Type + " is none that is written; use an integer, numeric, double precision, text, varchar, bytea, boolean, timestamptz, date, jsonb or uuid")
	}
}

func postgresUniques(ctx context.Context, c Conn, t *Table) error {
	var u *Unique
	return scan(ctx, c, `SELECT i.relname::text, COALESCE(a.attname::text, ''), x.indpred IS NULL, x.indimmediate AND x.indisvalid,
			COALESCE(l.collisdeterministic, true), COALESCE(l.collname::text, ''), COALESCE(y.typname IN ('citext', 'bpchar'), false)
		FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid CROSS JOIN generate_series(0, x.indnkeyatts - 1) n
		LEFT JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[n] AND a.attnum <> 0
		LEFT JOIN pg_collation l ON l.oid = x.indcollation[n]
		LEFT JOIN pg_type y ON y.oid = a.atttypid
		WHERE x.indisunique AND x.indrelid = `+postgresTable+` ORDER BY NOT x.indisprimary, i.relname, n`, []any{t.Name}, func(r Cursor) error {
		var index, column, collation string
		var whole, usable, binary, loose bool
		if err := r.Scan(&index, &column, &whole, &usable, &binary, &collation, &loose); err != nil {
			return err
		}
		if u == nil || u.Name != index {
			t.Uniques = append(t.Uniques, Unique{Name: index, Plain: true})
			u = &t.Uniques[len(t.Uniques)-1]
		}
		u.Columns = append(u.Columns, column)
		switch {
		case !whole:
			u.cannot("is partial: rows outside of it can have the same key; create one on all rows")
		case column == "":
			u.cannot("is on an expression; create one on the columns themselves")
		case !usable:
			u.cannot("is deferrable or not valid; create one that is neither (NOT DEFERRABLE)")
		case !binary:
			u.cannot(fmt.Sprintf("compares %s by the collation %s, which does not compare binary, so it would take different keys for one; "+
				"use a deterministic collation (COLLATE \"C\")", column, collation))
		case loose:
			u.cannot(column + " does not compare binary (citext and char(n) take different keys for one); use text or varchar for it")
		}
		return nil
	})
}

// cannot notes why the index cannot decide.
func (u *Unique) cannot(why string) {
	u.Plain = false
	if u.Problem == "" {
		u.Problem = why
	}
}
