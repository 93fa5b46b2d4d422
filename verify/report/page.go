package report

import (
	"io"

	"github.com/rollcall-mq/rollcall/verify/check"
)

// Page writes the report as one HTML file.
func Page(w io.Writer, seed uint64, runs []check.Run, verdicts []check.Verdict, objections []string) error {
	return nil
}
