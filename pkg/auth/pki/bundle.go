// SPDX-License-Identifier: Apache-2.0

// Package pki makes and keeps what a cluster proves identities with: two certificate authorities, a certificate for
// every party that speaks to the API server, and the key that ServiceAccount tokens are signed with.
//
// Everything lies in one directory, one file an identity, certificate and key together so that no crash can part
// them. A first start makes eight certificates and a key (ECDSA P-256, about 0.1 ms each) and costs what the disk
// takes to sync their files, which happens for all at once; a later start reads nine small files.
package pki

import (
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// How long certificates last, and when Ensure makes new ones.
const (
	caValidity   = 10 * 365 * 24 * time.Hour
	leafValidity = 365 * 24 * time.Hour
	renewBefore  = 30 * 24 * time.Hour
	// backdate lets machines whose clocks run late accept a certificate at once.
	backdate = 5 * time.Minute
)

// Options says whom certificates are for.
type Options struct {
	// NodeName is the node this machine is; empty on a server that is not a node, which then gets no kubelet certificates.
	NodeName string
	// NodeIPs are the addresses other machines reach this one by.
	NodeIPs []net.IP
	// ServiceIP is the ClusterIP of the service default/kubernetes: the first address of the service network.
	ServiceIP net.IP
	// ClusterDomain is the DNS suffix of services, such as cluster.local.
	ClusterDomain string
	// ExtraSANs are further names and addresses of the API server.
	ExtraSANs []string
	// Now tells the time; nil is time.Now.
	Now func() time.Time
}

// Bundle is all of a cluster's identities as one machine holds them.
type Bundle struct {
	// CA signs clients and servers; FrontProxyCA signs who may speak for users in request headers (API aggregation).
	CA, FrontProxyCA *Pair
	// APIServer is what the API server serves with.
	APIServer *Pair
	// KubeletServing is what this node's agent serves with; nil without a node name.
	KubeletServing *Pair

	// Clients. KubeletClient is nil without a node name.
	Admin                  *Pair // kubernetes-admin, of system:masters
	APIServerKubeletClient *Pair // the API server towards nodes
	FrontProxyClient       *Pair // the API server towards aggregated API servers
	KubeletClient          *Pair // system:node:<name>, of system:nodes

	// ServiceAccountKey signs ServiceAccount tokens.
	ServiceAccountKey *ecdsa.PrivateKey
}

// Ensure returns the identities kept in dir, making what is missing. A certificate is issued anew when it is for
// other names than opts says, ends within 30 days, or was not signed by the authority beside it. An authority near
// its end is renewed with the key it has, so that what it signed stays valid. A file of an authority or of the
// token key that cannot be read is an error: replacing it would lock every client out.
func Ensure(dir string, opts Options) (*Bundle, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory for certificates: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("close directory of certificates to others: %w", err)
	}
	s := &store{dir: dir, now: opts.Now()}
	b := &Bundle{}
	var err error
	if b.CA, err = s.authority("ca", "kubernetes"); err != nil {
		return nil, err
	}
	if b.FrontProxyCA, err = s.authority("front-proxy-ca", "front-proxy-ca"); err != nil {
		return nil, err
	}
	if b.ServiceAccountKey, err = s.signingKey("sa"); err != nil {
		return nil, err
	}
	for _, l := range leaves(b, opts) {
		if *l.into, err = s.leaf(l.file, l.ca, l.request); err != nil {
			return nil, err
		}
	}
	if err := s.commit(); err != nil {
		return nil, err
	}
	return b, nil
}

type leaf struct {
	file    string
	ca      *Pair
	request Request
	into    **Pair
}

// leaves lists the certificates of a machine, named and composed as kubeadm does.
func leaves(b *Bundle, opts Options) []leaf {
	client := func(name string, groups ...string) Request {
		return Request{Subject: pkix.Name{CommonName: name, Organization: groups}, Usage: x509.ExtKeyUsageClientAuth}
	}
	list := []leaf{
		{"apiserver", b.CA, apiServerRequest(opts), &b.APIServer},
		{"apiserver-kubelet-client", b.CA, client("kube-apiserver-kubelet-client", "system:masters"), &b.APIServerKubeletClient},
		{"front-proxy-client", b.FrontProxyCA, client("front-proxy-client"), &b.FrontProxyClient},
		{"admin", b.CA, client("kubernetes-admin", "system:masters"), &b.Admin},
	}
	if opts.NodeName != "" {
		node := client("system:node:"+opts.NodeName, "system:nodes")
		list = append(list,
			leaf{"kubelet-client", b.CA, node, &b.KubeletClient},
			leaf{"kubelet", b.CA, KubeletServingRequest(opts.NodeName, opts.NodeIPs), &b.KubeletServing})
	}
	return list
}

