package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-mq/rollcall/id"
)

const idServeHelp = `Serves ids over HTTP until stopped:

  GET /next             one id
  GET /next?n=10        ten, in order
  GET /next?name=bills  a number of the series, which --series must name

Text, one a line, or {"ids": […]} for Accept: application/json. Answers are not
to be cached. When the clock was set back ids go on above the newest; more than
--max-behind and requests are refused with 503 until it is right.`

type idServeOptions struct {
	listen    string
	store     string
	name      string
	series    []string
	most      int
	maxBehind time.Duration
}

func newIDServe(a *app) *cobra.Command {
	var o idServeOptions
	cmd := &cobra.Command{
		Use:   "serve --store STORE [flags]",
		Short: "serve ids over HTTP",
		Long:  idServeHelp,
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), a) },
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:7070", "address and port; port 0 takes a free one")
	f.StringVar(&o.store, "store", "", storeUsage+"; any number of services may share it")
	f.StringVar(&o.name, "name", "default", "mark of the ids in the store")
	f.StringSliceVar(&o.series, "series", nil, "series of short numbers that may be asked for (default: none)")
	f.IntVar(&o.most, "most", 1000, "most ids in one request")
	f.DurationVar(&o.maxBehind, "max-behind", time.Hour, "how far the clock may be behind the newest id")
	return cmd
}

func (o *idServeOptions) check() error {
	switch {
	case o.store == "":
		return usage(errors.New("--store is missing"), "name a file or a database: it remembers which ids were given out")
	case o.most < 1 || o.most > 100_000:
		return usage(fmt.Errorf("--most %d is not possible", o.most), "use 1 to 100000")
	}
	if _, _, err := net.SplitHostPort(o.listen); err != nil {
		return usage(fmt.Errorf("--listen %q: %w", o.listen, err), "use HOST:PORT, for example 127.0.0.1:7070")
	}
	return nil
}

func (o *idServeOptions) run(ctx context.Context, a *app) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	store, err := openIDFlag(ctx, a, o.store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.close()) }()
	ids, err := id.New(ctx, id.Config{Marks: store.SQL, Name: o.name, MaxBehind: o.maxBehind, OnBehind: tellBehind(a)})
	if err != nil {
		return err
	}
	handler := id.Handler(ids, id.ServiceConfig{Most: o.most, Series: o.series, Blocks: store.SQL, OnError: a.backgroundError})
	return serveHTTP(ctx, a, o.listen, handler)
}

// serveHTTP answers until ctx ends, and then finishes what was asked before.
func serveHTTP(ctx context.Context, a *app, address string, handler http.Handler) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return &failure{exitServer, err, "choose another --listen"}
	}
	if tcp, ok := listener.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		a.note("warning: %s can be reached from other machines, and this service asks nobody who he is", listener.Addr())
	}
	a.note("listening on http://%s", listener.Addr())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(finish); err != nil {
		return fmt.Errorf("after 10 s there were still requests: %w", errors.Join(err, server.Close()))
	}
	return errInterrupted
}
