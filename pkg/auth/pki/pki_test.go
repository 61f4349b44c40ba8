// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

func options() Options {
	return Options{
		NodeName:      "node1",
		NodeIPs:       []net.IP{net.ParseIP("192.0.2.10")},
		ServiceIP:     net.ParseIP("10.43.0.1"),
		ClusterDomain: "cluster.local",
		ExtraSANs:     []string{"api.example.org", "198.51.100.7"},
	}
}

func ensure(t *testing.T, dir string, opts Options) *Bundle {
	t.Helper()
	b, err := Ensure(dir, opts)
	if err != nil {
		t.Fatalf("Ensure: %v", err)
	}
	return b
}

func TestEnsureIssues(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	b := ensure(t, dir, options())

	verify := func(p, ca *Pair, usage x509.ExtKeyUsage, names ...string) {
		t.Helper()
		roots := x509.NewCertPool()
		roots.AddCert(ca.Cert)
		for _, name := range append(names, "") {
			_, err := p.Cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}, DNSName: name})
			if err != nil {
				t.Errorf("%s as %q: %v", p.Cert.Subject, name, err)
			}
		}
	}
	verify(b.APIServer, b.CA, x509.ExtKeyUsageServerAuth, "localhost", "kubernetes", "kubernetes.default",
		"kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "node1", "api.example.org",
		"127.0.0.1", "::1", "192.0.2.10", "10.43.0.1", "198.51.100.7")
	verify(b.KubeletServing, b.CA, x509.ExtKeyUsageServerAuth, "node1", "192.0.2.10", "127.0.0.1")

	clients := []struct {
		pair, ca *Pair
		user     string
		groups   []string
	}{
		{b.Admin, b.CA, "kubernetes-admin", []string{"system:masters"}},
		{b.APIServerKubeletClient, b.CA, "kube-apiserver-kubelet-client", []string{"system:masters"}},
		{b.KubeletClient, b.CA, "system:node:node1", []string{"system:nodes"}},
		{b.FrontProxyClient, b.FrontProxyCA, "front-proxy-client", nil},
	}
	for _, c := range clients {
		verify(c.pair, c.ca, x509.ExtKeyUsageClientAuth)
		if s := c.pair.Cert.Subject; s.CommonName != c.user || !slices.Equal(s.Organization, c.groups) {
			t.Errorf("subject %s, want %s of %v", s, c.user, c.groups)
		}
	}
	if b.FrontProxyClient.Cert.CheckSignatureFrom(b.CA.Cert) == nil {
		t.Error("the front proxy's client is signed by the cluster's CA: it could speak for itself only")
	}

	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode().Perm(), want)
		}
		if strings.HasSuffix(path, ".new") {
			t.Errorf("left over: %s", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What a second start keeps and what it replaces.
func TestEnsureAgain(t *testing.T) {
	serial := func(p *Pair) string { return p.Cert.SerialNumber.String() }
	all := func(b *Bundle) map[string]string {
		return map[string]string{
			"ca": serial(b.CA), "front-proxy-ca": serial(b.FrontProxyCA), "apiserver": serial(b.APIServer), "admin": serial(b.Admin),
			"apiserver-kubelet-client": serial(b.APIServerKubeletClient), "front-proxy-client": serial(b.FrontProxyClient),
			"kubelet-client": serial(b.KubeletClient), "kubelet": serial(b.KubeletServing), "sa": b.ServiceAccountKey.X.String(),
		}
	}
	leaves := []string{"admin", "apiserver", "apiserver-kubelet-client", "front-proxy-client", "kubelet", "kubelet-client"}
	at := func(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }
	const day = 24 * time.Hour

	tests := []struct {
		name    string
		options func(*Options)
		dir     func(t *testing.T, dir string)
		changed []string
	}{
		{name: "nothing changed"},
		{name: "another address of the node", options: func(o *Options) { o.NodeIPs = []net.IP{net.ParseIP("192.0.2.11")} }, changed: []string{"apiserver", "kubelet"}},
		{name: "one more name", options: func(o *Options) { o.ExtraSANs = append(o.ExtraSANs, "x.example.org") }, changed: []string{"apiserver"}},
		{name: "another node name", options: func(o *Options) { o.NodeName = "node2" }, changed: []string{"apiserver", "kubelet", "kubelet-client"}},
		{name: "31 days before the end", options: func(o *Options) { o.Now = at(leafValidity - 31*day) }},
		{name: "29 days before the end", options: func(o *Options) { o.Now = at(leafValidity - 29*day) }, changed: leaves},
		{name: "clock set back a day", options: func(o *Options) { o.Now = at(-day) }, changed: append([]string{"ca", "front-proxy-ca"}, leaves...)},
		{name: "authorities near their end", options: func(o *Options) { o.Now = at(caValidity - 29*day) }, changed: append([]string{"ca", "front-proxy-ca"}, leaves...)},
		{name: "certificate cut short", dir: func(t *testing.T, dir string) { truncate(t, filepath.Join(dir, "admin.pem")) }, changed: []string{"admin"}},
		{name: "authority of another cluster", dir: func(t *testing.T, dir string) {
			other := t.TempDir()
			ensure(t, other, options())
			if err := os.Rename(filepath.Join(other, "front-proxy-ca.pem"), filepath.Join(dir, "front-proxy-ca.pem")); err != nil {
				t.Fatal(err)
			}
		}, changed: []string{"front-proxy-ca", "front-proxy-client"}},
		{name: "crash before anything was named", dir: func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "ca.pem.new"), []byte("half"), 0o644); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			first := ensure(t, dir, options())
			if tt.dir != nil {
				tt.dir(t, dir)
			}
			opts := options()
			if tt.options != nil {
				tt.options(&opts)
			}
			before, after := all(first), all(ensure(t, dir, opts))
			for name := range before {
				if changed, want := before[name] != after[name], slices.Contains(tt.changed, name); changed != want {
					t.Errorf("%s changed: %v, want %v", name, changed, want)
				}
			}
			if again := all(ensure(t, dir, opts)); again["apiserver"] != after["apiserver"] || again["ca"] != after["ca"] {
				t.Error("a third start changed certificates again")
			}
		})
	}
}

