package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// demoRoom is how much space a run needs, with a good margin.
const demoRoom = 64 << 20

// demoLeast is how much space must be left when something failed, or else the
// disk is why.
const demoLeast = 1 << 20

// demoMark is made first in a kept folder: of two that come at once, one wins.
const demoMark = "demo.txt"

// folder makes the folder of the run. leave removes it, unless it is kept.
func (o *demoOptions) folder() (folder string, leave func() error, err error) {
	if o.keep == "" {
		folder, err = os.MkdirTemp("", "rollcall-demo-")
		if err != nil {
			return "", nil, &failure{exitServer, fmt.Errorf("a folder to work in: %w", err), "set TMPDIR to a folder that can be written, or use --keep DIR"}
		}
		leave = func() error { return os.RemoveAll(folder) }
	} else {
		if folder, err = o.kept(); err != nil {
			return "", nil, err
		}
		leave = func() error { return nil }
	}
	if err := roomIn(folder, demoRoom); err != nil {
		return "", nil, errors.Join(err, leave())
	}
	return folder, leave, nil
}

func (o *demoOptions) kept() (string, error) {
	folder, err := filepath.Abs(o.keep)
	if err != nil {
		return "", err
	}
	unusable := func(err error) error {
		return &failure{exitServer, fmt.Errorf("--keep: %w", err), "choose a folder that can be written"}
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", unusable(err)
	}
	taken := usage(fmt.Errorf("--keep %s: there is something in it", o.keep), "name a folder that is new or empty")
	entries, err := os.ReadDir(folder)
	if err != nil {
		return "", unusable(err)
	}
	if len(entries) > 0 {
		return "", taken
	}
	f, err := os.OpenFile(filepath.Join(folder, demoMark), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return "", taken // another run came at the same time
	}
	if err != nil {
		return "", unusable(err)
	}
	_, err = fmt.Fprintln(f, o.again())
	return folder, errors.Join(err, f.Close())
}

// roomIn looks for enough space, so that a full disk is told as what it is.
func roomIn(folder string, need int64) error {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return fmt.Errorf("%s: %w", folder, err)
	}
	if free := int64(s.Bavail) * s.Bsize; free < need {
		return &failure{exitServer, fmt.Errorf("%s: the disk is full: %s are free, %s are needed", folder, sizeText(free), sizeText(need)), nextRoom}
	}
	return nil
}

const nextRoom = "make room, or use --keep DIR on another disk"

// diskFull tells a full disk as what it is. Processes that ended because of it
// may have left some room again: then what they said tells.
func diskFull(folder string, err error) error {
	if full := roomIn(folder, demoLeast); full != nil {
		return full
	}
	for _, said := range []string{"disk is full", syscall.ENOSPC.Error()} {
		if strings.Contains(err.Error(), said) {
			return &failure{exitServer, fmt.Errorf("%s: the disk is full: %w", folder, err), nextRoom}
		}
	}
	return err
}
