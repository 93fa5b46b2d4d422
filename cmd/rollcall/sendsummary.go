package main

import (
	"context"
	"errors"
	"fmt"
)

type sendSummary struct {
	Type        string `json:"type"`
	Verb        string `json:"verb"`
	Destination string `json:"destination"`
	sendCounts
	// Life is the life of a file; empty from stdin.
	Life        string `json:"life,omitempty"`
	Complete    bool   `json:"complete"`
	Interrupted bool   `json:"interrupted"`
}

// judge prints the summary and says what the exit code is to be.
func (s *sending) judge(ctx context.Context, err error) error {
	c := s.counts
	complete := err == nil && ctx.Err() == nil && c.Unknown == 0
	if printed := s.print(complete, interrupted(ctx)); printed != nil {
		return printed
	}
	switch {
	case interrupted(ctx):
		s.app.note("next: %s", s.again("the rest"))
		return errInterrupted
	case errors.Is(err, errBad):
		return findings(fmt.Errorf("%w after %d records were sent", err, c.Sent), s.mend())
	case errors.Is(err, errChanged):
		return findings(fmt.Errorf("%w; %d records were sent before, and they are intact", err, c.Sent),
			"send it when nobody writes to it; as a changed file it is a new one, whose records are sent anew")
	case err != nil:
		return err
	case c.Unknown > 0:
		return findings(fmt.Errorf("the fate of %d messages is unknown: they may be stored", c.Unknown), s.again("what was stored"))
	case c.Refused+c.Bad > 0:
		return findings(fmt.Errorf("%d of %d records were not sent: %d refused, %d bad", c.Refused+c.Bad, c.Records, c.Refused, c.Bad),
			s.mend())
	}
	return nil
}

// mend says what to do about lines that were not sent. A mended copy of the
// whole file would be another file.
func (s *sending) mend() string {
	if s.life == nil {
		return "mend those lines and send only them, or all with --on-bad skip: what is piped in again is sent again"
	}
	return "leave them out with --on-bad skip, and send them mended in a file of their own; a mended copy of this file is another file, of which everything is sent anew"
}

// again says what sending again does.
func (s *sending) again(what string) string {
	if s.life == nil {
		return "from stdin " + what + " is not known again: send only what is not stored yet, or use a file"
	}
	if what == "the rest" {
		return "send the same file again: what is stored is absorbed, the rest is sent"
	}
	return "send the same file again: " + what + " is absorbed"
}

func (s *sending) print(complete, stopped bool) error {
	c := s.counts
	life := ""
	if s.life != nil {
		life = s.life.life.String()
	}
	if s.app.json {
		return s.app.object(sendSummary{"summary", "send", s.to.destination, c, life, complete, stopped})
	}
	s.app.say("%s: sent %d = stored %d + refused %d + unknown %d; bad %d", s.to.destination, c.Sent, c.Stored, c.Refused, c.Unknown, c.Bad)
	if life != "" && c.Records > 0 {
		s.app.say("life %s, records 1 to %d: this very file sent again has the same numbers, and is absorbed within dedup.window where dedup.by has stamp, as auto has; a changed or longer file is a new one", life, c.Records)
	}
	return nil
}
