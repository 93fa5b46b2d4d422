package pipeline

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Env is where ${VAR} and ${file:PATH} come from.
type Env struct {
	// Lookup finds a variable. Default: os.LookupEnv.
	Lookup func(name string) (string, bool)
	// ReadFile reads a file of ${file:PATH}. Default: from the disk, at most
	// 64 KiB, relative paths beside the pipeline file.
	ReadFile func(path string) ([]byte, error)
}

func (e Env) withDefaults(folder string) Env {
	if e.Lookup == nil {
		e.Lookup = os.LookupEnv
	}
	if e.ReadFile == nil {
		e.ReadFile = func(path string) ([]byte, error) {
			if !filepath.IsAbs(path) {
				path = filepath.Join(folder, path)
			}
			return readMost(path, 64<<10)
		}
	}
	return e
}

// errTooBig: the file is larger than what is read of it.
var errTooBig = errors.New("it is too large")

// readMost reads a file of at most so many bytes.
func readMost(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		return nil, fmt.Errorf("%s: %w: more than %d bytes", path, errTooBig, most)
	}
	return data, err
}

// expand replaces ${VAR}, ${VAR:-default} and ${file:PATH} in a scalar that
// was parsed. $${ is a plain ${. What came in is never looked at again.
func expand(s string, env Env, seen *Redactor) (string, error) {
	var out strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			out.WriteString(s)
			return out.String(), nil
		}
		if i > 0 && s[i-1] == '$' {
			out.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		end := strings.IndexByte(s[i:], '}')
		if end < 0 {
			return "", errors.New("${ is not closed with }; close it, or write $${ for a plain ${")
		}
		reference := s[i : i+end+1]
		value, err := resolve(reference[2:end], env)
		if err != nil {
			return "", err
		}
		seen.add(value, reference)
		out.WriteString(s[:i] + value)
		s = s[i+end+1:]
	}
}

func resolve(name string, env Env) (string, error) {
	if path, ok := strings.CutPrefix(name, "file:"); ok {
		return resolveFile(path, env)
	}
	name, fallback, hasFallback := strings.Cut(name, ":-")
	if !variable(name) {
		return "", fmt.Errorf("${%s} is no reference; write ${VAR}, ${VAR:-default} or ${file:PATH}, or $${ for a plain ${", name)
	}
	if v, ok := env.Lookup(name); ok && (v != "" || !hasFallback) {
		return v, nil
	}
	if !hasFallback {
		return "", fmt.Errorf("variable %s is not set; set it, or write ${%s:-default}", name, name)
	}
	return fallback, nil
}

func resolveFile(path string, env Env) (string, error) {
	data, err := env.ReadFile(path)
	switch {
	case err != nil:
		return "", fmt.Errorf("${file:%s}: %w; name a file that can be read", path, err)
	case !utf8.Valid(data) || strings.IndexByte(string(data), 0) >= 0:
		return "", fmt.Errorf("${file:%s}: the file holds no text; name a text file", path)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}

func variable(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !(c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' || i > 0 && c >= '0' && c <= '9') {
			return false
		}
	}
	return name != ""
}

// Redactor keeps what came from variables and files out of all that is
// printed: the reference stands there instead. A nil Redactor changes nothing.
type Redactor struct{ values map[string]string }

// shortest is the length below which a value is no secret but a word that
// stands everywhere.
const shortest = 4

func (r *Redactor) add(value, reference string) {
	if name, _, ok := strings.Cut(reference, ":-"); ok {
		if strings.TrimSuffix(reference[len(name)+2:], "}") == value {
			return // the default stands in the file anyway
		}
		reference = name + "}"
	}
	if len(value) >= shortest {
		r.values[value] = reference
		quoted := strconv.Quote(value) // as %q prints it
		r.values[quoted[1:len(quoted)-1]] = reference
	}
}

// Text is s without the values.
func (r *Redactor) Text(s string) string {
	if r == nil || len(r.values) == 0 {
		return s
	}
	values := make([]string, 0, len(r.values))
	for v := range r.values {
		values = append(values, v)
	}
	sort.Slice(values, func(i, j int) bool { return len(values[i]) > len(values[j]) })
	pairs := make([]string, 0, 2*len(values))
	for _, v := range values {
		pairs = append(pairs, v, r.values[v])
	}
	return strings.NewReplacer(pairs...).Replace(s)
}