// KubeletServingRequest describes the certificate that a node serves with.
func KubeletServingRequest(node string, ips []net.IP) Request {
	return Request{
		Subject:  pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}},
		Usage:    x509.ExtKeyUsageServerAuth,
		DNSNames: []string{node, "localhost"},
		IPs:      append(append([]net.IP{}, ips...), net.IPv4(127, 0, 0, 1)),
	}
}

func apiServerRequest(opts Options) Request {
	r := Request{
		Subject: pkix.Name{CommonName: "kube-apiserver"},
		Usage:   x509.ExtKeyUsageServerAuth,
		DNSNames: []string{
			"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		},
		IPs: append([]net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, opts.NodeIPs...),
	}
	if opts.ClusterDomain != "" {
		r.DNSNames = append(r.DNSNames, "kubernetes.default.svc."+opts.ClusterDomain)
	}
	if opts.NodeName != "" {
		r.DNSNames = append(r.DNSNames, opts.NodeName)
	}
	if opts.ServiceIP != nil {
		r.IPs = append(r.IPs, opts.ServiceIP)
	}
	for _, san := range opts.ExtraSANs {
		if ip := net.ParseIP(san); ip != nil {
			r.IPs = append(r.IPs, ip)
		} else {
			r.DNSNames = append(r.DNSNames, san)
		}
	}
	return r
}

// store reads and makes identities in a directory, and holds back what it made until commit.
type store struct {
	dir     string
	now     time.Time
	pending []file
}

func (s *store) path(name string) string { return filepath.Join(s.dir, name+".pem") }

// authority returns the self-signed pair of that file.
func (s *store) authority(name, commonName string) (*Pair, error) {
	path := s.path(name)
	pair, err := readPair(path)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("read certificate authority %s (restore it, or remove %s to found a new cluster): %w", path, s.dir, err)
	}
	if pair != nil && s.fresh(pair) {
		return pair, nil
	}
	var key *ecdsa.PrivateKey
	if pair != nil {
		key = pair.Key
	}
	if pair, err = newAuthority(commonName, key, s.now); err != nil {
		return nil, fmt.Errorf("make certificate authority %s: %w", path, err)
	}
	s.pending = append(s.pending, file{path, pair.encode()})
	return pair, nil
}

// leaf returns the pair of that file, issued anew by ca unless it already is what r asks for.
func (s *store) leaf(name string, ca *Pair, r Request) (*Pair, error) {
	path := s.path(name)
	pair, err := readPair(path)
	if err == nil && s.fresh(pair) && r.describes(pair.Cert) && pair.Cert.CheckSignatureFrom(ca.Cert) == nil {
		return pair, nil
	}
	if pair, err = ca.issue(r, s.now); err != nil {
		return nil, fmt.Errorf("issue certificate %s: %w", path, err)
	}
	s.pending = append(s.pending, file{path, pair.encode()})
	return pair, nil
}

func (s *store) signingKey(name string) (*ecdsa.PrivateKey, error) {
	path := s.path(name)
	data, err := os.ReadFile(path)
	switch {
	case os.IsNotExist(err):
		key, err := newKey()
		if err != nil {
			return nil, fmt.Errorf("make key for ServiceAccount tokens: %w", err)
		}
		s.pending = append(s.pending, file{path, encodeKey(key)})
		return key, nil
	case err != nil:
		return nil, fmt.Errorf("read key for ServiceAccount tokens: %w", err)
	}
	key, err := decodeKey(data)
	if err != nil {
		return nil, fmt.Errorf("read key for ServiceAccount tokens %s (restore it, or remove it, which ends all tokens): %w", path, err)
	}
	return key, nil
}

// fresh tells whether the certificate is valid now and for some time. Not yet valid is not fresh: the clock was set back.
func (s *store) fresh(p *Pair) bool {
	return !s.now.Before(p.Cert.NotBefore) && s.now.Add(renewBefore).Before(p.Cert.NotAfter)
}

func (s *store) commit() error {
	if len(s.pending) == 0 {
		return nil
	}
	return writeFiles(s.dir, s.pending)
}
