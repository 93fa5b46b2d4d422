//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// openTerminal is a terminal of the kernel's: what is written to one end the
// program reads at the other.
func openTerminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = user.Close() })
	var unlock, number int32
	for request, arg := range map[uintptr]*int32{syscall.TIOCSPTLCK: &unlock, syscall.TIOCGPTN: &number} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, user.Fd(), request, uintptr(unsafe.Pointer(arg))); errno != 0 {
			t.Fatal(errno)
		}
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return user, program
}

// TestEditAsks: at a terminal the difference is shown and the user asked; only a
// yes changes anything.
func TestEditAsks(t *testing.T) {
	folder := t.TempDir()
	db := sqliteShop(t, folder)
	deadLetters(t, folder, "sqlite: {path: shop.db}", 1)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, answer := range []string{"\n", "n\n", "yet\n", "y\n"} {
		user, program := openTerminal(t)
		cmd := exec.Command(self, "dead", "edit", "1", "--set", "payload.id=7")
		cmd.Args[0] = "rollcall"
		var out strings.Builder
		cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = folder, program, &out, program
		if _, err := user.WriteString(answer); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Run(); err != nil || !strings.Contains(out.String(), "+  \"id\": 7\n") {
			t.Fatalf("answer %q: %v\n%s", answer, err, out.String())
		}
		want := 0
		if answer == "y\n" {
			want = 1
		}
		if n := number(t, db, "SELECT count(*) FROM rollcall_asides WHERE state = 'waiting'"); n != want {
			t.Errorf("answer %q: %d corrected rows, want %d\n%s", answer, n, want, out.String())
		}
	}
}
