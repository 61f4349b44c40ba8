// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/utils/ptr"
)

// Certificates are valid for a year at most, and from five minutes ago, so that clocks may differ. One that is valid for a short time gets
// these minutes on top.
const (
	longest   = 365 * 24 * time.Hour
	least     = 10 * time.Minute
	backdate  = 5 * time.Minute
	shortLife = 8 * time.Hour
)

var keyUsages = map[certificatesv1.KeyUsage]x509.KeyUsage{
	certificatesv1.UsageSigning: x509.KeyUsageDigitalSignature, certificatesv1.UsageDigitalSignature: x509.KeyUsageDigitalSignature,
	certificatesv1.UsageKeyEncipherment: x509.KeyUsageKeyEncipherment,
}

var extKeyUsages = map[certificatesv1.KeyUsage]x509.ExtKeyUsage{
	certificatesv1.UsageServerAuth: x509.ExtKeyUsageServerAuth, certificatesv1.UsageClientAuth: x509.ExtKeyUsageClientAuth,
}

// sign issues a certificate for the request's subject, names and key, in PEM. Usages have been checked.
func (a Authority) sign(request *x509.CertificateRequest, spec *certificatesv1.CertificateSigningRequestSpec, now time.Time) ([]byte, error) {
	life := min(max(time.Duration(ptr.Deref(spec.ExpirationSeconds, int32(longest/time.Second)))*time.Second, least), longest)
	template := &x509.Certificate{
		Subject: request.Subject, DNSNames: request.DNSNames, IPAddresses: request.IPAddresses, EmailAddresses: request.EmailAddresses, URIs: request.URIs,
		NotBefore: now.Add(-backdate), NotAfter: now.Add(life - backdate), BasicConstraintsValid: true,
	}
	if life < shortLife {
		template.NotAfter = now.Add(life)
	}
	if template.NotAfter.After(a.Cert.NotAfter) {
		template.NotAfter = a.Cert.NotAfter
	}
	if !now.Before(a.Cert.NotAfter) {
		return nil, fmt.Errorf("the cluster's certificate authority has expired at %v", a.Cert.NotAfter)
	}
	for _, usage := range spec.Usages {
		template.KeyUsage |= keyUsages[usage]
		if purpose, ok := extKeyUsages[usage]; ok {
			template.ExtKeyUsage = append(template.ExtKeyUsage, purpose)
		}
	}
	slices.Sort(template.ExtKeyUsage)
	// RFC 5280 4.1.2.2: positive, at most 20 octets, never used twice.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	der, err := x509.CreateCertificate(rand.Reader, template, a.Cert, request.PublicKey, a.Key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
