// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/util/webhook"
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
	client := boundedClient(t, BoundAnswers, original)
	if original.WrapTransport != nil {
		t.Error("the configuration that others share has been changed")
	}
	lists := boundedClient(t, boundConversions, original)
	question := strings.Repeat("q", 1<<20)
	const ofAList = mostOfAnObject + mostGrowth<<20
	for _, tt := range []struct {
		client *http.Client
		query  string
		size   int
		long   bool
	}{
		{client, "", 0, false}, {client, "", mostOfAReview, false}, {client, "&said", mostOfAReview, false},
		{client, "", mostOfAReview + 1, true}, {client, "&said", mostOfAReview + 1, true},
		{lists, "", ofAList, false}, {lists, "&said", ofAList, false}, {lists, "", ofAList + 1, true}, {lists, "&said", ofAList + 1, true},
	} {
		var n int64
		answer, err := tt.client.Post(server.URL+"?bytes="+strconv.Itoa(tt.size)+tt.query, "text/plain", strings.NewReader(question))
		if err == nil {
			n, err = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
		if errors.As(err, &errTooLong{}) != tt.long || !tt.long && (err != nil || n != int64(tt.size)) {
			t.Errorf("%d bytes%s: read %d, %v", tt.size, tt.query, n, err)
		}
	}
}

// Large answers that are not read to their end hold up other large ones, until their question's time is up, and small ones never.
func TestLargeAnswersOfWebhooksWait(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Query().Get("bytes"))
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(make([]byte, n)) // who asked may have had enough
	}))
	defer server.Close()
	client := boundedClient(t, BoundAnswers, &rest.Config{Host: server.URL})
	ask := func(ctx context.Context, size int) *http.Response {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"?bytes="+strconv.Itoa(size), nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	for range answerBudget / mostOfAReview {
		slow := ask(t.Context(), 3*smallAnswer)
		if _, err := io.CopyN(io.Discard, slow.Body, 2*smallAnswer); err != nil {
			t.Fatal(err)
		}
		defer slow.Body.Close()
	}
	small := ask(t.Context(), smallAnswer)
	if n, err := io.Copy(io.Discard, small.Body); n != smallAnswer || err != nil {
		t.Errorf("a small answer: %d bytes, %v", n, err)
	}
	small.Body.Close()
	ctx, cancel := context.WithCancel(t.Context())
	large := ask(ctx, 2*smallAnswer)
	read := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, large.Body)
		read <- err
	}()
	cancel()
	if err := <-read; !errors.Is(err, context.Canceled) {
		t.Errorf("another large answer: %v", err)
	}
	large.Body.Close()
}

func boundedClient(t *testing.T, bound func(webhook.AuthenticationInfoResolverWrapper) webhook.AuthenticationInfoResolverWrapper, original *rest.Config) *http.Client {
	t.Helper()
	wrap := bound(func(webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver { return resolver{original} })
	config, err := wrap(nil).ClientConfigForService("hook", "default", 443)
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}
