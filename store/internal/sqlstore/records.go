package sqlstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	rollcall "github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/store/internal/rows"
)

// Records are the keys, rolls and counters of one transaction.
type Records struct {
	*Core
	Q Querier
}

// Claim inserts the keys that nobody has and says who has the others. The
// insert waits for a concurrent claim of the same key. A key that is gone again
// when we look who has it (swept, or freed) is inserted anew.
func (r Records) Claim(ctx context.Context, group string, claims []rollcall.KeyClaim) ([]rollcall.KeyAnswer, error) {
	out := make([]rollcall.KeyAnswer, len(claims))
	left := make([]int, len(claims))
	for i := range claims {
		left[i] = i
	}
	for len(left) > 0 {
		var gone []int
		err := chunks(r.D, left, func(part []int) error {
			missing, err := r.claim(ctx, group, claims, part, out)
			gone = append(gone, missing...)
			return err
		})
		if err != nil {
			return nil, r.Database.Wrap("claim keys", err)
		}
		left = gone
	}
	return out, nil
}

// claim does it for part, which are indexes of claims, and returns those that it
// found neither free nor taken.
func (r Records) claim(ctx context.Context, group string, claims []rollcall.KeyClaim, part []int, out []rollcall.KeyAnswer) (gone []int, err error) {
	if r.D.Arrays {
		return r.claimAtOnce(ctx, group, claims, part, out)
	}
	keys, owners := make([][]byte, len(part)), make([][]byte, len(part))
	for i, at := range part {
		keys[i], owners[i] = claims[at].Key[:], claims[at].Owner[:]
	}
	mark := make([]byte, 8)
	_, _ = rand.Read(mark) // never fails
	all, err := r.insertKeys(ctx, group, keys, owners, mark)
	if err != nil {
		return nil, err
	}
	var has map[string]rollcall.KeyAnswer
	if !all {
		if has, err = r.owners(ctx, group, keys, mark); err != nil {
			return nil, err
		}
	}
	for i, at := range part {
		if all {
			out[at] = rollcall.KeyAnswer{Fresh: true}
			continue
		}
		answer, found := has[string(keys[i])]
		if !found {
			gone = append(gone, at)
		}
		out[at] = answer
	}
	return gone, nil
}

// claimAtOnce is claim in one statement, whose answer is only the keys that were
// not inserted. It looks for their owners with the snapshot of its beginning: one
// that was committed while the insert waited for it is not found, and asked for
// again. The owner is looked up in the index for each key: the planner, which may
// have seen the table empty, is not to read it whole.
func (r Records) claimAtOnce(ctx context.Context, group string, claims []rollcall.KeyClaim, part []int, out []rollcall.KeyAnswer) (gone []int, err error) {
	keys, owners := make([][]byte, len(part)), make([][]byte, len(part))
	which := make(map[string]int, len(part))
	for i, at := range part {
		keys[i], owners[i] = claims[at].Key[:], claims[at].Owner[:]
		which[string(keys[i])] = at
		out[at] = rollcall.KeyAnswer{Fresh: true}
	}
	err = r.Q.Query(ctx, `WITH w AS (SELECT * FROM unnest(?::bytea[], ?::bytea[]) AS t(dedup_key, owner)),
		fresh AS (INSERT INTO rollcall.inbox (grp, at, dedup_key, owner) SELECT ?::text, (SELECT {nanos}), dedup_key, owner FROM w
			ON CONFLICT (grp, dedup_key) DO NOTHING RETURNING dedup_key)
		SELECT w.dedup_key, k.owner, COALESCE(k.held, false) FROM w LEFT JOIN LATERAL (SELECT i.owner, EXISTS (SELECT 1 FROM rollcall.asides a
				WHERE a.grp = i.grp AND a.dedup_key = i.dedup_key AND a.owns_key = true AND a.state IN ('dead', 'parked')) AS held
			FROM rollcall.inbox i WHERE i.grp = ? AND i.dedup_key = w.dedup_key LIMIT 1) k ON true
		WHERE w.dedup_key NOT IN (SELECT dedup_key FROM fresh)`, args(keys, owners, group, group), func(row Row) error {
		var key, owner []byte
		var answer rollcall.KeyAnswer
		err := row.Scan(&key, &owner, &answer.Held)
		if err == nil && owner == nil {
			gone = append(gone, which[string(key)])
		} else if err == nil {
			answer.Owner, err = ownerOf(key, owner)
		}
		out[which[string(key)]] = answer
		return err
	})
	return gone, err
}

