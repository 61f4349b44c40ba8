// SPDX-License-Identifier: Apache-2.0

// Package registry is an image registry in the test's own process, for containerd to pull from by plain HTTP, with or without a password.
// Images are kept in memory, unless BlobsIn says where else. It remembers who asked for which manifest.
package registry

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Pull is a request for a manifest (GET, or HEAD where the node has its content already) that was answered.
type Pull struct {
	Repository string
	Reference  string // tag or digest
	User       string // "" where nobody logged in
}

// Registry serves images until Close.
type Registry struct {
	addr     string
	user     string
	password string
	server   *http.Server

	mu    sync.Mutex
	pulls []Pull
}

// Start listens on an address such as 127.0.0.1:0. With a user, all requests need that name and password.
func Start(listen, user, password string, options ...registry.Option) (*Registry, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("start registry: %w", err)
	}
	r := &Registry{addr: l.Addr().String(), user: user, password: password}
	options = append(options, registry.Logger(log.New(io.Discard, "", 0)))
	r.server = &http.Server{Handler: r.guard(registry.New(options...)), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := r.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Printf("registry %s: %v", r.addr, err)
		}
	}()
	return r, nil
}

// Addr is host:port.
func (r *Registry) Addr() string { return r.addr }

// Close ends it.
func (r *Registry) Close() error { return r.server.Close() }

// Push puts an image in under a name such as registry.example/redis:7; the host is not looked at.
func (r *Registry) Push(ctx context.Context, as string, image v1.Image) error {
	_, path, _ := strings.Cut(as, "/")
	ref, err := name.ParseReference(r.addr+"/"+path, name.Insecure)
	if err != nil {
		return fmt.Errorf("push %s: %w", as, err)
	}
	auth := authn.Anonymous
	if r.user != "" {
		auth = authn.FromConfig(authn.AuthConfig{Username: r.user, Password: r.password})
	}
	if err := remote.Write(ref, image, remote.WithContext(ctx), remote.WithAuth(auth)); err != nil {
		return fmt.Errorf("push %s to %s: %w", as, r.addr, err)
	}
	return nil
}

// Pulls are the manifests that were fetched so far.
func (r *Registry) Pulls() []Pull {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.pulls)
}

// MirrorFor tells the containerd of a cluster to look here for images of host. It needs no restart: containerd reads
// the file with every pull.
func (r *Registry) MirrorFor(dataDir, host string) error {
	dir := filepath.Join(dataDir, "containerd", "certs.d", host)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("mirror %s: %w", host, err)
	}
	text := fmt.Sprintf("server = \"http://%s\"\n\n[host.\"http://%s\"]\ncapabilities = [\"pull\", \"resolve\"]\n", r.addr, r.addr)
	if err := os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(text), 0o644); err != nil {
		return fmt.Errorf("mirror %s: %w", host, err)
	}
	return nil
}

// guard asks for the password and takes note of pulls.
func (r *Registry) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		user, password, _ := q.BasicAuth()
		if r.user != "" && (user != r.user || subtle.ConstantTimeCompare([]byte(password), []byte(r.password)) != 1) {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
			return
		}
		answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(answer, q)
		repository, reference, isManifest := strings.Cut(strings.TrimPrefix(q.URL.Path, "/v2/"), "/manifests/")
		if (q.Method == http.MethodGet || q.Method == http.MethodHead) && isManifest && answer.status == http.StatusOK {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.pulls = append(r.pulls, Pull{repository, reference, user})
		}
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}
