// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"io"
	"net/http"

	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"
)

// mostOfAnAnswer is how long the answer of an admission webhook may be, in bytes: a patch of the largest object, in base64, is half of it. The
// client of webhooks reads answers whole, whatever their size.
const mostOfAnAnswer = 16 << 20

// BoundAnswers keeps webhooks that are called by wrap's configurations from answering more than an admission review can be. Those of custom
// resources answer lists, which have no bound.
func BoundAnswers(wrap webhook.AuthenticationInfoResolverWrapper) webhook.AuthenticationInfoResolverWrapper {
	return func(inner webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
		return boundedAnswers{wrap(inner)}
	}
}

type boundedAnswers struct {
	inner webhook.AuthenticationInfoResolver
}

// ClientConfigFor implements webhook.AuthenticationInfoResolver.
func (b boundedAnswers) ClientConfigFor(hostPort string) (*rest.Config, error) {
	return bounded(b.inner.ClientConfigFor(hostPort))
}

// ClientConfigForService implements webhook.AuthenticationInfoResolver.
func (b boundedAnswers) ClientConfigForService(name, namespace string, port int) (*rest.Config, error) {
	return bounded(b.inner.ClientConfigForService(name, namespace, port))
}

func bounded(config *rest.Config, err error) (*rest.Config, error) {
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.Wrap(func(inner http.RoundTripper) http.RoundTripper { return boundedTransport{inner} })
	return config, nil
}

// boundedTransport has bodies of answers end with an error where they are too long.
type boundedTransport struct{ inner http.RoundTripper }

func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.inner.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if answer.ContentLength > mostOfAnAnswer {
		answer.Body.Close()
		return nil, errTooLong
	}
	answer.Body = &boundedBody{answer.Body, mostOfAnAnswer}
	return answer, nil
}

var errTooLong = fmt.Errorf("the webhook's answer is longer than %d bytes", mostOfAnAnswer)

type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(data []byte) (int, error) {
	n, err := b.ReadCloser.Read(data)
	if b.left -= int64(n); b.left < 0 {
		return n, errTooLong
	}
	return n, err
}
