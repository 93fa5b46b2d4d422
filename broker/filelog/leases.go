package filelog

import (
	"database/sql"
	"math/rand/v2"
	"slices"
)

// lease says who owns a partition in a group. The row stays when it is given
// back, without a member, so that generations only rise.
type lease struct {
	member     string
	generation uint64
}

// peer is a row of the table of members.
type peer struct {
	uid          string
	destinations []string
}

func readLeases(c *conn, group string) (map[int64]lease, error) {
	out := make(map[int64]lease)
	err := c.rows(`SELECT part, member, generation FROM leases WHERE grp = ?`, []any{[]byte(group)}, func(r *sql.Rows) (bool, error) {
		var id, generation int64
		var member []byte
		if err := scan(r, &id, &member, &generation); err != nil {
			return false, err
		}
		out[id] = lease{string(member), uint64(generation)}
		return true, nil
	})
	return out, err
}

// readPeers returns the members of a group in the order of their uids, which
// is the same for all of them.
func readPeers(c *conn, group string) ([]peer, error) {
	var out []peer
	err := c.rows(`SELECT uid, destinations FROM members WHERE grp = ? ORDER BY uid`, []any{[]byte(group)}, func(r *sql.Rows) (bool, error) {
		var uid, list []byte
		if err := scan(r, &uid, &list); err != nil {
			return false, err
		}
		out = append(out, peer{string(uid), splitNames(list)})
		return true, nil
	})
	return out, err
}

func joinNames(names []string) []byte {
	b := []byte{}
	for _, n := range names {
		b = appendString(b, n)
	}
	return b
}

func splitNames(b []byte) []string {
	var out []string
	for r := (reader{b: b}); len(r.b) > 0; {
		if name := r.bytes(); !r.bad {
			out = append(out, string(name))
		}
	}
	return out
}

func addMember(c *conn, group, uid, worker string, destinations []string) error {
	_, err := c.exec(`INSERT OR REPLACE INTO members (grp, uid, worker, destinations) VALUES (?, ?, ?, ?)`,
		[]byte(group), []byte(uid), []byte(worker), joinNames(destinations))
	return err
}

// dropMembers removes members and gives their leases back.
func dropMembers(c *conn, uids []string) error {
	for _, uid := range uids {
		if _, err := c.exec(`UPDATE leases SET member = x'' WHERE member = ?`, []byte(uid)); err != nil {
			return err
		}
		if _, err := c.exec(`DELETE FROM members WHERE uid = ?`, []byte(uid)); err != nil {
			return err
		}
	}
	return nil
}

// takeLease makes a free partition uid's and returns the new generation; false
// if a member of the group has it.
func takeLease(c *conn, group string, part int64, uid string) (uint64, bool, error) {
	leases, err := readLeases(c, group)
	if err != nil {
		return 0, false, err
	}
	have := leases[part]
	peers, err := readPeers(c, group)
	if err != nil || slices.ContainsFunc(peers, func(p peer) bool { return p.uid == have.member }) {
		return 0, false, err
	}
	next := have.generation + 1
	if next == 1 {
		// The first of a row begins anywhere: the destination may have been
		// deleted and created again, and older receipts must not fit.
		next += rand.Uint64N(1 << 40)
	}
	_, err = c.exec(`INSERT OR REPLACE INTO leases (grp, part, member, generation) VALUES (?, ?, ?, ?)`,
		[]byte(group), part, []byte(uid), int64(next))
	return next, err == nil, err
}

// giveLease gives a partition back, if it is still held in that generation.
func giveLease(c *conn, group string, part int64, uid string, generation uint64) error {
	_, err := c.exec(`UPDATE leases SET member = x'' WHERE grp = ? AND part = ? AND member = ? AND generation = ?`,
		[]byte(group), part, []byte(uid), int64(generation))
	return err
}

// fairShare is how many of total partitions of a destination the member uid
// should have. Every member computes the same shares, which add up to total.
// The first of the list is another one for each destination, lest one member
// gets all destinations that have a single partition.
func fairShare(live []peer, destination, uid string, total int) int {
	var members []string
	for _, p := range live {
		if slices.Contains(p.destinations, destination) {
			members = append(members, p.uid)
		}
	}
	rank := slices.Index(members, uid)
	if rank < 0 {
		return 0
	}
	n := len(members)
	rank = (rank + int(murmur2(destination)%uint32(n))) % n
	share := total / n
	if rank < total%n {
		share++
	}
	return share
}
