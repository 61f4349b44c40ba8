// SPDX-License-Identifier: Apache-2.0

// Command web is a guestbook: a page that shows what people have written and takes more, kept in redis. It is what the samples and the
// tests run, so it shows where each of its settings came from, and it ends as a good citizen does: on SIGTERM it is no
// longer ready, answers what has been asked, and leaves.
//
//	GUESTBOOK_TITLE     the heading (a ConfigMap, as environment)
//	GUESTBOOK_MOTD_FILE a file whose content is shown, read anew for every page (a ConfigMap, as volume)
//	REDIS_ADDR          host:port
//	REDIS_PASSWORD      a Secret
//	POD_NAME, NODE_NAME who answers (downward API)
//
// Paths: / (page), /messages (GET: JSON, POST: form value "message"), /info (JSON), /healthz, /readyz.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// key is the redis list that holds the messages.
const key = "guestbook"

type server struct {
	redis    *client
	title    string
	motdFile string
	layout   *template.Template
	info     info
	leaving  atomic.Bool
}

// info is what /info answers.
type info struct {
	Version string `json:"version"`
	Pod     string `json:"pod"`
	Node    string `json:"node"`
	Title   string `json:"title"`
	MOTD    string `json:"motd"`
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	s := &server{
		redis:    &client{addr: getenv("REDIS_ADDR", "redis:6379"), password: os.Getenv("REDIS_PASSWORD")},
		title:    getenv("GUESTBOOK_TITLE", "Guestbook"),
		motdFile: os.Getenv("GUESTBOOK_MOTD_FILE"),
		layout:   template.Must(template.New("page").Parse(layout)),
		info:     info{Version: getenv("GUESTBOOK_VERSION", "unknown"), Pod: os.Getenv("POD_NAME"), Node: os.Getenv("NODE_NAME")},
	}
	web := &http.Server{Addr: getenv("LISTEN", ":8080"), Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	failed := make(chan error, 1)
	go func() { failed <- web.ListenAndServe() }()
	log.Printf("guestbook %s listens on %s, redis at %s", s.info.Version, web.Addr, s.redis.addr)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	log.Print("asked to end")
	s.leaving.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := web.Shutdown(ctx); err != nil {
		return fmt.Errorf("end: %w", err)
	}
	log.Print("done")
	return nil
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /messages", s.list)
	mux.HandleFunc("POST /messages", s.add)
	mux.HandleFunc("GET /info", s.about)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	return mux
}

func (s *server) messages(ctx context.Context) ([]string, error) {
	reply, err := s.redis.do(ctx, "LRANGE", key, "0", "-1")
	if err != nil {
		return nil, err
	}
	list, ok := reply.([]string)
	if !ok {
		return nil, fmt.Errorf("redis answered %v", reply)
	}
	return list, nil
}

func (s *server) list(w http.ResponseWriter, r *http.Request) {
	messages, err := s.messages(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	writeJSON(w, messages)
}

func (s *server) add(w http.ResponseWriter, r *http.Request) {
	message := strings.TrimSpace(r.FormValue("message"))
	if message == "" {
		http.Error(w, "there is no message", http.StatusBadRequest)
		return
	}
	if _, err := s.redis.do(r.Context(), "RPUSH", key, message); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	log.Printf("message of %d bytes", len(message))
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

func (s *server) about(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.describe()) }

func (s *server) describe() info {
	d := s.info
	d.Title = s.title
	if s.motdFile != "" {
		if text, err := os.ReadFile(s.motdFile); err == nil {
			d.MOTD = strings.TrimSpace(string(text))
		}
	}
	return d
}

// ready says no while redis cannot be used, or once the program has been asked to end.
func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	err := errors.New("on its way out")
	if !s.leaving.Load() {
		_, err = s.redis.do(r.Context(), "PING")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

const layout = `<!doctype html>
<title>{{.Title}}</title>
<h1>{{.Title}}</h1>
<p>{{.MOTD}}</p>
<ul>{{range .Messages}}<li>{{.}}</li>{{end}}</ul>
<form method="post" action="/messages"><input name="message"><button>Write</button></form>
<small>version {{.Version}}, pod {{.Pod}} on {{.Node}}</small>
`

func (s *server) page(w http.ResponseWriter, r *http.Request) {
	messages, err := s.messages(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := s.layout.Execute(w, struct {
		info
		Messages []string
	}{s.describe(), messages}); err != nil {
		log.Print(err)
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		log.Print(err)
	}
}

func getenv(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
