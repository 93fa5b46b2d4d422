package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall"
	"github.com/rollcall-mq/rollcall/pipeline"
)

const sendHelp = `Sends each record of FILE, or of stdin (-), to the destination of the pipeline
file, stamped and confirmed.

A file takes its numbers from what is in it: sending the same file again repeats
them, so every record that was stored before is absorbed and none takes effect
twice, also after a crash, with another --key, or after partitions were added.
From stdin there are no such numbers: what is piped in twice is sent twice.

  ndjson   one JSON value a line
  csv      the first row names the columns; a row becomes a JSON object of strings
  raw      the bytes of a line; blank lines are no records in any format

A topic of Kafka is written kafka://HOST:PORT[,HOST:PORT]/TOPIC, and behind ? what
source.kafka has in a pipeline file: tls=true, ca=, cert=, key= (PEM files),
server_name=, skip_verify=true, sasl=MECHANISM, user=, token_file=. The password
is taken from the variable ROLLCALL_KAFKA_PASSWORD.`

type sendOptions struct {
	to, config, format   string
	id, key, onBad, rate string
	headers              []string
	noBooks              bool
	books                rollcall.BooksConfig // of the pipeline file
}

func newSend(a *app) *cobra.Command {
	var o sendOptions
	cmd := &cobra.Command{
		Use:   "send [flags] [FILE|-]",
		Short: "send NDJSON, CSV or raw lines, stamped and confirmed",
		Long:  sendHelp,
		Args:  atMostOne("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := "-"
			if len(args) > 0 {
				name = args[0]
			}
			return o.run(cmd.Context(), a, name)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.to, "to", "", "destination, embedded:FOLDER/DESTINATION, or kafka://HOST:PORT/TOPIC (default: the pipeline file's)")
	f.StringVar(&o.config, "config", defaultFile, "pipeline file that says where to send to")
	f.StringVar(&o.format, "format", "", "ndjson, csv or raw (default: by the name of FILE)")
	f.StringVar(&o.id, "id", "", "payload path of the message id: the application's own, a second one with it is a repeat")
	f.StringVar(&o.key, "key", "", "payload path of the key: messages of one key take effect in order")
	f.StringArrayVar(&o.headers, "header", nil, "name=value, sent with every message; may be repeated")
	f.StringVar(&o.rate, "rate", "", "most messages a second, such as 500/s (default: no limit)")
	f.BoolVar(&o.noBooks, "no-books", false, "do not write down for the audit what is sent")
	f.StringVar(&o.onBad, "on-bad", "stop", "stop at a record that cannot be read, or skip it")
	return cmd
}

// run opens what is to be read and where it goes.
func (o *sendOptions) run(ctx context.Context, a *app, name string) error {
	if ctx == nil {
		ctx = context.Background()
	}
	shape, err := o.shape(name)
	if err != nil {
		return err
	}
	in, file, err := openInput(a, name)
	if err != nil {
		return err
	}
	defer file.Close()
	to, err := o.open(ctx, a)
	if err != nil {
		return err
	}
	if to.destination == cmp.Or(o.books.Destination, rollcall.SideDestination) {
		return errors.Join(usage(fmt.Errorf("--to: %q is where senders keep their books", to.destination), "name another destination"), to.close())
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	s := newSending(a, to, shape)
	s.books = o.books
	s.books.Off, s.books.Sender = s.books.Off || o.noBooks, "send "+name
	err = s.all(ctx, in)
	return errors.Join(err, to.close())
}

// openInput opens FILE. in is a *os.File only for a regular file, which can be
// read twice.
func openInput(a *app, name string) (in io.Reader, closer io.Closer, err error) {
	if name == "-" {
		return a.in, io.NopCloser(a.in), nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, nil, usage(err, "name a file that is there and readable, or - for stdin")
	}
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, nil, errors.Join(err, file.Close())
	case info.IsDir():
		return nil, nil, errors.Join(usage(fmt.Errorf("%s is a folder", name), "name a file"), file.Close())
	case !info.Mode().IsRegular():
		a.note("%s is no regular file: it is read once and numbered anew, so sending it again is not absorbed", name)
		return struct{ io.Reader }{file}, file, nil
	}
	return file, file, nil
}

// open opens the destination.
func (o *sendOptions) open(ctx context.Context, a *app) (*broker, error) {
	if place, ok := strings.CutPrefix(o.to, "embedded:"); ok {
		folder, destination := filepath.Split(place)
		if destination == "" || folder == "" {
			return nil, usage(fmt.Errorf("--to %q names no folder and destination", o.to), "write --to embedded:FOLDER/DESTINATION")
		}
		return openEmbedded(ctx, a, filepath.Clean(folder), destination)
	}
	if strings.HasPrefix(o.to, pipeline.KafkaScheme) {
		return openTopic(ctx, a, o.to, "--to: ")
	}
	if strings.Contains(o.to, "://") {
		return nil, usage(fmt.Errorf("--to %q is an address of no broker that is known", o.to), "write kafka://HOST:PORT/TOPIC, embedded:FOLDER/DESTINATION, or the name of a destination")
	}
	f, err := pipeline.Load(o.config, pipeline.Env{})
	if err != nil {
		return nil, err
	}
	a.redactor = f.Redactor()
	o.books = f.BooksConfig()
	if o.to == "" {
		return openBroker(ctx, a, f, nil)
	}
	if err := f.Redirect(o.to); err != nil {
		what, next := lastStep(err)
		return nil, inAddress("", next, "--to: "+what)
	}
	return openBroker(ctx, a, f, nil)
}

// openTopic opens a topic that the command line names; what is wrong with its address
// is told behind field.
func openTopic(ctx context.Context, a *app, address, field string) (*broker, error) {
	at, redactor, err := pipeline.ParseKafka(address, pipeline.Env{})
	a.redactor = redactor
	if err != nil {
		return nil, unfitBroker("", func(_, next, what string) error { return inAddress("", next, field+what) }, err)
	}
	return openKafka(ctx, a, *at, inAddress)
}
