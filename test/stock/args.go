// SPDX-License-Identifier: Apache-2.0

package stock

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/hivemind-project/hivemind/pkg/auth/pki"
)

// issuer names who issues ServiceAccount tokens; kubeadm names it so.
const issuer = "https://kubernetes.default.svc.cluster.local"

// advertised is where Endpoints of the service default/kubernetes point. Kubernetes refuses loopback there; this address is kept for documentation
// (RFC 5737), so that a machine without a network will do.
const advertised = "192.0.2.1"

// files are the certificates, keys and kubeconfigs that the programs read, by name.
type files struct {
	dir    string
	bundle *pki.Bundle
}

// writeFiles makes what is missing below dir. A directory used again keeps its authorities and keys.
func writeFiles(dir, url string, serviceIP net.IP) (*files, error) {
	bundle, err := pki.Ensure(filepath.Join(dir, "authorities"), pki.Options{ServiceIP: serviceIP, ClusterDomain: "cluster.local"})
	if err != nil {
		return nil, err
	}
	f := &files{dir: dir, bundle: bundle}
	content := map[string][]byte{}
	for name, pair := range map[string]*pki.Pair{
		"ca": bundle.CA, "apiserver": bundle.APIServer, "kubelet-client": bundle.APIServerKubeletClient,
		"front-proxy-ca": bundle.FrontProxyCA, "front-proxy": bundle.FrontProxyClient,
	} {
		content[name+".crt"], content[name+".key"] = pair.CertPEM, pair.KeyPEM
	}
	if content["sa.key"], content["sa.pub"], err = encodeKey(bundle); err != nil {
		return nil, err
	}
	if content["admin.kubeconfig"], err = bundle.Kubeconfig("stock", url, bundle.Admin); err != nil {
		return nil, err
	}
	for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
		id, err := bundle.CA.Issue(pki.Request{Subject: pkix.Name{CommonName: "system:" + name}, Usage: x509.ExtKeyUsageClientAuth})
		if err != nil {
			return nil, err
		}
		if content[name+".kubeconfig"], err = bundle.Kubeconfig("stock", url, id); err != nil {
			return nil, err
		}
	}
	for name, data := range content {
		if err := os.WriteFile(f.path(name), data, 0o600); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func encodeKey(bundle *pki.Bundle) (private, public []byte, err error) {
	der, err := x509.MarshalECPrivateKey(bundle.ServiceAccountKey)
	if err != nil {
		return nil, nil, fmt.Errorf("encode the key of ServiceAccounts: %w", err)
	}
	private = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	if der, err = x509.MarshalPKIXPublicKey(&bundle.ServiceAccountKey.PublicKey); err != nil {
		return nil, nil, fmt.Errorf("encode the key of ServiceAccounts: %w", err)
	}
	return private, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

func (f *files) path(name string) string { return filepath.Join(f.dir, name) }

// etcdArgs are etcd's, with its defaults for all that decides speed: every write is synced to the disk. Clients need no TLS, which
// spares it and the API server some work.
func etcdArgs(dataDir, clients, peers string) []string {
	return []string{
		"--name=stock", "--data-dir=" + dataDir, "--log-level=warn",
		"--listen-client-urls=" + clients, "--advertise-client-urls=" + clients,
		"--listen-peer-urls=" + peers, "--initial-advertise-peer-urls=" + peers, "--initial-cluster=stock=" + peers,
	}
}

// apiServerArgs are those of kube-apiserver as kubeadm sets it up, with the default admission plugins.
func apiServerArgs(f *files, etcd string, port int, o Options) []string {
	return append([]string{
		"--etcd-servers=" + etcd, "--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(port), "--advertise-address=" + advertised,
		"--service-cluster-ip-range=" + o.ServiceCIDR, "--allow-privileged=true", "--authorization-mode=Node,RBAC", "--enable-bootstrap-token-auth=true",
		"--tls-cert-file=" + f.path("apiserver.crt"), "--tls-private-key-file=" + f.path("apiserver.key"), "--client-ca-file=" + f.path("ca.crt"),
		"--kubelet-client-certificate=" + f.path("kubelet-client.crt"), "--kubelet-client-key=" + f.path("kubelet-client.key"),
		"--service-account-issuer=" + issuer, "--service-account-key-file=" + f.path("sa.pub"), "--service-account-signing-key-file=" + f.path("sa.key"),
		"--proxy-client-cert-file=" + f.path("front-proxy.crt"), "--proxy-client-key-file=" + f.path("front-proxy.key"),
		"--requestheader-client-ca-file=" + f.path("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
	}, o.APIServerArgs...)
}

// clientArgs are what the controller manager and the scheduler have in common.
func clientArgs(f *files, name string, port int, o Options) []string {
	kubeconfig := f.path(name + ".kubeconfig")
	args := []string{
		"--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(port), "--leader-elect=false",
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
	}
	if o.ClientQPS > 0 {
		args = append(args, fmt.Sprintf("--kube-api-qps=%d", o.ClientQPS), fmt.Sprintf("--kube-api-burst=%d", 2*o.ClientQPS))
	}
	return args
}

// controllerManagerArgs are those of kube-controller-manager as kubeadm sets it up.
func controllerManagerArgs(f *files, port int, o Options) []string {
	return append(clientArgs(f, "kube-controller-manager", port, o),
		"--use-service-account-credentials=true", "--controllers=*,bootstrap-signer-controller,token-cleaner-controller",
		"--service-cluster-ip-range="+o.ServiceCIDR,
		"--service-account-private-key-file="+f.path("sa.key"), "--root-ca-file="+f.path("ca.crt"),
		"--cluster-signing-cert-file="+f.path("ca.crt"), "--cluster-signing-key-file="+f.path("ca.key"),
		"--requestheader-client-ca-file="+f.path("front-proxy-ca.crt"))
}
