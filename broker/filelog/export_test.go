package filelog

import (
	"database/sql"
	"errors"
	"testing"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/internal/slab"
)

// WriteVersion makes the closed log at path one of another schema.
func WriteVersion(t testing.TB, path string, version uint32) {
	t.Helper()
	withDB(t, path, func(db *sql.DB) error {
		_, err := db.Exec(`UPDATE meta SET data = ?`, encodeMeta(version, [16]byte{}))
		return err
	})
}

// SetEnd writes a partition's row with another end, and a checksum that fits.
func SetEnd(t testing.TB, path string, id, end int64) {
	t.Helper()
	withDB(t, path, func(db *sql.DB) error {
		var p part
		var incarnation []byte
		p.id, p.end = id, end
		err := db.QueryRow(`SELECT destination, number, total, incarnation, first FROM partitions WHERE id = ?`, id).
			Scan(&p.destination, &p.number, &p.total, &incarnation, &p.first)
		if err != nil {
			return err
		}
		copy(p.incarnation[:], incarnation)
		_, err = db.Exec(`UPDATE partitions SET end = ?, crc = ? WHERE id = ?`, end, int64(partSum(&p)), id)
		return err
	})
}

// Count reads all messages of a destination, and keeps none.
func (l *Log) Count(t testing.TB, destination string) (n int) {
	t.Helper()
	c, err := l.connect()
	if err != nil {
		t.Fatal(err)
	}
	var texts slab.Strings
	err = l.readView(c, "", func(v *view) error {
		for _, p := range v.parts[destination] {
			err := l.readChunks(c, p, p.first, func(ch *chunk) (bool, error) {
				var bad error
				err := ch.each(ch.first, func(_ int64, payload []byte) bool {
					n++
					bad = decodePayload(payload, new(rollcall.Message), &texts)
					return bad == nil
				})
				return true, errors.Join(err, bad)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err = errors.Join(err, c.close()); err != nil {
		t.Fatal(err)
	}
	return n
}

func withDB(t testing.TB, path string, do func(*sql.DB) error) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := do(db); err != nil {
		t.Fatal(err)
	}
}