// Clients of the first certificate of an authority must be let in by its successor.
func TestAuthorityIsRenewedWithItsKey(t *testing.T) {
	dir := t.TempDir()
	first := ensure(t, dir, options())
	opts := options()
	opts.Now = func() time.Time { return time.Now().Add(caValidity - 24*time.Hour) }
	second := ensure(t, dir, opts)
	if first.CA.Cert.Equal(second.CA.Cert) {
		t.Fatal("not renewed")
	}
	if err := first.Admin.Cert.CheckSignatureFrom(second.CA.Cert); err != nil {
		t.Errorf("old client under renewed authority: %v", err)
	}
}

func TestEnsureRefusesToReplaceRoots(t *testing.T) {
	for _, name := range []string{"ca", "front-proxy-ca", "sa"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			ensure(t, dir, options())
			path := filepath.Join(dir, name+".pem")
			truncate(t, path)
			if _, err := Ensure(dir, options()); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want one that names %s", err, path)
			}
		})
	}
}

func truncate(t *testing.T, path string) {
	t.Helper()
	if err := os.Truncate(path, 40); err != nil {
		t.Fatal(err)
	}
}

// The configurations for clients work against a server that asks for certificates.
func TestClients(t *testing.T) {
	b := ensure(t, t.TempDir(), options())
	clients := x509.NewCertPool()
	clients.AddCert(b.CA.Cert)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(r.TLS.PeerCertificates[0].Subject.CommonName))
	}))
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{b.APIServer.TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
	}
	server.StartTLS()
	defer server.Close()

	kubeconfig, err := b.Kubeconfig("hivemind", server.URL, b.KubeletClient)
	if err != nil {
		t.Fatal(err)
	}
	fromFile, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		config *rest.Config
		want   string
	}{{b.RESTConfig(server.URL, b.Admin), "kubernetes-admin"}, {fromFile, "system:node:node1"}} {
		client, err := rest.HTTPClientFor(tt.config)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body := make([]byte, 100)
		n, _ := resp.Body.Read(body)
		if got := string(body[:n]); got != tt.want {
			t.Errorf("server saw %q, want %q", got, tt.want)
		}
	}
}

func BenchmarkEnsureFirst(b *testing.B) {
	for range b.N {
		if _, err := Ensure(filepath.Join(b.TempDir(), "pki"), options()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEnsureAgain(b *testing.B) {
	dir := b.TempDir()
	for range b.N {
		if _, err := Ensure(dir, options()); err != nil {
			b.Fatal(err)
		}
	}
}
