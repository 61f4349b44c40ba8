// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// within bounds a request: longer than any server may take, which is a minute.
const within = 75 * time.Second

// Server is how requests reach the server, over connections of their own for each client.
type Server struct {
	url string
	tls *tls.Config
}

// NewServer reads a kubeconfig.
func NewServer(kubeconfig string) (*Server, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	trust, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, err
	}
	return &Server{strings.TrimSuffix(config.Host, "/"), trust}, nil
}

// connection is one client's way to the server.
type connection struct {
	server *Server
	http   *http.Client
}

// connect returns a connection of its own; requests that wait do not hold up those of others.
func (s *Server) connect() *connection {
	return &connection{s, &http.Client{Transport: &http.Transport{TLSClientConfig: s.tls.Clone(), ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 1}}}
}

func (c *connection) close() { c.http.CloseIdleConnections() }

// errAway is of a request that the server has not received: nothing listened.
var errAway = errors.New("the server is away")

// broken is of a request whose answer did not arrive.
type broken struct{ error }

// statusError is an answer that is not a success.
type statusError struct{ metav1.Status }

func (e *statusError) Error() string {
	return fmt.Sprintf("%d %s: %s", e.Code, e.Reason, e.Message)
}

// open sends a request and returns its answer, of which the caller reads the body. Its errors are errAway, broken and statusError.
func (c *connection) open(ctx context.Context, method, path string, query url.Values, contentType string, body any) (*http.Response, error) {
	var payload io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(data)
	}
	target := c.server.url + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, target, payload)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := c.http.Do(request)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, errAway
	case err != nil:
		return nil, broken{err}
	case response.StatusCode < 300:
		return response, nil
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, broken{err}
	}
	refused := &statusError{}
	if json.Unmarshal(data, &refused.Status) != nil || refused.Status.Status != metav1.StatusFailure {
		refused.Status = metav1.Status{Code: int32(response.StatusCode), Message: string(data)}
	}
	return nil, refused
}

// do sends a request and decodes what is answered into out, which may be nil.
func (c *connection) do(ctx context.Context, method, path string, query url.Values, contentType string, body, out any) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	response, err := c.open(ctx, method, path, query, contentType, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return broken{err}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%s %s: the answer is no %T: %w", method, path, out, err)
	}
	return nil
}

// Ready is nil once the server says that it is ready.
func (s *Server) Ready(ctx context.Context) error {
	c := s.connect()
	defer c.close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	response, err := c.open(ctx, http.MethodGet, "/readyz", nil, "", nil)
	if err != nil {
		return err
	}
	return response.Body.Close()
}
