package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/audit"
)

const recoverHelp = `Sends the messages of a finding of rollcall audit again, each with its original stamp:
the gap closes, and what is there after all, or is sent twice, takes effect once.

Where they come from is one of
  --from FILE            the file that was sent with rollcall send: same bytes, same flags
  --at PARTITION:OFFSET  the destination's own log: of what lies there and was passed by;
                         also FIRST-LAST. Without it, where the audit found them
  --outbox               rows of the store's outbox to this destination that were kept
                         (refused, parked) or wait
  --body FILE            the bytes of one message, with --id and --key as it had them

Where much of a file is missing, send the file again with rollcall send: what was done is
absorbed. How many would be sent is only shown, until --yes is added. The next run of the group
does them.

  rollcall dead recover --finding 4fa086ae4161e36b --from orders.ndjson --id id
  rollcall dead recover --finding 4fa086ae4161e36b --from orders.ndjson --id id --yes --reason TEXT`

type recoverOptions struct {
	config, finding, numbers string
	from, at, body           string
	outbox, yes              bool
	reason, operator         string
	format, id, key          string
	headers                  []string
	messages                 map[uint64]rollcall.Message
}

type recoverSummary struct {
	Type    string `json:"type"`
	Verb    string `json:"verb"`
	Group   string `json:"group"`
	Finding string `json:"finding"`
	Missing uint64 `json:"missing"`
	Found   int    `json:"found"`
	Stored  int    `json:"stored"`
	Unknown int    `json:"unknown"`
	DryRun  bool   `json:"dry_run"`
}

func newDeadRecover(a *app, d *deadOptions) *cobra.Command {
	var o recoverOptions
	cmd := &cobra.Command{
		Use:   "recover --finding ID --from FILE | --at PARTITION:OFFSET | --outbox | --body FILE",
		Short: "bring messages back that an audit found missing, with their original stamps",
		Long:  recoverHelp,
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.config = d.config
			return o.run(cmd.Context(), a)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.finding, "finding", "", "id of the finding, as rollcall audit prints it")
	f.StringVar(&o.numbers, "numbers", "", "only these of it: N or FIRST-LAST")
	f.StringVar(&o.from, "from", "", "file that was sent with rollcall send")
	f.StringVar(&o.format, "format", "", "of --from: ndjson, csv or raw, as it was sent (default: by the name)")
	f.StringVar(&o.id, "id", "", "of --from: payload path of the id, as it was sent; of --body: the id itself")
	f.StringVar(&o.key, "key", "", "of --from: payload path of the key, as it was sent; of --body: the key itself")
	f.StringArrayVar(&o.headers, "header", nil, "name=value, as it was sent; may be repeated")
	f.StringVar(&o.at, "at", "", "PARTITION:OFFSET or PARTITION:FIRST-LAST in the destination's log")
	f.BoolVar(&o.outbox, "outbox", false, "rows of the outbox")
	f.StringVar(&o.body, "body", "", "file with the bytes of one message")
	f.StringVar(&o.reason, "reason", "", "why, for the operator log")
	f.StringVar(&o.operator, "operator", "", "who does it (default: user@host)")
	f.BoolVar(&o.yes, "yes", false, "send them")
	return cmd
}

// run finds the finding, then its messages, and sends them.
func (o *recoverOptions) run(ctx context.Context, a *app) (err error) {
	ctx, stop := a.interruptible(ctx)
	defer stop()
	if err := o.check(); err != nil {
		return err
	}
	in, f, err := findFinding(ctx, a, o.config, o.finding, o.numbers)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.watch.Close(), in.close()) }()
	o.messages = make(map[uint64]rollcall.Message)
	if err := o.collect(ctx, a, in, f); err != nil {
		return err
	}
	sum := recoverSummary{Type: "summary", Verb: "dead recover", Group: in.group, Finding: f.ID, Missing: f.Count(), Found: len(o.messages), DryRun: !o.yes}
	if len(o.messages) == 0 {
		return findings(fmt.Errorf("%s has none of finding %s: %s of lane %s", o.source(), f.ID, numbersText(f), laneText(f.Key.Lane, f.Lane)), "see where else they can come from: rollcall dead recover --help; or waive them: rollcall audit waive")
	}
	if o.yes {
		err = o.send(ctx, a, in, f, &sum)
	}
	return errors.Join(err, sum.print(a)) // what was stored is told, whatever happened to the others
}

// source is where the messages are looked for, as the flags say it.
func (o *recoverOptions) source() string {
	switch {
	case o.from != "":
		return "--from " + o.from
	case o.outbox:
		return "--outbox"
	case o.body != "":
		return "--body " + o.body
	case o.at != "":
		return "--at " + o.at
	}
	return "the log"
}

