package filelog_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/broker/filelog"
	"go.uber.org/goleak"
)

// childEnv makes the test binary another process: "publish", "books" or "member".
const childEnv = "FILELOG_TEST_CHILD"

func TestMain(m *testing.M) {
	var err error
	switch role := os.Getenv(childEnv); role {
	case "":
		goleak.VerifyTestMain(m)
	case "publish":
		err = childPublish(os.Args[len(os.Args)-1])
	case "books":
		err = childBooks(os.Args[len(os.Args)-1])
	case "member":
		err = childMember(os.Args[len(os.Args)-1])
	default:
		err = fmt.Errorf("no role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// childPublish publishes batches until it is killed or its input ends, and
// prints the place and id of every message that was acknowledged.
func childPublish(path string) error {
	l, err := filelog.Open(path, filelog.Config{})
	if err != nil {
		return err
	}
	var stopped sync.WaitGroup
	stop := make(chan struct{})
	stopped.Go(func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		close(stop)
	})
	out := bufio.NewWriter(os.Stdout)
	for n := 0; ; n++ {
		select {
		case <-stop:
			return l.Close()
		default:
		}
		messages := make([]rollcall.Message, 10)
		for i := range messages {
			messages[i] = rollcall.Message{ID: rollcall.MessageID(fmt.Sprintf("%d-%d-%d", os.Getpid(), n, i)), Partition: int32((n + i) % 4)}
		}
		for i, r := range l.Sender().Publish(context.Background(), "d", messages) {
			if r.Fate != rollcall.Stored {
				return fmt.Errorf("%v: %w", r.Fate, r.Err)
			}
			fmt.Fprintln(out, messages[i].Partition, r.Position.Offset, messages[i].ID)
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
}

// childMember joins the group, takes one message, and settles it again and
// again. It prints what it owns, loses, and the first refusal of its receipt.
func childMember(path string) error {
	l, err := filelog.Open(path, fast)
	if err != nil {
		return err
	}
	ctx := context.Background()
	o := newOwner()
	sub, err := l.Source("d").Subscribe(ctx, rollcall.SubscribeRequest{Group: "g", Worker: "child"}, o)
	if err != nil {
		return err
	}
	var held []rollcall.Settlement
	var owned, lost int
	for refused := false; ; time.Sleep(time.Millisecond) {
		if o.count() != owned || o.lostCount() != lost {
			owned, lost = o.count(), o.lostCount()
			fmt.Println("owns", owned, "lost", lost)
		}
		if held == nil {
			batches, err := sub.Fetch(ctx, rollcall.FetchRequest{Max: 1, Min: 1, Wait: time.Millisecond})
			if err != nil {
				return err
			}
			for _, b := range batches {
				held = append(held, rollcall.Settlement{Partition: b.Partition, Receipt: b.Deliveries[0].Receipt})
				fmt.Println("holds", b.Partition.Number)
			}
			continue
		}
		if err := sub.Settle(ctx, held)[0]; err != nil && !refused {
			refused = true
			fmt.Println("refused", err)
		}
	}
}

// child is another process of the test.
type child struct {
	cmd   *exec.Cmd
	input io.Closer
	mu    sync.Mutex
	lines []string
	ended chan struct{}
}

func spawn(t testing.TB, role, path string) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0], path), ended: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childEnv+"="+role)
	c.cmd.Stderr = os.Stderr
	var err error
	if c.input, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.ended)
		for in := bufio.NewScanner(out); in.Scan(); {
			c.mu.Lock()
			c.lines = append(c.lines, in.Text())
			c.mu.Unlock()
		}
	}()
	t.Cleanup(func() { c.kill() })
	return c
}

// kill is kill -9, and waits until all that was printed is read.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.ended
	_ = c.cmd.Wait() // "killed" is no news
}

// end closes the child's input and waits until it has ended, well.
func (c *child) end(t testing.TB) {
	t.Helper()
	if err := c.input.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.ended:
	case <-time.After(patience):
		t.Fatalf("waited %v for the child to end", patience)
	}
	if err := c.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}

func (c *child) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func (c *child) printed() []string { c.mu.Lock(); defer c.mu.Unlock(); return c.lines }

// says waits for a line that begins so.
func (c *child) says(t testing.TB, prefix string) {
	t.Helper()
	await(t, fmt.Sprintf("the child to print %q", prefix), func() bool {
		for _, line := range c.printed() {
			if strings.HasPrefix(line, prefix) {
				return true
			}
		}
		return false
	})
}
