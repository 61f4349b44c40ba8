// SPDX-License-Identifier: Apache-2.0

// Package server is the node's HTTPS API, the kubelet's on port 10250: what the API server calls for logs, exec, attach
// and port-forward, and what metrics collectors read.
//
// Every request but a health check from loopback is authenticated (client certificate of the cluster's CA, or a bearer
// token by TokenReview) and authorized as access to this node's subresources (SubjectAccessReview, remembered for a
// while). Streams are not served here: they are passed on, byte by byte, to the runtime's own streaming server on
// loopback. At rest it costs its listeners.
package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	cri "k8s.io/cri-api/pkg/apis"
	"k8s.io/cri-client/pkg/logs"
	"k8s.io/klog/v2"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Pods are what this node runs. Their status should be the newest that the agent knows.
type Pods interface {
	GetPods() []*v1.Pod
	GetPodByName(namespace, name string) (*v1.Pod, bool)
}

// Stats tell what the node and its pods use.
type Stats interface {
	Summary(ctx context.Context) (*stats.Summary, error)
}

// InProcess is a runtime in this process that has neither log files nor a streaming server of its own; simulated.Runtime is one.
type InProcess interface {
	// ReadLogs writes a container's log, and follows it if asked to, until the container or ctx ends.
	ReadLogs(ctx context.Context, id string, opts logs.LogOptions, stdout, stderr io.Writer) error
	// ExecInContainer runs a command to its end. An error that is a utilexec.ExitError has the exit code.
	ExecInContainer(ctx context.Context, id string, command []string, stdin io.Reader, stdout, stderr io.Writer, tty bool) error
	// AttachToContainer connects to the streams of a container, until it or ctx ends.
	AttachToContainer(ctx context.Context, id string, stdin io.Reader, stdout, stderr io.Writer, tty bool) error
}

// Options are what a server needs. Those that may be nil say so.
type Options struct {
	NodeName  string
	Addresses []string // host:port to listen on
	// Certificate returns the one to serve with; it may change.
	Certificate func() (*tls.Certificate, error)
	ClientCAs   *x509.CertPool
	// Client asks the API server who a token is and what a user may: rights on tokenreviews and subjectaccessreviews.
	Client  kubernetes.Interface
	Pods    Pods
	Runtime cri.RuntimeService // which may be InProcess
	Stats   Stats
	// Healthy returns an error when the agent is stuck; may be nil.
	Healthy func() error
	// Metrics serves /metrics, the process's own; may be nil.
	Metrics http.Handler
	// LogDir is served below /logs/; not served if empty.
	LogDir string
	// Config is what /configz shows under "kubeletconfig"; may be nil.
	Config any
}

// Server serves until Stop.
type Server struct {
	Options
	auth *gate
	http *http.Server

	mu        sync.Mutex
	listeners []net.Listener
	done      sync.WaitGroup
	cancel    context.CancelFunc
}

// New returns a server that does not listen yet.
func New(o Options) *Server {
	s := &Server{Options: o, auth: newGate(o.NodeName, o.Client)}
	noise := klog.NewStandardLogger("INFO")
	noise.SetOutput(io.Discard) // failed handshakes of port scanners are no news
	s.http = &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       4 * time.Minute,
		ErrorLog:          noise,
		TLSConfig:         TLSConfig(o.Certificate, o.ClientCAs),
	}
	return s
}

// TLSConfig is what the API is served with: a client may show a certificate, or a token later on.
func TLSConfig(certificate func() (*tls.Certificate, error), clients *x509.CertPool) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		ClientAuth:     tls.VerifyClientCertIfGiven,
		ClientCAs:      clients,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate() },
	}
}

// Start listens on every address and serves. The context bounds the start alone.
func (s *Server) Start(ctx context.Context) error {
	var opened []net.Listener
	for _, addr := range s.Addresses {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
		if err != nil {
			for _, o := range opened {
				err = errors.Join(err, o.Close())
			}
			return fmt.Errorf("serve the kubelet's API: %w", err)
		}
		opened = append(opened, l)
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.http.BaseContext = func(net.Listener) context.Context { return life }
	s.mu.Lock()
	s.listeners, s.cancel = opened, cancel
	s.mu.Unlock()
	log := klog.FromContext(ctx)
	for _, l := range opened {
		s.done.Add(1)
		go func() {
			defer s.done.Done()
			if err := s.http.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
				log.Error(err, "The kubelet's API ended", "address", l.Addr())
			}
		}()
	}
	return nil
}

// Addrs are the addresses that are listened on.
func (s *Server) Addrs() []net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []net.Addr
	for _, l := range s.listeners {
		out = append(out, l.Addr())
	}
	return out
}

// Stop ends all requests: followed logs and streams would never end by themselves.
func (s *Server) Stop(context.Context) error {
	s.mu.Lock()
	cancel := s.cancel
	s.cancel = nil
	s.mu.Unlock()
	if cancel == nil {
		return nil
	}
	cancel()
	err := s.http.Close()
	s.done.Wait()
	if err != nil {
		return fmt.Errorf("stop the kubelet's API: %w", err)
	}
	return nil
}

// Handler is the API with its gate, for tests and for servers within the process.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /healthz/{check}", s.health)
	mux.HandleFunc("GET /pods", s.pods)
	mux.HandleFunc("GET /runningpods/", s.runningPods)
	mux.HandleFunc("GET /configz", s.configz)
	mux.HandleFunc("GET /stats/summary", s.summary)
	mux.HandleFunc("GET /metrics/resource", s.resourceMetrics)
	mux.HandleFunc("GET /metrics/cadvisor", s.containerMetrics)
	mux.HandleFunc("GET /metrics/probes", func(http.ResponseWriter, *http.Request) {})
	if s.Metrics != nil {
		mux.Handle("GET /metrics", s.Metrics)
	}
	if s.LogDir != "" {
		mux.Handle("GET /logs/", http.StripPrefix("/logs/", http.FileServer(http.Dir(s.LogDir))))
	}
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", s.containerLogs)
	for path, handler := range map[string]http.HandlerFunc{"exec": s.exec, "attach": s.attach} {
		mux.HandleFunc("/"+path+"/{namespace}/{pod}/{container}", handler)
		mux.HandleFunc("/"+path+"/{namespace}/{pod}/{uid}/{container}", handler)
	}
	mux.HandleFunc("/portForward/{namespace}/{pod}", s.portForward)
	mux.HandleFunc("/portForward/{namespace}/{pod}/{uid}", s.portForward)
	mux.HandleFunc("POST /run/{namespace}/{pod}/{container}", s.run)
	mux.HandleFunc("POST /run/{namespace}/{pod}/{uid}/{container}", s.run)
	return s.auth.guard(mux)
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	if s.Healthy != nil {
		if err := s.Healthy(); err != nil {
			http.Error(w, "[+]ping ok\n[-]syncloop failed: "+err.Error()+"\nhealthz check failed", http.StatusInternalServerError)
			return
		}
	}
	fmt.Fprint(w, "ok")
}

func (s *Server) configz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, map[string]any{"kubeletconfig": s.Config})
}

func writeJSON(w http.ResponseWriter, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// A client that went away needs no answer.
	_, _ = w.Write(data)
}
