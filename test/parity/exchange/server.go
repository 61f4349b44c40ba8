// SPDX-License-Identifier: Apache-2.0

// Package exchange sends the same requests to two servers and reads what they answer.
package exchange

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// User is who all requests are made as on both servers, so that what objects say of their author is the same.
const User = "parity"

// Server is one of the two.
type Server struct {
	Name   string
	url    string
	client *http.Client
}

// Dial makes a client of the server that the kubeconfig leads to, for its administrator.
func Dial(name, kubeconfig string) (*Server, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig of %s: %w", name, err)
	}
	config.Impersonate = rest.ImpersonationConfig{UserName: User, Groups: []string{"system:masters", "system:authenticated"}}
	config.Timeout = time.Minute
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("make a client of %s: %w", name, err)
	}
	return &Server{Name: name, url: strings.TrimSuffix(config.Host, "/"), client: client}, nil
}

// Request is one, without the server's address.
type Request struct {
	Method      string
	Path        string
	Query       url.Values
	ContentType string
	Accept      string
	Body        []byte
}

// String is the request's first line.
func (r Request) String() string {
	text := r.Method + " " + r.Path
	if len(r.Query) > 0 {
		text += "?" + r.Query.Encode()
	}
	return text
}

// Answer is what came back.
type Answer struct {
	Code     int // HTTP's; 0 where the server broke off
	Warnings []string
	Body     map[string]any // nil where it is no JSON object; what is streamed is in a list, items
	Text     string         // the body where Body is nil
}

// OK says that the request was granted.
func (a Answer) OK() bool { return a.Code >= 200 && a.Code < 300 }

// tries bounds how often a request is repeated that the server was too busy for.
const tries = 20

// Do sends the request. An error means that there was no answer: the comparison cannot go on.
func (s *Server) Do(ctx context.Context, r Request) (Answer, error) {
	for try := 1; ; try++ {
		answer, wait, err := s.once(ctx, r)
		if err != nil {
			return Answer{}, fmt.Errorf("%s: %s: %w", s.Name, r, err)
		}
		if wait == 0 || try == tries {
			return answer, nil
		}
		select {
		case <-ctx.Done():
			return Answer{}, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// once returns how long to wait before the request is to be repeated, 0 for not at all.
func (s *Server) once(ctx context.Context, r Request) (answer Answer, wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, s.url+r.Path, bytes.NewReader(r.Body))
	if err != nil {
		return Answer{}, 0, err
	}
	req.URL.RawQuery = r.Query.Encode()
	req.Header.Set("Accept", "application/json")
	if r.Accept != "" {
		req.Header.Set("Accept", r.Accept)
	}
	if r.ContentType != "" {
		req.Header.Set("Content-Type", r.ContentType)
	}
	req.Header.Set("User-Agent", "parity")
	resp, err := s.client.Do(req)
	if broken(err) {
		return Answer{Text: "the handler ended without an answer"}, 0, nil
	}
	if err != nil {
		return Answer{}, 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if broken(err) {
		return Answer{Text: "the handler ended amid its answer"}, 0, nil
	}
	if err != nil {
		return Answer{}, 0, err
	}
	answer = Answer{Code: resp.StatusCode}
	for _, w := range resp.Header.Values("Warning") {
		answer.Warnings = append(answer.Warnings, warningText(w))
	}
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || !strings.HasSuffix(kind, "json") || utiljson.Unmarshal(body, &answer.Body) != nil {
		if answer.Body = events(body); answer.Body == nil || err != nil {
			answer.Body, answer.Text = nil, string(body)
		}
	}
	if resp.StatusCode == http.StatusTooManyRequests && answer.Body["reason"] != "TooManyRequests" || resp.StatusCode == http.StatusTooManyRequests && r.Method != http.MethodPost {
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		wait = time.Duration(max(1, seconds)) * time.Second
	}
	return answer, wait, nil
}

// events reads a stream of JSON objects, a line each, as a watch answers; nil where that is no such stream. Of bookmarks it has the first, which
// says that all there was has been told: further ones come by the clock.
func events(body []byte) map[string]any {
	var items []any
	marked := false
	for line := range bytes.Lines(body) {
		var event map[string]any
		if utiljson.Unmarshal(line, &event) != nil {
			return nil
		}
		bookmark := event["type"] == "BOOKMARK"
		if bookmark && marked {
			continue
		}
		marked = marked || bookmark
		items = append(items, event)
	}
	if len(items) < 2 {
		return nil // one alone is no list
	}
	return map[string]any{"items": items}
}

// broken says that the server has reset the stream of this one request (RFC 9113, INTERNAL_ERROR), as API servers do when a handler
// panics. The connection and the server go on.
func broken(err error) bool { return err != nil && strings.Contains(err.Error(), "INTERNAL_ERROR") }

// warningText is the text of a Warning header (RFC 7234, section 5.5): 299 - "text".
func warningText(header string) string {
	_, text, ok := strings.Cut(header, `"`)
	if !ok {
		return header
	}
	text = strings.TrimSuffix(text, `"`)
	if unquoted, err := strconv.Unquote(`"` + text + `"`); err == nil {
		return unquoted
	}
	return text
}

// Pair is the two servers. Stock is the one that the other is measured by.
type Pair struct{ Stock, Hivemind *Server }

// Answers are those of both.
type Answers struct{ Stock, Hivemind Answer }

// Do sends each server its request, at the same time.
func (p Pair) Do(ctx context.Context, stock, hivemind Request) (Answers, error) {
	type result struct {
		answer Answer
		err    error
	}
	other := make(chan result, 1)
	go func() {
		a, err := p.Hivemind.Do(ctx, hivemind)
		other <- result{a, err}
	}()
	a, err := p.Stock.Do(ctx, stock)
	b := <-other
	if err == nil {
		err = b.err
	}
	return Answers{a, b.answer}, err
}

// Same sends both the same request.
func (p Pair) Same(ctx context.Context, r Request) (Answers, error) { return p.Do(ctx, r, r) }
