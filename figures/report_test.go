package figures

import (
	"database/sql"
	"encoding/json"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"
)

// figure is one line of docs/figures.json.
type figure struct {
	Name   string  `json:"name"`
	Target float64 `json:"target"`
	Share  float64 `json:"share"`
	Rate   float64 `json:"rate"`   // messages/s
	F      float64 `json:"f_rate"` // of what it is a share, messages/s
}

// page is docs/figures.json.
type page struct {
	Date    string   `json:"date"`
	Go      string   `json:"go"`
	SQLite  string   `json:"sqlite"`
	CPUs    int      `json:"cpus"`
	Figures []figure `json:"figures"`
}

// figures are what this run has measured so far.
var figures struct {
	sync.Mutex
	list []figure
}

// report prints a figure, and writes the page if ROLLCALL_FIGURES names one.
func report(b *testing.B, name string, target float64, r result) {
	b.Helper()
	b.ReportMetric(r.share, "share_of_F")
	b.ReportMetric(target, "target")
	b.ReportMetric(r.rate, "rows/s")
	b.ReportMetric(r.f, "F_rows/s")
	b.ReportMetric(0, "ns/op")
	figures.Lock()
	defer figures.Unlock()
	figures.list = append(figures.list, figure{name, target, r.share, r.rate, r.f})
	path := os.Getenv("ROLLCALL_FIGURES")
	if path == "" {
		return
	}
	p := page{Date: time.Now().UTC().Format(time.DateOnly), Go: runtime.Version(), SQLite: sqliteVersion(b),
		CPUs: runtime.NumCPU(), Figures: figures.list}
	text, err := json.MarshalIndent(p, "", "\t")
	must(b, err)
	must(b, os.WriteFile(path, append(text, '\n'), 0o600))
}

// sqliteVersion asks the library that ran.
func sqliteVersion(b *testing.B) string {
	b.Helper()
	db, err := sql.Open("sqlite", ":memory:")
	must(b, err)
	defer db.Close()
	var v string
	must(b, db.QueryRow("SELECT sqlite_version()").Scan(&v))
	return v
}
