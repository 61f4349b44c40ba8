// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Filler writes and reads ConfigMaps that are no part of the history: large ones, to fill a storage, and small ones, to see what the server answers. Requests
// that break are sent again; the others are answered within the time that the server grants a request, or it is an error.
type Filler struct{ c *connection }

// NewFiller returns a filler for a server.
func NewFiller(server *Server) *Filler { return &Filler{server.connect()} }

// Refused is how the server refuses a request: HTTP code, reason and message of its Status.
type Refused struct {
	Code            int32
	Reason, Message string
}

func (r *Refused) Error() string { return fmt.Sprintf("%d %q: %s", r.Code, r.Reason, r.Message) }

// requestWithin is the longest that a server may take for a request, and a bit.
const requestWithin = 65 * time.Second

func (f *Filler) do(ctx context.Context, method, name string, body any) error {
	const path = "/api/v1/namespaces/default/configmaps"
	target := path
	if name != "" {
		target += "/" + name
	}
	began := time.Now()
	err := f.c.do(ctx, method, target, nil, "application/json", body, nil)
	var status *statusError
	switch took := time.Since(began); {
	case took > requestWithin:
		return fmt.Errorf("%s %s was answered after %s: %w", method, target, took.Round(time.Second), err)
	case errors.As(err, &status):
		return &Refused{status.Code, string(status.Reason), status.Message}
	}
	return err
}

func object(name string, size int, note string) map[string]any {
	metadata := map[string]any{"name": name, "namespace": "default", "annotations": map[string]any{noteKey: note}}
	return map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": map[string]any{"k": strings.Repeat("x", size)}}
}

// Create creates an object of about size bytes.
func (f *Filler) Create(ctx context.Context, name string, size int) error {
	return f.do(ctx, http.MethodPost, "", object(name, size, ""))
}

// Update stores an object of about size bytes anew, with a note that differs.
func (f *Filler) Update(ctx context.Context, name string, size int, note string) error {
	return f.do(ctx, http.MethodPut, name, object(name, size, note))
}

// Delete deletes an object.
func (f *Filler) Delete(ctx context.Context, name string) error {
	return f.do(ctx, http.MethodDelete, name, nil)
}

// Read reads an object.
func (f *Filler) Read(ctx context.Context, name string) error {
	return f.do(ctx, http.MethodGet, name, nil)
}

// WritesGoOn waits until an object can be created, and says how long that took.
func (f *Filler) WritesGoOn(ctx context.Context, name string, within time.Duration) (time.Duration, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		err := f.Create(ctx, name, 10)
		if err == nil {
			return time.Since(began), nil
		}
		idle(ctx.Done(), awayFor)
		if ctx.Err() != nil {
			return 0, fmt.Errorf("writes do not go on within %s: %w", within, err)
		}
	}
}
