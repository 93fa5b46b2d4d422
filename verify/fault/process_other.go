//go:build unix && !linux

package fault

import "syscall"

// apart: Ctrl-C on the terminal is the parent's to handle.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
