// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	testingclock "k8s.io/utils/clock/testing"
)

func TestCertificatesAreVerifiedOnce(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	clock := testingclock.NewFakePassiveClock(start)
	verified := 0
	cache := newCertificateCache(authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		verified++
		certificate := r.TLS.PeerCertificates[0]
		if string(certificate.Raw) == "bad" {
			return nil, false, errors.New("bad")
		}
		return &authenticator.Response{User: &user.DefaultInfo{Name: string(certificate.Raw)}}, true, nil
	}))
	cache.clock = clock
	ask := func(name string, ends time.Time, more ...*x509.Certificate) (string, error) {
		chain := append([]*x509.Certificate{{Raw: []byte(name), NotAfter: ends}}, more...)
		answer, ok, err := cache.AuthenticateRequest(&http.Request{TLS: &tls.ConnectionState{PeerCertificates: chain}})
		if !ok {
			return "", err
		}
		return answer.User.GetName(), err
	}
	late, soon := start.Add(time.Hour), start.Add(time.Minute)
	for i, step := range []struct {
		after    time.Duration
		name     string
		ends     time.Time
		more     []*x509.Certificate
		verified int
	}{
		{0, "a", late, nil, 1},
		{0, "a", late, nil, 1},
		{0, "b", soon, nil, 2},
		{0, "bad", late, nil, 3},
		{0, "bad", late, nil, 4},                        // a refusal is not remembered
		{0, "a", late, []*x509.Certificate{{}}, 5},      // nor is anything that depends on more
		{2 * time.Minute, "a", late, nil, 5},            //
		{2 * time.Minute, "b", soon, nil, 6},            // it has ended
		{believeFor, "a", late, nil, 7},                 // verified anew
		{believeFor + time.Second, "a", late, nil, 7},   //
		{2*believeFor + time.Second, "a", late, nil, 8}, //
	} {
		clock.SetTime(start.Add(step.after))
		name, err := ask(step.name, step.ends, step.more...)
		if step.name == "bad" && err == nil || step.name != "bad" && name != step.name {
			t.Errorf("step %d: %q, %v", i, name, err)
		}
		if verified != step.verified {
			t.Errorf("step %d: verified %d times, want %d", i, verified, step.verified)
		}
	}
}
