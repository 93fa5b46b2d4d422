package fault

import "syscall"

// apart: Ctrl-C on the terminal is the parent's to handle, and a child that is
// stopped dies with its parent, too.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