func ownerOf(key, owner []byte) (rollcall.Identity, error) {
	if len(owner) != len(rollcall.Identity{}) {
		return rollcall.Identity{}, fmt.Errorf("%w: the inbox row of key %x has an owner of %d bytes", rollcall.ErrDamaged, key, len(owner))
	}
	return rollcall.Identity(owner), nil
}

// insertKeys reports whether it inserted all keys. Each call has a mark of its
// own, by which owners knows its rows; the count says only that it need not look,
// when all were inserted.
func (r Records) insertKeys(ctx context.Context, group string, keys, owners [][]byte, mark []byte) (all bool, err error) {
	fields := []field{value("grp", "text", group), expr("at", "(SELECT {nanos})"), list("dedup_key", "bytea", keys), list("owner", "bytea", owners)}
	query, list := r.D.insert("inbox", len(keys), r.D.nothing("grp, dedup_key"), append(fields, value("mark", "bytea", mark))...)
	n, err := r.Q.Exec(ctx, query, list...)
	return n == int64(len(keys)), err
}

// owners reads which keys the call with this mark inserted, who has the others,
// and whether an aside row that is dead or parked holds them.
func (r Records) owners(ctx context.Context, group string, keys [][]byte, mark []byte) (map[string]rollcall.KeyAnswer, error) {
	out := make(map[string]rollcall.KeyAnswer, len(keys))
	which, list := in(r.D, "k.dedup_key", keys)
	err := r.Q.Query(ctx, `SELECT k.dedup_key, k.owner, k.mark = ?, CASE WHEN k.mark = ? THEN false ELSE EXISTS (SELECT 1 FROM rollcall.asides a
			WHERE a.grp = k.grp AND a.dedup_key = k.dedup_key AND a.owns_key = true AND a.state IN ('dead', 'parked')) END
		FROM rollcall.inbox k WHERE k.grp = ? AND `+which, append(args(mark, mark, group), list...), func(row Row) error {
		var key, owner []byte
		var answer rollcall.KeyAnswer
		if err := row.Scan(&key, &owner, &answer.Fresh, &answer.Held); err != nil {
			return err
		}
		id, err := ownerOf(key, owner)
		if !answer.Fresh {
			answer.Owner = id
		}
		out[string(key)] = answer
		return err
	})
	return out, err
}

// Free deletes keys.
func (r Records) Free(ctx context.Context, group string, keys []rollcall.DedupKey) error {
	err := chunks(r.D, keys, func(part []rollcall.DedupKey) error {
		raw := make([][]byte, len(part))
		for i := range part {
			raw[i] = part[i][:]
		}
		which, list := in(r.D, "dedup_key", raw)
		return r.Q.Later(ctx, "DELETE FROM rollcall.inbox WHERE grp = ? AND "+which, append(args(group), list...)...)
	})
	return r.Database.Wrap("free keys", err)
}

// locking is how a read of rolls ends that locks them, in the order of all.
const locking = " ORDER BY scope FOR UPDATE"

// Lock locks the rolls in the order given and reads them. Rows that are missing
// are created, and then all are locked again: the sweeper may have been faster.
func (r Records) Lock(ctx context.Context, group string, scopes []rollcall.Scope) ([]rollcall.RollRow, error) {
	if len(scopes) == 0 {
		return nil, nil
	}
	for {
		out, missing, err := readRolls(ctx, r.Q, r.D, group, scopes, locking)
		if err != nil {
			return nil, r.Database.Wrap("lock rolls", err)
		}
		if len(missing) == 0 {
			return out, nil
		}
		if err := r.create(ctx, group, missing); err != nil {
			return nil, r.Database.Wrap("create rolls", err)
		}
	}
}

// assumeRolls is Lock where the answer is believed to be known.
func (r Records) assumeRolls(ctx context.Context, group string, rolls []rollcall.RollRow) error {
	believed, raw := make(map[string][]byte, len(rolls)), make([][]byte, len(rolls))
	for i, row := range rolls {
		raw[i] = row.Scope.Bytes()
		believed[string(raw[i])] = row.Data
	}
	return chunks(r.D, raw, func(part [][]byte) error {
		which, list := in(r.D, "scope", part)
		return expect(ctx, r.Q, "SELECT scope, data FROM rollcall.rolls WHERE grp = ? AND "+which+locking, append(args(group), list...),
			func() (func(Row) error, func() error) {
				same := 0
				return func(row Row) error {
					var scope, data []byte
					err := row.Scan(&scope, &data)
					if bytes.Equal(data, believed[string(scope)]) {
						same++
					}
					return err
				}, func() error { return outdated(same < len(part), "a roll has changed") }
			})
	})
}

