// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"k8s.io/client-go/rest"
)

// resolver knows one configuration.
type resolver struct{ config *rest.Config }

func (r resolver) ClientConfigFor(string) (*rest.Config, error) { return r.config, nil }
func (r resolver) ClientConfigForService(string, string, int) (*rest.Config, error) {
	return r.config, nil
}

func TestAnswersOfWebhooksAreBounded(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Query().Get("bytes"))
		if err != nil {
			t.Error(err)
		}
		if r.URL.Query().Has("said") {
			w.Header().Set("Content-Length", strconv.Itoa(n))
		} else if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		for piece := make([]byte, 1<<20); n > 0; n -= len(piece) {
			if _, err := w.Write(piece[:min(n, len(piece))]); err != nil {
				return // the client has had enough
			}
		}
	}))
	defer server.Close()
	original := &rest.Config{Host: server.URL}
	config, err := boundedAnswers{resolver{original}}.ClientConfigForService("hook", "default", 443)
	if err != nil {
		t.Fatal(err)
	}
	if original.WrapTransport != nil {
		t.Error("the configuration that others share has been changed")
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	for _, tt := range []struct {
		query string
		size  int
		long  bool
	}{
		{"", 0, false}, {"", mostOfAnAnswer, false}, {"&said", mostOfAnAnswer, false}, {"", mostOfAnAnswer + 1, true}, {"&said", mostOfAnAnswer + 1, true},
	} {
		var n int64
		answer, err := client.Get(server.URL + "?bytes=" + strconv.Itoa(tt.size) + tt.query)
		if err == nil {
			n, err = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
		if errors.Is(err, errTooLong) != tt.long || !tt.long && (err != nil || n != int64(tt.size)) {
			t.Errorf("%d bytes%s: read %d, %v", tt.size, tt.query, n, err)
		}
	}
}
