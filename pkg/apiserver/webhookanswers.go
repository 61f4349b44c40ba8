// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"

	"golang.org/x/sync/semaphore"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"

	"github.com/hivemind-project/hivemind/pkg/room"
)

// The client of webhooks reads answers whole, whatever their size. How long they may be, in bytes:
const (
	// mostOfAReview is for admission: a patch of the largest object, in base64, is half of it.
	mostOfAReview = 16 << 20
	// mostOfAnObject is for the conversion of one object, which may have 3 MiB. Since lists are converted at once, mostGrowth times the length of the
	// question comes on top.
	mostOfAnObject = 4 << 20
	mostGrowth     = 8
	// smallAnswer is what is read without waiting. Larger ones share answerBudget while they are read, but for those to requests that have an account: they
	// wait for room until their request ends (pkg/room).
	smallAnswer  = 1 << 20
	answerBudget = 32 << 20
)

// BoundAnswers keeps webhooks that are called by wrap's configurations from answering more than they can have to say to a question about one object, be it in
// length or in what is made of it.
// Large answers wait for each other while they are read, for as long as the webhook may take.
func BoundAnswers(wrap webhook.AuthenticationInfoResolverWrapper) webhook.AuthenticationInfoResolverWrapper {
	return boundAnswers(wrap, mostOfAReview, 0)
}

// boundConversions does the same for questions about any number of objects.
func boundConversions(wrap webhook.AuthenticationInfoResolverWrapper) webhook.AuthenticationInfoResolverWrapper {
	return boundAnswers(wrap, mostOfAnObject, mostGrowth)
}

func boundAnswers(wrap webhook.AuthenticationInfoResolverWrapper, most, growth int64) webhook.AuthenticationInfoResolverWrapper {
	bound := bound{most, growth, semaphore.NewWeighted(answerBudget)}
	return func(inner webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
		return boundedAnswers{wrap(inner), bound}
	}
}

// bound is how much answers may be, each and together.
type bound struct {
	most, growth int64
	budget       *semaphore.Weighted
}

type boundedAnswers struct {
	inner webhook.AuthenticationInfoResolver
	bound bound
}

// ClientConfigFor implements webhook.AuthenticationInfoResolver.
func (b boundedAnswers) ClientConfigFor(hostPort string) (*rest.Config, error) {
	return b.bounded(b.inner.ClientConfigFor(hostPort))
}

// ClientConfigForService implements webhook.AuthenticationInfoResolver.
func (b boundedAnswers) ClientConfigForService(name, namespace string, port int) (*rest.Config, error) {
	return b.bounded(b.inner.ClientConfigForService(name, namespace, port))
}

func (b boundedAnswers) bounded(config *rest.Config, err error) (*rest.Config, error) {
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	// As the machinery does where the webhook is not on this machine: with HTTP/2 an answer comes, up to 4 MiB, before anybody reads it.
	config.NextProtos = []string{"http/1.1"}
	config.Wrap(func(inner http.RoundTripper) http.RoundTripper { return boundedTransport{inner, b.bound} })
	return config, nil
}

// boundedTransport has bodies of answers end with an error where they are too long.
type boundedTransport struct {
	inner http.RoundTripper
	bound bound
}

// RoundTrip implements http.RoundTripper.
func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.inner.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	most := t.bound.most + t.bound.growth*max(r.ContentLength, 0)
	if answer.ContentLength > most {
		answer.Body.Close()
		return nil, errTooLong{most}
	}
	body := &boundedBody{ReadCloser: answer.Body, ctx: r.Context(), most: most, budget: t.bound.budget}
	answer.Body = body
	account := room.AccountOf(r.Context())
	if account == nil {
		account = room.AccountAtWork()
	}
	if account != nil {
		body.accounted = true
		answer.Body = account.Text(body, room.JSON, answer.ContentLength)
	}
	examine := examineReview
	if t.bound.growth > 0 {
		examine = examineConversion(r.ContentLength)
	}
	answer.Body = &examinedBody{ReadCloser: answer.Body, examine: examine, length: answer.ContentLength}
	return answer, nil
}

// errTooLong says how long, in bytes, the answer might have been.
type errTooLong struct{ most int64 }

func (e errTooLong) Error() string {
	return fmt.Sprintf("the webhook's answer is longer than %d bytes", e.most)
}

type boundedBody struct {
	io.ReadCloser
	ctx    context.Context // of the question
	most   int64
	budget *semaphore.Weighted
	// accounted is an answer that waits as all of its request's texts do.
	accounted bool

	read int64
	held int64 // of budget
	free sync.Once
}

// Read implements io.Reader.
func (b *boundedBody) Read(data []byte) (int, error) {
	if b.read > smallAnswer && b.held == 0 && !b.accounted {
		weight := min(b.most, answerBudget)
		if err := b.budget.Acquire(b.ctx, weight); err != nil {
			return 0, err
		}
		b.held = weight
	}
	n, err := b.ReadCloser.Read(data)
	if b.read += int64(n); b.read > b.most {
		return n, errTooLong{b.most}
	}
	return n, err
}

// Close implements io.Closer.
func (b *boundedBody) Close() error {
	b.free.Do(func() { b.budget.Release(b.held) })
	return b.ReadCloser.Close()
}
