//go:build linux

package servers

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"testing"
	"time"
)

// issuer signs tokens as an identity server does: JSON Web Tokens, RS256.
type issuer struct {
	key *rsa.PrivateKey
}

// audience is whom the tokens are for.
const audience = "rollcall-kafka"

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{key}
}

// keys is the document by which a broker checks signatures, a JSON Web Key Set.
func (i *issuer) keys(t testing.TB) []byte {
	t.Helper()
	return encoded(t, map[string]any{"keys": []any{map[string]string{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "test",
		"n": segment(i.key.N.Bytes()), "e": segment(big.NewInt(int64(i.key.E)).Bytes()),
	}}})
}

// token says who the user is, until then.
func (i *issuer) token(t testing.TB, user string, until time.Time) string {
	t.Helper()
	signed := segment(encoded(t, map[string]string{"alg": "RS256", "typ": "JWT", "kid": "test"})) + "." +
		segment(encoded(t, map[string]any{
			"sub": user, "aud": audience, "scope": "kafka", "iat": until.Add(-time.Hour).Unix(), "exp": until.Unix(),
		}))
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + segment(signature)
}

func encoded(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func segment(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
