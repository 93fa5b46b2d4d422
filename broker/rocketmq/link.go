package rocketmq

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// link is a connection to one proxy, or to one of several that are alike.
type link struct {
	name      string // for people: its addresses
	endpoints *v2.Endpoints
	conn      *grpc.ClientConn
	stub      v2.MessagingServiceClient
	trouble   atomic.Pointer[error] // of the last handshake
}

// connects is how soon a connection that broke is tried again. The default of gRPC is up
// to two minutes.
var connects = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
	MinConnectTimeout: 5 * time.Second,
}

// most bytes of one answer: 32 messages of the largest kind do not come in one.
const answerBytes = 64 << 20

// connect makes a link; nothing is dialled before the first call.
func (c Config) connect(endpoints *v2.Endpoints) (*link, error) {
	l := &link{endpoints: endpoints}
	var addresses []resolver.Address
	var names []string
	for _, a := range endpoints.GetAddresses() {
		at := net.JoinHostPort(a.GetHost(), strconv.Itoa(int(a.GetPort())))
		name := a.GetHost()
		if c.TLS != nil && c.TLS.ServerName != "" {
			name = c.TLS.ServerName // else gRPC would not look at it
		}
		addresses = append(addresses, resolver.Address{Addr: at, ServerName: name})
		names = append(names, at)
	}
	l.name = strings.Join(names, ",")
	known := manual.NewBuilderWithScheme("rocketmq")
	known.InitialState(resolver.State{Addresses: addresses})
	var err error
	l.conn, err = grpc.NewClient("rocketmq:///proxy",
		grpc.WithResolvers(known),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return c.Dial(ctx, "tcp", address) }),
		grpc.WithTransportCredentials(c.credentials(l)),
		grpc.WithConnectParams(connects),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(), // a repeat is ours to decide
		grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(answerBytes), grpc.MaxCallSendMsgSize(answerBytes)),
	)
	if err != nil {
		return nil, err
	}
	l.stub = v2.NewMessagingServiceClient(l.conn)
	return l, nil
}

func (c Config) credentials(l *link) credentials.TransportCredentials {
	if c.Plaintext {
		return insecure.NewCredentials()
	}
	with := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS != nil {
		with = c.TLS.Clone()
	}
	return &handshake{credentials.NewTLS(with), l}
}

// handshake remembers why the last one failed: gRPC tells it as text only.
type handshake struct {
	credentials.TransportCredentials
	link *link
}

// ClientHandshake implements credentials.TransportCredentials.
func (h *handshake) ClientHandshake(ctx context.Context, name string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := h.TransportCredentials.ClientHandshake(ctx, name, raw)
	if err != nil {
		h.link.trouble.Store(&err)
	} else {
		h.link.trouble.Store(nil)
	}
	return conn, info, err
}

// Clone implements credentials.TransportCredentials.
func (h *handshake) Clone() credentials.TransportCredentials {
	return &handshake{h.TransportCredentials.Clone(), h.link}
}

// endpointsOf are the addresses as the protocol has them.
func endpointsOf(addresses []string) *v2.Endpoints {
	out := &v2.Endpoints{Scheme: v2.AddressScheme_IPv4}
	for _, a := range addresses {
		host, port, _ := hostPort(a) // checked by Open
		if ip := net.ParseIP(host); ip == nil {
			out.Scheme = v2.AddressScheme_DOMAIN_NAME
		} else if ip.To4() == nil {
			out.Scheme = v2.AddressScheme_IPv6
		}
		out.Addresses = append(out.Addresses, &v2.Address{Host: host, Port: port})
	}
	return out
}
