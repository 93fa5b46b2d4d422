package postgres_test

import (
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/rollcall-mq/rollcall/store/postgres"
)

// oldServer speaks just so much of the protocol that it says its version. number
// is its server_version_num; "" is one that does not know our settings.
func oldServer(t *testing.T, version, number string) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveOld(c, version, number)
		}
	}()
	return "postgres://postgres@" + l.Addr().String() + "/postgres?sslmode=disable"
}

func serveOld(c net.Conn, version, number string) {
	defer func() { _ = c.Close() }()
	b := pgproto3.NewBackend(c, c)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return
	}
	if number == "" {
		b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "42704",
			Message: `unrecognized configuration parameter "idle_in_transaction_session_timeout"`})
		_ = b.Flush()
		return
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.ParameterStatus{Name: "server_version", Value: version})
	b.Send(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{0, 0, 0, 1}})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for b.Flush() == nil {
		m, err := b.Receive()
		if err != nil {
			return
		}
		switch m.(type) {
		case *pgproto3.Parse:
			b.Send(&pgproto3.ParseComplete{})
		case *pgproto3.Bind:
			b.Send(&pgproto3.BindComplete{})
		case *pgproto3.Describe:
			var fields []pgproto3.FieldDescription
			for _, oid := range []uint32{25, 25, 25, 25, 25, 16} {
				fields = append(fields, pgproto3.FieldDescription{Name: []byte("c"), DataTypeOID: oid})
			}
			b.Send(&pgproto3.RowDescription{Fields: fields})
		case *pgproto3.Execute:
			b.Send(&pgproto3.DataRow{Values: [][]byte{[]byte(version), []byte(number), []byte("on"), []byte("on"), []byte("on"), []byte("f")}})
			b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
		case *pgproto3.Sync:
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		}
	}
}

// TestOldServer: a server that is too old is refused by its name, with the least
// version.
func TestOldServer(t *testing.T) {
	for version, number := range map[string]string{"9.6.24": "90624", "11.22": "110022", "13.18": "130018"} {
		t.Run(version, func(t *testing.T) {
			wantRefused(t, oldServer(t, version, number), postgres.Config{}, "the server is PostgreSQL "+version, "14 or newer is needed", "nothing was changed")
		})
	}
	t.Run("9.5", func(t *testing.T) {
		wantRefused(t, oldServer(t, "9.5", ""), postgres.Config{}, "14 or newer is needed", "idle_in_transaction_session_timeout")
	})
}
