package dialect

import (
	"context"
	"fmt"
	"strings"
)

// MySQL is the dialect of MySQL 8.0. number is the number of the client's
// errors, 0 of others: no client is imported here.
func MySQL(number func(error) uint16) Dialect {
	return mysqlLike("MySQL", number)
}

// MariaDB is the dialect of MariaDB 10.5 and later. number: see MySQL.
func MariaDB(number func(error) uint16) Dialect {
	return mysqlLike("MariaDB", number)
}

func mysqlLike(name string, number func(error) uint16) Dialect {
	return Dialect{Name: name, Family: FamilyMySQL, Quote: '`', BestValues: 5000, MaxValues: 65535,
		conflict: func(err error) bool { return number(err) == 1062 || number(err) == 1586 },
		twoRows:  func(err error) bool { return number(err) == 1242 },
		noIndex:  func(err error) bool { return number(err) == 1176 },
		catalogue: catalogue{
			ready:    mysqlReady,
			names:    "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'",
			columns:  mysqlColumns,
			uniques:  mysqlUniques,
			triggers: "SELECT COUNT(*) FROM information_schema.triggers WHERE event_object_schema = DATABASE() AND event_object_table = ?",
		}}
}

// Strict says what is wrong with a mode of MySQL: without the strict one it
// cuts texts and bends numbers instead of refusing them.
func Strict(mode string) error {
	if strings.Contains(mode, "STRICT_TRANS_TABLES") || strings.Contains(mode, "STRICT_ALL_TABLES") {
		return nil
	}
	return fmt.Errorf("sql_mode is not strict, so the server would cut and round what does not fit; " +
		"add STRICT_TRANS_TABLES to sql_mode, on the server or in the connection's settings")
}

func mysqlReady(ctx context.Context, c Conn) error {
	return scan(ctx, c, "SELECT @@sql_mode, @@character_set_client, DATABASE() IS NOT NULL", nil, func(r Cursor) error {
		var mode, charset string
		var chosen bool
		if err := r.Scan(&mode, &charset, &chosen); err != nil {
			return err
		}
		switch {
		case !chosen:
			return fmt.Errorf("the connection has no database; name one in the connection's settings")
		case charset != "utf8mb4":
			return fmt.Errorf("the connection's character set is %s, which cannot hold every text; set it to utf8mb4", charset)
		}
		return Strict(mode)
	})
}

func mysqlColumns(ctx context.Context, c Conn, t *Table) error {
	zone, err := mysqlZone(ctx, c)
	if err != nil {
		return err
	}
	err = scan(ctx, c, `SELECT column_name, data_type, column_type, is_nullable = 'NO', column_default IS NOT NULL, extra,
			COALESCE(character_maximum_length, 0), COALESCE(character_octet_length, 0), COALESCE(numeric_precision, 0),
			COALESCE(numeric_scale, -1), COALESCE(datetime_precision, 0), COALESCE(character_set_name, '')
		FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ? ORDER BY ordinal_position`, []any{t.Name}, func(r Cursor) error {
		var col Column
		var base, extra, charset string
		var length, octets int64 // of LONGTEXT, more than 31 bits
		err := r.Scan(&col.Name, &base, &col.Type, &col.NotNull, &col.HasDefault, &extra, &length, &octets, &col.Precision, &col.Scale, &col.Digits, &charset)
		extra = strings.ToUpper(extra)
		col.HasDefault = col.HasDefault || strings.Contains(extra, "AUTO_INCREMENT")
		col.Generated = strings.Contains(extra, "GENERATED") && !strings.Contains(extra, "DEFAULT_GENERATED")
		col.Length, col.Octets = int(length), int(octets)
		col.Fixed = base == "char" || base == "binary"
		col.mysqlType(base, zone)
		if col.Kind == String {
			col.Repertoire = map[string]rune{"utf8mb4": 0x10ffff, "utf8mb3": 0xffff, "utf8": 0xffff}[charset]
			if col.Repertoire == 0 {
				col.Repertoire = 0x7f // of the others only ASCII is the same everywhere
			}
		}
		t.Columns = append(t.Columns, col)
		return err
	})
	if err != nil {
		return err
	}
	return scan(ctx, c, "SELECT engine, @@max_allowed_packet FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?", []any{t.Name}, func(r Cursor) error {
		var engine string
		var packet int64
		err := r.Scan(&engine, &packet)
		t.MostBytes = int(packet / 2) // quoted it can be twice as long
		if err != nil || strings.EqualFold(engine, "InnoDB") {
			return err
		}
		return fmt.Errorf("its engine is %s, which has no transactions; use ALTER TABLE … ENGINE=InnoDB", engine)
	})
}

// mysqlZone is the time zone of the session, empty if it is UTC: TIMESTAMP
// columns are converted to it and back, and an hour a year is there twice.
func mysqlZone(ctx context.Context, c Conn) (zone string, err error) {
	err = scan(ctx, c, "SELECT IF(@@session.time_zone = 'SYSTEM', @@system_time_zone, @@session.time_zone)", nil, func(r Cursor) error {
		err := r.Scan(&zone)
		if zone == "UTC" || zone == "+00:00" {
			zone = ""
		}
		return err
	})
	return zone, err
}

