// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"slices"
	"time"
)

// Pair is a certificate and its private key.
type Pair struct {
	Cert *x509.Certificate
	Key  *ecdsa.PrivateKey
	// CertPEM and KeyPEM are the same, encoded.
	CertPEM, KeyPEM []byte
}

// Request is what a certificate shall say.
type Request struct {
	Subject  pkix.Name
	Usage    x509.ExtKeyUsage
	DNSNames []string
	IPs      []net.IP
}

// Issue makes a key and a certificate for it, valid for one year and signed by p, an authority.
func (p *Pair) Issue(r Request) (*Pair, error) { return p.issue(r, time.Now()) }

// Sign makes a certificate for a key that someone else holds, valid for the given time and signed by p, an authority.
func (p *Pair) Sign(r Request, public any, validity time.Duration) (*x509.Certificate, error) {
	return p.sign(r, public, time.Now(), validity)
}

// TLS is the pair as crypto/tls takes it.
func (p *Pair) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key, Leaf: p.Cert}
}

func (p *Pair) issue(r Request, now time.Time) (*Pair, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	cert, err := p.sign(r, &key.PublicKey, now, leafValidity)
	if err != nil {
		return nil, err
	}
	return newPair(cert, key), nil
}

func (p *Pair) sign(r Request, public any, now time.Time, validity time.Duration) (*x509.Certificate, error) {
	template := &x509.Certificate{
		Subject:               r.Subject,
		DNSNames:              r.DNSNames,
		IPAddresses:           r.IPs,
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(validity),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{r.Usage},
		BasicConstraintsValid: true,
	}
	return create(template, p.Cert, public, p.Key)
}

// describes tells whether cert says what r asks for.
func (r Request) describes(cert *x509.Certificate) bool {
	sameIPs := len(r.IPs) == len(cert.IPAddresses)
	for i := 0; sameIPs && i < len(r.IPs); i++ {
		sameIPs = r.IPs[i].Equal(cert.IPAddresses[i])
	}
	return sameIPs && slices.Equal(r.DNSNames, cert.DNSNames) &&
		r.Subject.CommonName == cert.Subject.CommonName &&
		slices.Equal(r.Subject.Organization, cert.Subject.Organization) &&
		slices.Equal([]x509.ExtKeyUsage{r.Usage}, cert.ExtKeyUsage)
}

// newAuthority makes a self-signed pair; with a key it renews the authority that has it.
func newAuthority(commonName string, key *ecdsa.PrivateKey, now time.Time) (*Pair, error) {
	if key == nil {
		var err error
		if key, err = newKey(); err != nil {
			return nil, err
		}
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName},
		DNSNames:              []string{commonName},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caValidity),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	cert, err := create(template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return newPair(cert, key), nil
}

func create(template, parent *x509.Certificate, public any, signer *ecdsa.PrivateKey) (*x509.Certificate, error) {
	// RFC 5280 4.1.2.2: positive, at most 20 octets, never used twice.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func newPair(cert *x509.Certificate, key *ecdsa.PrivateKey) *Pair {
	return &Pair{
		Cert:    cert,
		Key:     key,
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
		KeyPEM:  encodeKey(key),
	}
}

// encode is the pair as its file holds it: the certificate, then the key.
func (p *Pair) encode() []byte { return append(bytes.Clone(p.CertPEM), p.KeyPEM...) }

func readPair(path string) (*Pair, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in it")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, err := decodeKey(rest)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("certificate and key do not belong together")
	}
	return newPair(cert, key), nil
}

func encodeKey(key *ecdsa.PrivateKey) []byte {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		// Only curves without a name fail, and newKey and decodeKey let P-256 through alone.
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

func decodeKey(data []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "EC PRIVATE KEY" {
		return nil, errors.New("no EC private key in it")
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	if key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("key is on curve %s, not P-256", key.Curve.Params().Name)
	}
	return key, nil
}
