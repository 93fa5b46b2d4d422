package memory

import "github.com/rollcall-mq/rollcall"

// groupPart is what a group knows of one partition without positions.
type groupPart struct {
	partition rollcall.Partition
	records   []progress // by offset, as far as anything is known
	low       int64      // every record below is acked
}

// progress is what became of a record in a group.
type progress struct {
	held      *Subscription // handed over and not settled
	acked     bool
	delivered bool
}

func (g *group) part(p rollcall.Partition) *groupPart {
	gp := g.parts[p]
	if gp == nil {
		gp = &groupPart{partition: p}
		g.parts[p] = gp
	}
	return gp
}

// at is the record of an offset, to be changed.
func (gp *groupPart) at(offset int64) *progress {
	for int64(len(gp.records)) <= offset {
		gp.records = append(gp.records, progress{})
	}
	return &gp.records[offset]
}

// of is the record of an offset, to be read.
func (gp *groupPart) of(offset int64) progress {
	if offset < int64(len(gp.records)) {
		return gp.records[offset]
	}
	return progress{}
}

func (gp *groupPart) ack(offset int64) {
	gp.at(offset).acked = true
	for gp.of(gp.low).acked {
		gp.low++
	}
}

// giveBack makes deliverable again what the member holds of the partition.
func (gp *groupPart) giveBack(m *Subscription) {
	for offset := gp.low; offset < int64(len(gp.records)); offset++ {
		if r := &gp.records[offset]; r.held == m {
			r.held = nil
		}
	}
}

// left says that one of n records waits for somebody, or for the member to settle it.
func (gp *groupPart) left(n int64, m *Subscription) bool {
	for offset := gp.low; offset < n; offset++ {
		if r := gp.of(offset); !r.acked && (r.held == nil || r.held == m) {
			return true
		}
	}
	return false
}

// again makes everything deliverable again, as a broker that lost its acks.
func (gp *groupPart) again() {
	gp.low = 0
	for i := range gp.records {
		gp.records[i].acked = false
	}
}
