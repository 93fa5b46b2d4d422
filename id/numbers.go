package id

import (
	"context"
	"fmt"
	"sync"

	"github.com/rollcall-mq/rollcall"
)

// Blocks hands out numbers in blocks. It is safe for concurrent use, by several
// processes too.
type Blocks interface {
	// Next takes size numbers of the series name and returns the first: the
	// block is first, first+1, … first+size-1. A series begins with 1. The block
	// is durable before it is answered and is never handed out again. On an
	// error none was given; the store may have taken one, which is then a gap.
	Next(ctx context.Context, name string, size int64) (first int64, err error)
}

// NumbersConfig is the settings of Numbers. The zero value is safe.
type NumbersConfig struct {
	// Block is how many numbers are taken from the store at once: a process that
	// ends leaves a gap of at most Block-1. Default: 100.
	Block int64
}

// Numbers gives out the numbers of a series. Within one Numbers they rise; two
// processes have blocks of their own, so that a later number may be the lower
// one. Gaps are allowed, repeats never. It is safe for concurrent use.
type Numbers struct {
	blocks Blocks
	name   string
	config NumbersConfig

	mu          sync.Mutex
	next, after int64 // what is left of the block: next up to after-1
}

// NewNumbers makes the numbers of a series: letters, digits and . _ - : , at
// most 100. Nothing is taken before the first Next.
func NewNumbers(blocks Blocks, name string, config NumbersConfig) *Numbers {
	if config.Block == 0 {
		config.Block = 100
	}
	return &Numbers{blocks: blocks, name: name, config: config}
}

// Next gives one number. Others of this Numbers wait while a block is taken. On
// an error none was given.
func (n *Numbers) Next(ctx context.Context) (int64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.next == n.after {
		first, err := n.blocks.Next(ctx, n.name, n.config.Block)
		if err != nil {
			return 0, err
		}
		n.next, n.after = first, first+n.config.Block
	}
	n.next++
	return n.next - 1, nil
}

// checkName keeps names that a database, a log and a URL take as they are.
func checkName(name string) error {
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-', c == ':':
		default:
			return fmt.Errorf("%w: id: name %q: use letters, digits and any of ._-: only", rollcall.ErrConfig, name)
		}
	}
	if len(name) == 0 || len(name) > 100 {
		return fmt.Errorf("%w: id: name %q has %d bytes: use 1 to 100", rollcall.ErrConfig, name, len(name))
	}
	return nil
}
