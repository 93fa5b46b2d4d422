package postgres

import (
	"context"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// wireError is the error of a connection to our server, as told from those of a
// handler's own calls elsewhere.
type wireError struct{ error }

func (e *wireError) Unwrap() error { return e.error }

// wireConn marks the errors of a connection. Above TLS: the end of a session
// there is none of the connection below.
type wireConn struct{ net.Conn }

// Read implements net.Conn.
func (c wireConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		err = &wireError{err}
	}
	return n, err
}

// Write implements net.Conn.
func (c wireConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil {
		err = &wireError{err}
	}
	return n, err
}

func mark(_ context.Context, _ *pgconn.Config, c net.Conn) (net.Conn, error) { return wireConn{c}, nil }
