package main

import (
	"fmt"
	"os"

	"github.com/rollcall-mq/rollcall/verify/check"
	"github.com/rollcall-mq/rollcall/verify/report"
)

// htmlPage is the file of --html. It is opened before the run, so that a path that
// cannot be written is told at once. Nil: there is none.
type htmlPage struct{ f *os.File }

func openPage(path string) (*htmlPage, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, &failure{exitServer, fmt.Errorf("--html: %w", err), "name a file in a folder that can be written"}
	}
	return &htmlPage{f}, nil
}

func (p *htmlPage) close() error {
	if p == nil {
		return nil
	}
	return p.f.Close()
}

func (p *htmlPage) write(seed uint64, runs []check.Run, verdicts []check.Verdict, wrong []objection) error {
	if p == nil {
		return nil
	}
	var texts []string
	for _, w := range wrong {
		texts = append(texts, w.text)
	}
	return report.Page(p.f, seed, patternIdeas(), runs, verdicts, texts)
}
