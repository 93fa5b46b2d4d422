package pipeline

import (
	"strings"
	"testing"
)

const secretFile = `
name: shop
source: {embedded: {destination: orders}}
store: {$KIND: {dsn: '$DSN'}}
effect: {table: {name: orders, mode: insert, columns: {id: payload.id}}}
`

// TestPasswordsAreHidden: whatever prints a password of a DSN, in whatever form
// it stands there.
func TestPasswordsAreHidden(t *testing.T) {
	for _, c := range []struct{ kind, dsn, leak string }{
		{"postgres", "postgres://app:s3cr3t%40word@db:5432/shop", "s3cr3t@word"},
		{"postgres", "postgres://app:s3cr3t%40word@db:5432/shop", "s3cr3t%40word"},
		{"postgres", "postgresql://app@db/shop?sslmode=require&password=s3cr3tword", "s3cr3tword"},
		{"postgres", "host=db password=s3cr3tword dbname=shop", "s3cr3tword"},
		{"postgres", "host=db password = ''s3cr3t word'' dbname=shop", "s3cr3t word"},
		{"mysql", "app:s3cr3t/p@ss:word@tcp(db:3306)/shop?tls=true", "s3cr3t/p@ss:word"},
	} {
		text := strings.NewReplacer("$KIND", c.kind, "$DSN", c.dsn).Replace(secretFile)
		f, err := Parse("rollcall.yaml", []byte(text), testEnv())
		if err != nil {
			t.Errorf("%s: %v", c.dsn, err)
			continue
		}
		if got := f.Redactor().Text("it says " + c.leak + "!"); got != "it says ***!" {
			t.Errorf("%s: %s", c.dsn, got)
		}
		if got := f.Problem("store."+c.kind+".dsn", "", "it says %s!", c.leak).Error(); strings.Contains(got, "s3cr3t") || !strings.Contains(got, "dsn: ***") && !strings.Contains(got, "dsn: 'host=db password") {
			t.Errorf("%s:\n%s", c.dsn, got)
		}
	}
	env := Env{Lookup: func(string) (string, bool) { return "postgres://app:s3cr3tword@db/shop", true }}
	f, err := Parse("rollcall.yaml", []byte(strings.NewReplacer("$KIND", "postgres", "$DSN", "${URL}").Replace(secretFile)), env)
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{"for s3cr3tword": "for ***", "to postgres://app:s3cr3tword@db/shop": "to ${URL}"} {
		if got := f.Redactor().Text(in); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := f.Problem("store.postgres.dsn", "", "x").Error(); !strings.Contains(got, "dsn: '${URL}'") {
		t.Errorf("a reference is no secret:\n%s", got)
	}
}

// TestQuotedPasswordIsHidden: a quote in the password is doubled in the file.
func TestQuotedPasswordIsHidden(t *testing.T) {
	for _, dsn := range []string{`'postgres://app:hun''hunter2@h/x'`, `"postgres://app:hun\"hunter2@h/x"`} {
		_, err := Parse("rollcall.yaml", []byte("name: shop\nsource: {embedded: {destination: orders}}\nstore: {postgres: {dsn: "+dsn+", schema: 'A-'}}\n"+
			"effect: {table: {name: orders, mode: insert, columns: {id: payload.id}}}\n"), testEnv())
		if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), masked) {
			t.Errorf("%s:\n%v", dsn, err)
		}
	}
}

// TestRedisPasswordIsHidden: as that of a store.
func TestRedisPasswordIsHidden(t *testing.T) {
	const text = `
name: shop
source: {embedded: {destination: orders}}
store: {sqlite: {}}
effect: {redis: {addr: "r:6379", password: "s3cr3t word", set: {key: id, value: payload.x, number: payload.n}}}
`
	f, err := Parse("rollcall.yaml", []byte(text), testEnv())
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Redactor().Text("AUTH s3cr3t word"); got != "AUTH ***" {
		t.Error(got)
	}
	if got := f.Problem("effect[0].redis.addr", "", "x").Error(); strings.Contains(got, "s3cr3t") {
		t.Error(got)
	}
}

// TestMaskedColumn: the caret stands below what it stood below.
func TestMaskedColumn(t *testing.T) {
	for _, c := range []struct{ line, at, want string }{
		{`store: {postgres: {dsn: "postgres://a:pässwörd@h/d", shema: x}}`, "shema", "shema"},
		{`store: {postgres: {dsn: "postgres://a:b@h/d"}}`, "postgres: {", "postgres: {"},
		{`store: {postgres: {dsn: "postgres://a:b@h/d"}}`, "a:b", "***"},
		{`  url: root:pässwörd@tcp(h)/d # that`, "# that", "# that"},
	} {
		column := len([]rune(c.line[:strings.Index(c.line, c.at)])) + 1
		text, at := maskLine(c.line, column)
		if !strings.HasPrefix(string([]rune(text)[at-1:]), c.want) || strings.Contains(text, "pässwörd") || !strings.Contains(text, masked) {
			t.Errorf("%s: column %d of %s, want %s", c.line, at, text, c.want)
		}
	}
}

// TestMaskedLines: what of a line is shown.
func TestMaskedLines(t *testing.T) {
	for line, want := range map[string]string{
		`secret: s3cr3t`:                              `secret: ***`,
		`sasl: {user: app, pasword: s3cr3t}`:          `sasl: {user: app, pasword: ***}`,
		`sasl: {user: app, passwd: s3cr3t}`:           `sasl: {user: app, passwd: ***}`,
		`sasl: {user: app, pwd: s3cr3t}`:              `sasl: {user: app, pwd: ***}`,
		`token: s3cr3t`:                               `token: ***`,
		`http: {url: "https://a/b", secret: "s3, 3"}`: `http: {url: "https://a/b", secret: ***}`,
		`secret: "${SECRET}"`:                         `secret: "${SECRET}"`,
		`secret: "${file:s}"`:                         `secret: "${file:s}"`,
		`secret: "${SECRET:-s3cr3t}"`:                 `secret: ***`,
		`headers: {Authorization: "Bearer s3cr3t"}`:   `headers: {Authorization: ***}`,
		`headers: {Authorization: "Bearer ${TOKEN}"}`: `headers: {Authorization: "Bearer ${TOKEN}"}`,
		`url: "https://app:s3cr3t@bank/pay"`:          `url: "https://***@bank/pay"`,
		`columns: {id: payload.id, secret_id: id}`:    `columns: {id: payload.id, secret_id: id}`,
	} {
		if got, _ := maskLine(line, 1); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