func (o *recoverOptions) check() error {
	given := 0
	for _, set := range []bool{o.from != "", o.at != "", o.outbox, o.body != ""} {
		if set {
			given++
		}
	}
	if given > 1 {
		return usage(errors.New("more than one of --from, --at, --outbox and --body is given"), "give one of them")
	}
	if o.at != "" {
		if _, _, _, err := placeOf(o.at); err != nil {
			return err
		}
	}
	for _, f := range []struct{ flag, path, next string }{
		{"--from", o.from, "name the file that was sent"}, {"--body", o.body, "name a file with the bytes of the message"},
	} {
		if f.path == "" {
			continue
		}
		if _, err := os.Stat(f.path); err != nil { // before the audit, which takes a while
			return usage(fmt.Errorf("%s: %w", f.flag, err), f.next)
		}
	}
	return nil
}

// collect fills messages with what the source has of the finding.
func (o *recoverOptions) collect(ctx context.Context, a *app, in *audited, f *audit.Finding) error {
	switch {
	case o.from != "":
		return o.fromFile(ctx, in, f)
	case o.outbox:
		return o.fromOutbox(ctx, in, f)
	case o.body != "":
		return o.fromBody(in, f)
	case o.at != "":
		partition, first, last, err := placeOf(o.at)
		if err != nil {
			return err
		}
		return o.fromLog(ctx, in, f, partition, first, last)
	case f.Lies != nil:
		for n := f.First; n <= f.Last; n++ {
			if at, ok := in.watch.Lies(f.Key, n); ok {
				if err := o.fromLog(ctx, in, f, at.Partition, at.Offset, at.Offset); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return usage(errors.New("where they come from is missing: they do not lie in the log"), "give --from FILE, --outbox or --body FILE: see rollcall dead recover --help")
}

// take keeps a message if its stamp is one of the finding.
func (o *recoverOptions) take(f *audit.Finding, m rollcall.Message) {
	s := m.Stamp
	if s.Life == f.Key.Life && s.Origin == f.Key.Origin && s.Lane == f.Key.Lane && s.Sequence >= f.First && s.Sequence <= f.Last {
		o.messages[s.Sequence] = m
	}
}

// fromFile reads a file again that send has sent: its life is in its bytes.
func (o *recoverOptions) fromFile(ctx context.Context, in *audited, f *audit.Finding) error {
	sent := sendOptions{format: o.format, id: o.id, key: o.key, headers: o.headers, onBad: "skip"}
	shape, err := sent.shape(o.from)
	if err != nil {
		return err
	}
	file, err := os.Open(o.from)
	if err != nil {
		return usage(fmt.Errorf("--from: %w", err), "name the file that was sent")
	}
	defer file.Close()
	life, err := readLife(file, shape.format, func(int) error { return context.Cause(ctx) })
	if err != nil {
		return err
	}
	if life.life != f.Key.Life {
		return usage(fmt.Errorf("--from %s: its life is %s, and the finding's is %s", o.from, life.life, f.Key.Life), "name the very file that was sent, with the --format it was sent with; a file that changed is another one")
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	most := cmp.Or(max(0, in.broker.sender.Capabilities().MaxBytes), 256<<20)
	for records := newRecords(shape.format, newVerifiedReader(file, life), most); ; {
		rec, err := records.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if rec.number < f.First || rec.number > f.Last || rec.bad != nil || rec.long > 0 {
			continue
		}
		m, err := shape.message(&rec)
		if err != nil {
			return usage(fmt.Errorf("--from %s, line %d: %w", o.from, rec.line, err), "give the flags it was sent with: --id, --key, --header, --format")
		}
		m.Stamp = life.stamp(in.destination, rec.number, m.ID != "")
		if m.ID == "" {
			m.ID = life.id(rec.number)
		}
		o.take(f, m)
	}
}

// fromOutbox reads the rows of the outbox.
func (o *recoverOptions) fromOutbox(ctx context.Context, in *audited, f *audit.Finding) error {
	out, err := in.store.Requests()
	if err != nil {
		return err
	}
	for after := int64(0); ; {
		rows, err := out.Kept(ctx, after, page)
		if err != nil {
			return err
		}
		for _, r := range rows {
			after = r.ID
			o.take(f, r.Message)
		}
		if len(rows) < page {
			break
		}
	}
	rows, err := out.Pending(ctx, page)
	for _, r := range rows {
		o.take(f, r.Message)
	}
	return err
}

// fromBody takes the bytes of one message.
func (o *recoverOptions) fromBody(in *audited, f *audit.Finding) error {
	if f.Count() != 1 {
		return usage(fmt.Errorf("--body is one message, and the finding is of %d", f.Count()), "give --from, --at or --outbox")
	}
	body, err := os.ReadFile(o.body)
	if err != nil {
		return usage(fmt.Errorf("--body: %w", err), "name a file with the bytes of the message")
	}
	headers, err := headersOf(o.headers)
	if err != nil {
		return err
	}
	o.take(f, rollcall.Message{ID: rollcall.MessageID(cmp.Or(o.id, fmt.Sprintf("%s-%d", f.Key.Life, f.First))), Key: o.key, Headers: headers, Body: body,
		Stamp: rollcall.Stamp{Life: f.Key.Life, Origin: f.Key.Origin, Lane: f.Key.Lane, Sequence: f.First, OwnID: o.id != ""}})
	return nil
}

// mostFromLog is how many offsets one --at may name.
const mostFromLog = 1_000_000

// placeOf reads PARTITION:OFFSET and PARTITION:FIRST-LAST.
func placeOf(at string) (partition int32, first, last int64, err error) {
	p, offsets, ok := strings.Cut(at, ":")
	from, to, isRange := strings.Cut(offsets, "-")
	if !isRange {
		to = from
	}
	number, perr := strconv.ParseInt(p, 10, 32)
	first, ferr := strconv.ParseInt(from, 10, 64)
	last, lerr := strconv.ParseInt(to, 10, 64)
	if !ok || errors.Join(perr, ferr, lerr) != nil || number < 0 || first < 0 || last < first || last-first >= mostFromLog {
		return 0, 0, 0, usage(fmt.Errorf("--at %q is no place in a log", at), fmt.Sprintf("write PARTITION:OFFSET or PARTITION:FIRST-LAST, of at most %d offsets", mostFromLog))
	}
	return int32(number), first, last, nil
}

// fromLog reads offsets of the destination.
func (o *recoverOptions) fromLog(ctx context.Context, in *audited, f *audit.Finding, partition int32, first, last int64) error {
	peeker, can := in.broker.source.(rollcall.Peeker)
	measurer, also := in.broker.source.(rollcall.Measurer)
	if !can || !also {
		return usage(errors.New("--at: this broker does not let us read at a place"), "give --from, --outbox or --body")
	}
	extents, err := measurer.Measure(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(extents, func(x rollcall.Extent) bool { return x.Partition.Number == partition })
	if i < 0 {
		return usage(fmt.Errorf("--at: %s has no partition %d", in.destination, partition), fmt.Sprintf("it has %d, from 0 on: rollcall audit names places of neighbours", len(extents)))
	}
	x := extents[i]
	for offset := min(last, x.End-1); offset >= max(first, x.First); offset-- { // a Peek reads what is before it, too
		m, err := peeker.Peek(ctx, x.Partition, rollcall.Position{Incarnation: x.Incarnation, Offset: offset})
		if err != nil {
			return err
		}
		o.take(f, m)
	}
	return nil
}

// send sends, and writes down what was stored.
func (o *recoverOptions) send(ctx context.Context, a *app, in *audited, f *audit.Finding, sum *recoverSummary) error {
	var numbers []uint64
	for n := range o.messages {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	books := in.books
	books.Sender = "dead recover"
	pub := rollcall.NewPublisher(in.broker.sender, rollcall.PublisherConfig{Books: books, Observer: newMeter(a)})
	messages := make([]rollcall.Message, len(numbers))
	for i, n := range numbers {
		messages[i] = o.messages[n]
		messages[i].Destination = ""
	}
	var entries []rollcall.OperatorEntry
	var wrong error
	for i, r := range pub.Publish(ctx, in.destination, messages...) {
		n := rollcall.NumberRange{First: numbers[i], Last: numbers[i]}
		switch r.Fate {
		case rollcall.Stored:
			sum.Stored++
			entries = append(entries, rollcall.OperatorEntry{Time: time.Now(), Operator: cmp.Or(o.operator, whoami()), Verb: rollcall.OperatorRecover, Reason: o.reason,
				MessageID: messages[i].ID, Destination: in.destination, Scope: senderScope(f), Numbers: n})
		case rollcall.Unknown:
			sum.Unknown++
			wrong = errors.Join(wrong, fmt.Errorf("number %d: %w", numbers[i], r.Err))
		default:
			wrong = errors.Join(wrong, fmt.Errorf("number %d: not sent: %w", numbers[i], r.Err))
		}
	}
	err := errors.Join(pub.Close(context.WithoutCancel(ctx)), in.store.Operations().Note(context.WithoutCancel(ctx), in.group, entries...))
	if wrong != nil {
		err = errors.Join(&failure{exitServer, wrong, "do it again: what was stored is absorbed"}, err)
	}
	return err
}

func (s *recoverSummary) print(a *app) error {
	switch {
	case a.json:
		return a.object(s)
	case s.DryRun:
		a.say("would be sent again: %d of %d", s.Found, s.Missing)
		a.note("nothing was sent; next: add --yes")
	default:
		a.say("sent again: %d of %d", s.Stored, s.Missing)
	}
	return nil
}