func outdated(is bool, what string) error {
	if !is {
		return nil
	}
	return fmt.Errorf("%w: %s", rollcall.ErrOutdated, what)
}

func (r Records) create(ctx context.Context, group string, scopes [][]byte) error {
	sums := make([]int64, len(scopes))
	for i, s := range scopes {
		sums[i] = rows.RollSum(group, s, nil)
	}
	query, list := r.D.insert("rolls", len(scopes), r.D.nothing("grp, scope"), value("grp", "text", group), expr("at", "(SELECT {nanos})"),
		list("scope", "bytea", scopes), list("crc", "bigint", sums))
	_, err := r.Q.Exec(ctx, query, list...)
	return err
}

// Write replaces the data of rolls and their age.
func (r Records) Write(ctx context.Context, group string, rolls []rollcall.RollRow) error {
	if len(rolls) == 0 {
		return nil
	}
	scopes, data, sums := make([][]byte, len(rolls)), make([][]byte, len(rolls)), make([]int64, len(rolls))
	for i, row := range rolls {
		scopes[i], data[i] = row.Scope.Bytes(), row.Data
		sums[i] = rows.RollSum(group, scopes[i], data[i])
	}
	query, list := r.D.insert("rolls", len(rolls), r.D.upsert("grp, scope", "data = new(data)", "at = new(at)", "crc = new(crc)"),
		value("grp", "text", group), expr("at", "(SELECT {nanos})"), list("scope", "bytea", scopes), list("data", "bytea", data), list("crc", "bigint", sums))
	return r.Database.Wrap("write rolls", r.Q.Later(ctx, query, list...))
}

// Rolls reads rolls without locks, in the order asked.
func (c *Core) Rolls(ctx context.Context, group string, scopes []rollcall.Scope) ([]rollcall.RollRow, error) {
	q, err := c.Database.Read()
	if err != nil {
		return nil, err
	}
	out, _, err := readRolls(ctx, q, c.D, group, scopes, "")
	return out, c.Database.Wrap("read rolls", err)
}

// readRolls reads rolls in the order asked, checks their sums (a damaged roll
// would let messages pass as done that were not), and says which have no row.
func readRolls(ctx context.Context, q Querier, d *Dialect, group string, scopes []rollcall.Scope, tail string) (out []rollcall.RollRow, missing [][]byte, err error) {
	out = make([]rollcall.RollRow, len(scopes))
	at := make(map[string][]int, len(scopes))
	raw := make([][]byte, len(scopes))
	for i, s := range scopes {
		out[i].Scope, raw[i] = s, s.Bytes()
		at[string(raw[i])] = append(at[string(raw[i])], i)
	}
	seen := make(map[string]bool, len(scopes))
	err = chunks(d, raw, func(part [][]byte) error {
		which, list := in(d, "scope", part)
		query := "SELECT scope, data, crc FROM rollcall.rolls WHERE grp = ? AND " + which + tail
		return q.Query(ctx, query, append(args(group), list...), func(row Row) error {
			var scope, data []byte
			var sum int64
			if err := row.Scan(&scope, &data, &sum); err != nil {
				return err
			}
			if sum != rows.RollSum(group, scope, data) {
				return fmt.Errorf("%w: roll %x of group %q does not match its sum: restore the store from a backup; nothing was skipped",
					rollcall.ErrDamaged, scope, group)
			}
			seen[string(scope)] = true
			for _, i := range at[string(scope)] {
				out[i].Data = bytes.Clone(data)
			}
			return nil
		})
	})
	for _, s := range raw {
		if !seen[string(s)] {
			missing = append(missing, s)
			seen[string(s)] = true
		}
	}
	return out, missing, err
}

// Count adds to the counters of a destination.
func (r Records) Count(ctx context.Context, group, destination string, slot int32, add rollcall.Counts) error {
	names := []string{"applied", "repeated", "stale", "filtered", "discarded", "copies", "void", "lost"}
	numbers := []int64{add.Applied, add.Repeated, add.Stale, add.Filtered, add.Discarded, add.Copies, add.Void, add.Lost}
	sets := make([]string, len(names))
	fields := []field{value("grp", "text", group), value("destination", "text", destination), list("slot", "int", []int32{slot})}
	for i, n := range names {
		sets[i] = fmt.Sprintf("%s = counts.%s + new(%s)", n, n, n)
		fields = append(fields, value(n, "bigint", numbers[i]))
	}
	query, list := r.D.insert("counts", 1, r.D.upsert("grp, destination, slot", sets...), fields...)
	return r.Database.Wrap("count", r.Q.Later(ctx, strings.TrimSpace(query), list...))
}
