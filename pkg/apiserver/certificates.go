// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"crypto/sha256"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
)

// A client certificate that was verified is believed for believeFor before it is verified again, or until it ends. To verify one
// costs more CPU time than to answer a get.
const (
	believeFor           = 10 * time.Minute
	believedCertificates = 4096
)

// certificateCache remembers whom client certificates speak for. Certificates cannot be revoked, and authorities do not change while
// the process runs, so what was true of a certificate stays true until it ends.
type certificateCache struct {
	verify   authenticator.Request
	believed *lru.Cache // by the digest of the certificate
	clock    clock.PassiveClock
}

type believed struct {
	response *authenticator.Response
	until    time.Time
}

func newCertificateCache(verify authenticator.Request) *certificateCache {
	return &certificateCache{verify: verify, believed: lru.New(believedCertificates), clock: clock.RealClock{}}
}

// AuthenticateRequest implements authenticator.Request.
func (c *certificateCache) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	// A chain says more than its first certificate.
	if r.TLS == nil || len(r.TLS.PeerCertificates) != 1 {
		return c.verify.AuthenticateRequest(r)
	}
	certificate, now := r.TLS.PeerCertificates[0], c.clock.Now()
	digest := sha256.Sum256(certificate.Raw)
	if known, ok := c.believed.Get(digest); ok && now.Before(known.(believed).until) {
		return copyOf(known.(believed).response), true, nil
	}
	response, ok, err := c.verify.AuthenticateRequest(r)
	if err != nil || !ok {
		return response, ok, err
	}
	until := now.Add(believeFor)
	if certificate.NotAfter.Before(until) {
		until = certificate.NotAfter
	}
	c.believed.Add(digest, believed{copyOf(response), until})
	return response, true, nil
}

// copyOf keeps what is remembered apart from what the request's other filters write to.
func copyOf(r *authenticator.Response) *authenticator.Response {
	copied := *r
	return &copied
}
