package kafka

import (
	"context"
	"errors"
	"fmt"

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
	// ran out is replaced. It has 30 s.
	Token func(ctx context.Context) (string, error)
}

// String keeps the password out of what is printed.
func (s SASL) String() string {
	if s.User == "" {
		return s.Mechanism
	}
	return s.Mechanism + " as " + s.User
}

// GoString does too.
func (s SASL) GoString() string { return s.String() }

func (s SASL) mechanism(encrypted bool) (sasl.Mechanism, error) {
	switch s.Mechanism {
	case "":
		if s.User != "" || s.Token != nil {
			return nil, configError("SASL.Mechanism", `""`, "a user is given: say PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER")
		}
		return nil, nil
	case "OAUTHBEARER":
		if s.Token == nil {
			return nil, configError("SASL.Token", "none", "OAUTHBEARER needs a function that gives a token")
		}
		return bearer{oauth.Oauth(s.token)}, nil
	case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
		return s.password(encrypted)
	}
	return nil, configError("SASL.Mechanism", s.Mechanism, "use PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER")
}

func (s SASL) password(encrypted bool) (sasl.Mechanism, error) {
	switch {
	case s.User == "":
		return nil, configError("SASL.User", `""`, s.Mechanism+" needs a name")
	case s.Password == "":
		return nil, configError("SASL.Password", `""`, s.Mechanism+" needs one: is it in the environment or file that it comes from?")
	}
	switch s.Mechanism {
	case "PLAIN":
		if !encrypted {
			return nil, configError("SASL.Mechanism", "PLAIN", "it sends the password as it is: set TLS too, or use SCRAM-SHA-512")
		}
		return plain.Auth{User: s.User, Pass: s.Password}.AsMechanism(), nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: s.User, Pass: s.Password}.AsSha256Mechanism(), nil
	}
	return scram.Auth{User: s.User, Pass: s.Password}.AsSha512Mechanism(), nil
}

// token asks for one, and says whose error it is.
func (s SASL) token(ctx context.Context) (oauth.Auth, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	token, err := s.Token(ctx)
	if err != nil {
		return oauth.Auth{}, fmt.Errorf("SASL.Token gave none: %w", err)
	}
	return oauth.Auth{Token: token}, nil
}

// errToken: the broker did not take the token.
var errToken = errors.New("the broker did not take the token")

// bearer is OAUTHBEARER whose refusals can be told from other errors.
type bearer struct{ sasl.Mechanism }

// Authenticate implements sasl.Mechanism.
func (b bearer) Authenticate(ctx context.Context, host string) (sasl.Session, []byte, error) {
	session, first, err := b.Mechanism.Authenticate(ctx, host)
	return bearerSession{session}, first, err
}

type bearerSession struct{ sasl.Session }

// Challenge implements sasl.Session: an answer that is not empty is a refusal, with the
// broker's reason in JSON.
func (s bearerSession) Challenge(answer []byte) (done bool, next []byte, err error) {
	if len(answer) > 0 {
		return false, nil, fmt.Errorf("%w: %.200s", errToken, answer)
	}
	return s.Session.Challenge(answer)
}
