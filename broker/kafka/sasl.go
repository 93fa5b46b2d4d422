package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// SASL is who we are to the broker.
type SASL struct {
	// Mechanism: PLAIN (only over TLS), SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER.
	// Default: none.
	Mechanism string
	// User and Password, of all but OAUTHBEARER. They never appear in errors.
	User, Password string
	// Token gives a fresh token of OAUTHBEARER for each connection, so that one that
	// ran out is replaced.
	Token func(ctx context.Context) (string, error)
}

// String keeps the password out of what is printed.
func (s SASL) String() string { return s.Mechanism + " as " + s.User }

// GoString does too.
func (s SASL) GoString() string { return s.String() }

func (s SASL) mechanism(encrypted bool) (sasl.Mechanism, error) {
	switch s.Mechanism {
	case "":
		if s.User != "" || s.Token != nil {
			return nil, configError("SASL.Mechanism", `""`, "a user is given: say PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER")
		}
		return nil, nil
	case "PLAIN":
		if !encrypted {
			return nil, configError("SASL.Mechanism", "PLAIN", "it sends the password as it is: set TLS too, or use SCRAM-SHA-512")
		}
		return plain.Auth{User: s.User, Pass: s.Password}.AsMechanism(), nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: s.User, Pass: s.Password}.AsSha256Mechanism(), nil
	case "SCRAM-SHA-512":
		return scram.Auth{User: s.User, Pass: s.Password}.AsSha512Mechanism(), nil
	case "OAUTHBEARER":
		if s.Token == nil {
			return nil, configError("SASL.Token", "none", "OAUTHBEARER needs a function that gives a token")
		}
		return oauth.Oauth(func(ctx context.Context) (oauth.Auth, error) {
			token, err := s.Token(ctx)
			return oauth.Auth{Token: token}, err
		}), nil
	}
	return nil, configError("SASL.Mechanism", s.Mechanism, "use PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER")
}