var mysqlWhole = map[string]int{"tinyint": 1, "smallint": 2, "mediumint": 3, "int": 4, "bigint": 8}

func (c *Column) mysqlType(base, zone string) {
	unsigned := strings.Contains(c.Type, "unsigned")
	switch base {
	case "tinyint", "smallint", "mediumint", "int", "bigint":
		c.whole(mysqlWhole[base], unsigned)
	case "decimal":
		c.as(Decimal)
		if unsigned {
			c.Least, c.Most = 0, 1 // only the sign is looked at
		}
	case "double":
		c.as(Float)
		if c.Scale >= 0 {
			c.refuse("its type " + c.Type + " rounds silently; use DOUBLE without digits, or DECIMAL")
		}
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext":
		c.as(String)
		if strings.HasSuffix(base, "text") {
			c.Length = 0
		}
	case "enum":
		c.as(String)
		c.Values = enumValues(c.Type)
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
		c.as(Bytes)
	case "datetime":
		c.as(Timestamp)
	case "timestamp":
		c.as(Timestamp)
		c.Zoned = true
		if zone != "" {
			c.refuse("the session's time zone is " + zone + ", and a TIMESTAMP would be bent by it; set time_zone to '+00:00', or use DATETIME")
		}
	case "date":
		c.as(Date)
	case "json":
		c.as(JSON)
		c.Strict = true
	case "uuid":
		c.as(UUID)
	default:
		c.refuse("its type " + c.Type + " is none that is written; use an integer, DECIMAL, DOUBLE, VARCHAR, TEXT, VARBINARY, BLOB, DATETIME, DATE or JSON")
	}
}

// enumValues reads enum('a','it”s').
func enumValues(declared string) (out []string) {
	inside := strings.TrimSuffix(strings.TrimPrefix(declared[strings.Index(declared, "(")+1:], "'"), "')")
	for _, v := range strings.Split(inside, "','") {
		out = append(out, strings.ReplaceAll(v, "''", "'"))
	}
	return out
}

func mysqlUniques(ctx context.Context, c Conn, t *Table) error {
	var u *Unique
	return scan(ctx, c, `SELECT s.index_name, COALESCE(s.column_name, ''), COALESCE(s.sub_part, 0), COALESCE(c.collation_name, ''), COALESCE(c.data_type, '')
		FROM information_schema.statistics s LEFT JOIN information_schema.columns c
			ON c.table_schema = s.table_schema AND c.table_name = s.table_name AND c.column_name = s.column_name
		WHERE s.table_schema = DATABASE() AND s.table_name = ? AND s.non_unique = 0
		ORDER BY s.index_name <> 'PRIMARY', s.index_name, s.seq_in_index`, []any{t.Name}, func(r Cursor) error {
		var index, column, collation, base string
		var part int64
		if err := r.Scan(&index, &column, &part, &collation, &base); err != nil {
			return err
		}
		if u == nil || u.Name != index {
			t.Uniques = append(t.Uniques, Unique{Name: index, Plain: true})
			u = &t.Uniques[len(t.Uniques)-1]
		}
		u.Columns = append(u.Columns, column)
		switch {
		case column == "":
			u.cannot("is on an expression; create one on the columns themselves")
		case part > 0:
			u.cannot(fmt.Sprintf("looks at the first %d characters of %s only; create one on the whole column", part, column))
		case !binaryCollation(collation):
			u.cannot(fmt.Sprintf("compares %s by %s, which does not compare binary ('a', 'A' or 'a ' would be one key), so it would take different keys for one; "+
				"make the column VARBINARY, or COLLATE utf8mb4_0900_bin (MySQL) or utf8mb4_nopad_bin (MariaDB); utf8mb4_bin ignores spaces at the end", column, collation))
		case base == "char":
			u.cannot(column + " is CHAR, which forgets spaces at the end, so it would take different keys for one; use VARCHAR or VARBINARY for it")
		}
		return nil
	})
}

// binaryCollation: those that end in _bin ignore spaces at the end, but for two.
func binaryCollation(name string) bool {
	return name == "" || name == "binary" || name == "utf8mb4_0900_bin" || strings.HasSuffix(name, "_nopad_bin")
}

// HasUnique is the query that says in one row whether a table still has a
// unique index of so many columns, and what the session's mode is: MySQL's ON
// DUPLICATE KEY inserts happily without. Its values are the table and the
// columns.
func HasUnique(columns int) string {
	return "SELECT @@sql_mode, COUNT(*) FROM (SELECT index_name FROM information_schema.statistics" +
		" WHERE table_schema = DATABASE() AND table_name = ? AND non_unique = 0 GROUP BY index_name HAVING COUNT(*) = " + fmt.Sprint(columns) +
		" AND SUM(sub_part IS NULL AND column_name IN " + List(columns) + ") = COUNT(*)) u"
}
