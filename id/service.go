package id

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// ServiceConfig is the settings of a Handler. The zero value is safe.
type ServiceConfig struct {
	// Most is how many ids one request may ask for. Default: 1000.
	Most int
	// Series are the series of short numbers that may be asked for by name.
	// Names come from the configuration only: each is a row of the store.
	// Default: none.
	Series []string
	// Blocks is where the numbers come from. Required with Series. Default: none.
	Blocks Blocks
	// OnError is told why a request failed; the client is told less. Default: a
	// warning of slog.Default().
	OnError func(error)
}

// Handler serves ids over HTTP:
//
//	GET /next             one id
//	GET /next?n=10        ten, in order
//	GET /next?name=bills  a number of that series; with n, that many in a row
//
// The answer is text, one a line, or {"ids": […]} for Accept:
// application/json. Numbers are text in JSON too: they may be larger than a
// JSON reader keeps. POST does the same. Errors are 400 (n), 404 (name), 405, and
// 503 when the clock is behind or the store fails: nothing was given out, ask
// again. An answer that was lost is a gap.
func Handler(ids *Generator, config ServiceConfig) http.Handler {
	if config.Most == 0 {
		config.Most = 1000
	}
	if config.OnError == nil {
		config.OnError = func(err error) { slog.Warn("id: request failed", "error", err) }
	}
	s := &service{ids: ids, config: config, series: make(map[string]bool)}
	for _, name := range config.Series {
		s.series[name] = true
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /next", s.next)
	mux.HandleFunc("POST /next", s.next)
	return mux
}

type service struct {
	ids    *Generator
	config ServiceConfig
	series map[string]bool
}

func (s *service) next(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store") // a cache would give an id out twice
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodHead { // a GET without its body would burn ids
		w.Header().Set("Allow", "GET, POST")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	n := 1
	if text := r.URL.Query().Get("n"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > s.config.Most {
			http.Error(w, fmt.Sprintf("n must be 1 to %d", s.config.Most), http.StatusBadRequest)
			return
		}
	}
	name := r.URL.Query().Get("name")
	if name != "" && !s.series[name] {
		http.Error(w, "there is no series of that name", http.StatusNotFound)
		return
	}
	texts, err := s.take(r.Context(), name, n)
	if err != nil {
		s.config.OnError(err)
		text := "the store failed; nothing was given out, ask again"
		if errors.Is(err, ErrBehind) {
			text = "the clock is too far behind; nothing was given out"
		}
		http.Error(w, text, http.StatusServiceUnavailable)
		return
	}
	s.answer(w, r, texts)
}

func (s *service) take(ctx context.Context, name string, n int) ([]string, error) {
	texts := make([]string, n)
	if name != "" {
		first, err := s.config.Blocks.Next(ctx, name, int64(n))
		for i := range texts {
			texts[i] = strconv.FormatInt(first+int64(i), 10)
		}
		return texts, err
	}
	ids, err := s.ids.Take(ctx, n)
	for i, id := range ids {
		texts[i] = id.String()
	}
	return texts, err
}

func (s *service) answer(w http.ResponseWriter, r *http.Request, texts []string) {
	body, kind := []byte(strings.Join(texts, "\n")+"\n"), "text/plain; charset=utf-8"
	if wantsJSON(r.Header.Get("Accept")) {
		var err error
		if body, err = json.Marshal(map[string][]string{"ids": texts}); err != nil {
			s.config.OnError(err)
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		body, kind = append(body, '\n'), "application/json"
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(body) // a client that has gone leaves a gap
}

// wantsJSON: the first of the two kinds that Accept names.
func wantsJSON(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		switch kind, _, err := mime.ParseMediaType(strings.TrimSpace(part)); {
		case err != nil:
		case kind == "application/json":
			return true
		case kind == "text/plain":
			return false
		}
	}
	return false
}
