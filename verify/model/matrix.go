package model

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
)

// Matrix is what can come of patterns and strategies under faults.
type Matrix struct {
	Columns []string `json:"columns"`
	Rows    []Row    `json:"rows"`
}

// Row is one pattern, or one strategy on one shape of partitions.
type Row struct {
	Name  string   `json:"name"`
	Cells []string `json:"cells"` // "l" lost, "d" doubled, both, or "-": once in every end
}

// column is one class of faults, for patterns and for the engine.
type column struct {
	name    string
	pattern pfault
	engine  Fault
	faults  int8
	entries []Entry // else one message, once
	two     bool    // two messages of one DedupKey
}

// columns: each fault at most twice, but for repeats of the sender, which come
// without any.
var columns = []column{
	{name: "none"},
	{name: "crash", pattern: pCrash, engine: Crash, faults: 2},
	{name: "ack lost", pattern: pAckLost, engine: SettleLost, faults: 2},
	{name: "reply lost", pattern: pReplyLost, engine: ReplyLost, faults: 2},
	{name: "pause", pattern: pPause, engine: Timeout, faults: 2},
	{name: "pause, lease out", pattern: pPause | pLease, engine: Timeout | Freeze, faults: 2},
	{name: "cache lost", pattern: pCache, faults: 2},
	{name: "all of these", pattern: pCrash | pAckLost | pReplyLost | pPause | pLease | pCache, engine: Crash | SettleLost | ReplyLost | Timeout, faults: 2},
	{name: "sent again", pattern: pAgain, entries: copies(1, 1)},
	{name: "same id, new number", pattern: pAgain, two: true},
	{name: "all, sent again", pattern: pAgain | pCrash | pAckLost | pReplyLost | pPause | pLease | pCache,
		engine: Crash | ReplyLost | Timeout, faults: 2, entries: copies(1, 1)},
}

// strategies are those of dedup.by.
var strategies = []struct {
	name                   string
	stamp, position, keyed bool
}{
	{"auto", true, true, true},
	{"stamp", true, false, false},
	{"position", false, true, false},
	{"key", false, false, true},
	{"none", false, false, false},
}

// Build explores every cell.
func Build() Matrix {
	var m Matrix
	for _, c := range columns {
		m.Columns = append(m.Columns, c.name)
	}
	for _, shape := range shapes {
		for _, s := range strategies {
			if s.name == "position" && shape != Replayable {
				continue
			}
			row := Row{Name: fmt.Sprintf("rollcall %s on %v", s.name, shape)}
			for _, c := range columns {
				row.Cells = append(row.Cells, engineCell(shape, s.stamp, s.position && shape == Replayable, s.keyed, c))
			}
			m.Rows = append(m.Rows, row)
		}
	}
	for i := range patterns {
		row := Row{Name: patterns[i].name}
		for _, c := range columns {
			row.Cells = append(row.Cells, cell(explorePattern(&patterns[i], c.pattern, c.faults)))
		}
		m.Rows = append(m.Rows, row)
	}
	return m
}

func cell(lost, doubled bool) string {
	switch {
	case lost && doubled:
		return "l d"
	case lost:
		return "l"
	case doubled:
		return "d"
	}
	return "-"
}

func engineCell(shape Shape, stamp, position, keyed bool, c column) string {
	s := &Scenario{Shape: shape, Stamp: stamp, Position: position, Keyed: keyed, Business: true, Batch: 2, Attempts: 2,
		Messages: []Message{{Dedup: 1}}, Entries: copies(1), Faults: int(c.faults), Allow: c.engine}
	if c.two {
		s.Messages = append(s.Messages, Message{Dedup: 1})
		s.Entries = copies(1, 2)
	} else if c.entries != nil {
		s.Entries = c.entries
	}
	x := newExplorer(s, 0)
	x.all = true
	r := x.run()
	return cell(slices.Contains(r.Found, "lost"), slices.Contains(r.Found, "doubled"))
}

//go:embed matrix.json
var built []byte

// Load is the matrix as the test built it.
func Load() Matrix {
	var m Matrix
	if err := json.Unmarshal(built, &m); err != nil {
		panic("verify/model: matrix.json: " + err.Error()) // it is compiled in, and a test compares it
	}
	return m
}

// May says what a pattern or strategy can come to in one of the columns, or in
// any when none is named. Anything else that is seen is outside the model. ok
// is false when there is no such row.
func (m Matrix) May(row string, columns ...string) (lost, doubled, ok bool) {
	at := slices.IndexFunc(m.Rows, func(r Row) bool { return r.Name == row })
	if at < 0 {
		return false, false, false
	}
	for i, c := range m.Rows[at].Cells {
		if len(columns) > 0 && !slices.Contains(columns, m.Columns[i]) {
			continue
		}
		lost = lost || c == "l" || c == "l d"
		doubled = doubled || c == "d" || c == "l d"
	}
	return lost, doubled, true
}
