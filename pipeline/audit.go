package pipeline

import (
	"slices"
	"time"

	"github.com/rollcall-mq/rollcall"
)

var auditDefault = Audit{Grace: 30 * time.Second, Side: rollcall.SideDestination, Books: true}

// BooksConfig is how what sends for this file keeps its books.
func (f *File) BooksConfig() rollcall.BooksConfig {
	return rollcall.BooksConfig{Off: !f.Audit.Books, Destination: f.Audit.Side}
}

// audit: the side destination is nobody's own.
func (c *checker) audit() {
	a := c.file.Audit
	c.named("audit.side", a.Side)
	var own []string
	if e := c.file.Source.Embedded; e != nil {
		own = append(own, e.Destination)
	}
	if k := c.file.Source.Kafka; k != nil {
		own = append(own, k.Topic)
	}
	if r := c.file.Source.RabbitMQ; r != nil {
		own = append(own, r.Queue)
	}
	if r := c.file.Source.RocketMQ; r != nil {
		own = append(own, r.Topic)
	}
	for _, p := range c.file.Publishes() {
		own = append(own, p.Destination)
	}
	if slices.Contains(own, a.Side) {
		c.problem("audit.side", "give it a name of its own, or take the line out: "+rollcall.SideDestination, "audit.side %q is where messages go", a.Side)
	}
}
