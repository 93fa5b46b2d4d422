// Package history is the append-only record that the clients of a run write
// themselves, outside the product: what they began and how it ended, one file
// a process. A process that is killed leaves what it had written.
package history

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// What is the kind of an Event.
type What string

// The kinds. A send without an end has an unknown fate.
const (
	Send       What = "send"        // begun: it may be stored
	Stored     What = "stored"      // the broker has it
	Refused    What = "refused"     // it is surely not stored
	Delivered  What = "delivered"   // a worker got it
	Kill       What = "kill"        // SIGKILL, after the process had said where it stood
	Sleep      What = "sleep"       // SIGSTOP
	Wake       What = "wake"        // SIGCONT
	ReplyLost  What = "reply lost"  // it happened, and the answer did not arrive
	CommitLost What = "commit lost" // it did not happen, and nobody said so
	AckLost    What = "ack lost"    // settled, and the broker does not know
)

// Event is one line.
type Event struct {
	Time   time.Time `json:"time"`
	PID    int       `json:"pid"`
	What   What      `json:"what"`
	Step   string    `json:"step,omitempty"`   // where the process stood
	Orders []string  `json:"orders,omitempty"` // in its hands
	Target string    `json:"target,omitempty"` // the order that the fault was aimed at
}

// Writer appends events to a file. Nil writes nothing.
type Writer struct{ f *os.File }

// Create opens a file of its own for this process.
func Create(folder, name string) (*Writer, error) {
	f, err := os.OpenFile(filepath.Join(folder, name+".jsonl"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	return &Writer{f}, nil
}

// Add writes one event in one write: a kill leaves whole lines, but for the last.
func (w *Writer) Add(e Event) error {
	if w == nil {
		return nil
	}
	e.Time = time.Now()
	line, err := json.Marshal(e)
	if err == nil {
		_, err = w.f.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	return nil
}

// Close closes the file.
func (w *Writer) Close() error { return w.f.Close() }

// Load reads every history of a folder whose name begins with prefix, in the
// order of time. A torn last line is what a kill leaves; any other is an error.
func Load(folder, prefix string) ([]Event, error) {
	names, err := filepath.Glob(filepath.Join(folder, prefix+"*.jsonl"))
	if err != nil {
		return nil, err
	}
	var out []Event
	for _, name := range names {
		events, err := loadFile(name)
		if err != nil {
			return nil, fmt.Errorf("history %s: %w", name, err)
		}
		out = append(out, events...)
	}
	slices.SortStableFunc(out, func(a, b Event) int { return cmp.Compare(a.Time.UnixNano(), b.Time.UnixNano()) })
	return out, nil
}

func loadFile(name string) (out []Event, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	var torn error
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		if torn != nil {
			return nil, torn
		}
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			torn = fmt.Errorf("line %d: %w", n, err)
			continue
		}
		out = append(out, e)
	}
	return out, lines.Err()
}
