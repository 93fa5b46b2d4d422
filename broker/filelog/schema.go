package filelog

import (
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/rollcall-mq/rollcall"
)

// schemaVersion is raised with every change of the tables. The row of meta
// keeps its form for ever: magic, version, the log's id, checksum.
const (
	schemaVersion = 1
	metaMagic     = "rollcall-filelog"
	metaSize      = 16 + 4 + 16 + 4
)

// No table has an index beside itself: an index that lost an entry hides a row
// without an error. Partitions are few and read as a whole.
var schema = []string{
	`CREATE TABLE meta (id INTEGER PRIMARY KEY, data BLOB NOT NULL)`,
	`CREATE TABLE partitions (id INTEGER PRIMARY KEY, destination BLOB NOT NULL, number INTEGER NOT NULL,
		total INTEGER NOT NULL, incarnation BLOB NOT NULL, first INTEGER NOT NULL, end INTEGER NOT NULL, crc INTEGER NOT NULL)`,
	`CREATE TABLE chunks (id INTEGER PRIMARY KEY, first INTEGER NOT NULL, stored INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL)`,
	`CREATE TABLE members (grp BLOB, uid BLOB, worker BLOB NOT NULL, destinations BLOB NOT NULL, PRIMARY KEY (grp, uid)) WITHOUT ROWID`,
	`CREATE TABLE leases (grp BLOB, part INTEGER, member BLOB NOT NULL, generation INTEGER NOT NULL, PRIMARY KEY (grp, part)) WITHOUT ROWID`,
	`CREATE TABLE settled (grp BLOB, part INTEGER, next INTEGER NOT NULL, PRIMARY KEY (grp, part)) WITHOUT ROWID`,
}

// prepareSchema makes the tables of a new log, or checks the version of one
// that is there. It runs inside a write transaction.
func (l *Log) prepareSchema(c *conn) error {
	tables := 0
	err := c.rows(`SELECT count(*) FROM sqlite_master`, nil, func(r *sql.Rows) (bool, error) { return false, scan(r, &tables) })
	if err != nil {
		return err
	}
	if tables > 0 {
		return l.readMeta(c)
	}
	blank, err := l.marks.blank()
	if err != nil {
		return err
	}
	if blank {
		return l.createSchema(c)
	}
	return l.damaged("", "the log is empty, but "+l.marks.path+" is not: the log was truncated or removed", nextMarks)
}

func (l *Log) createSchema(c *conn) error {
	for _, statement := range schema {
		if _, err := c.exec(statement); err != nil {
			return err
		}
	}
	if _, err := rand.Read(l.id[:]); err != nil {
		return err
	}
	if _, err := c.exec(`INSERT INTO meta (id, data) VALUES (1, ?)`, encodeMeta(schemaVersion, l.id)); err != nil {
		return err
	}
	return l.marks.format(l.id)
}

func encodeMeta(version uint32, id [16]byte) []byte {
	b := append(make([]byte, 0, metaSize), metaMagic...)
	b = binary.BigEndian.AppendUint32(b, version)
	b = append(b, id[:]...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, newCastagnoli()))
}

func (l *Log) readMeta(c *conn) error {
	var b []byte
	err := c.rows(`SELECT data FROM meta WHERE id = 1`, nil, func(r *sql.Rows) (bool, error) { return false, scan(r, &b) })
	if err != nil {
		return err
	}
	if len(b) != metaSize || string(b[:16]) != metaMagic ||
		binary.BigEndian.Uint32(b[36:]) != crc32.Checksum(b[:36], newCastagnoli()) {
		return l.damaged("table meta", "it does not describe a rollcall log", nextRestore)
	}
	if v := binary.BigEndian.Uint32(b[16:]); v != schemaVersion {
		return fmt.Errorf("%w: %s: schema %d, this version reads %d: upgrade rollcall", rollcall.ErrNewerSchema, l.path, v, schemaVersion)
	}
	copy(l.id[:], b[20:])
	return nil
}
