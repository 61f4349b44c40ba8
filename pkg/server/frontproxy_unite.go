// SPDX-License-Identifier: Apache-2.0

package server

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/client-go/util/cert"
)

// Keys of the ConfigMap extension-apiserver-authentication that hold certificates; all others hold lists of strings as JSON.
const (
	clientAuthorities = "client-ca-file"
	proxyAuthorities  = "requestheader-client-ca-file"
)

// expiredFor is how long an authority's certificate is kept after its end, for clocks that differ.
const expiredFor = 5 * time.Minute

// unite adds to what is published what ours has and it lacks: certificates after its own, strings after its own. Certificates that have ended are left
// out, and so are keys that ours does not have: nobody reads them. A value that cannot be read is ours alone, and named by the error.
func unite(published, ours map[string]string, now time.Time) (map[string]string, error) {
	data := make(map[string]string, len(ours))
	var errs []error
	for key, own := range ours {
		combine := uniteStrings
		if key == clientAuthorities || key == proxyAuthorities {
			combine = func(a, b string) (string, error) { return uniteCertificates(a, b, now) }
		}
		value, err := combine(published[key], own)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
			value = own
		}
		if value != "" { // else all have ended
			data[key] = value
		}
	}
	return data, errors.Join(errs...)
}

func uniteStrings(published, own string) (string, error) {
	var all []string
	for _, text := range []string{published, own} {
		var values []string
		if text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(text), &values); err != nil {
			return "", err
		}
		for _, v := range values {
			if !slices.Contains(all, v) {
				all = append(all, v)
			}
		}
	}
	united, err := json.Marshal(all)
	return string(united), err
}

func uniteCertificates(published, own string, now time.Time) (string, error) {
	var all []*x509.Certificate
	for _, text := range []string{published, own} {
		if text == "" {
			continue
		}
		certificates, err := cert.ParseCertsPEM([]byte(text))
		if err != nil {
			return "", err
		}
		for _, c := range certificates {
			if c.NotAfter.After(now.Add(-expiredFor)) && !slices.ContainsFunc(all, c.Equal) {
				all = append(all, c)
			}
		}
	}
	var united []byte
	for _, c := range all {
		united = append(united, pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: c.Raw})...)
	}
	return string(united), nil
}
