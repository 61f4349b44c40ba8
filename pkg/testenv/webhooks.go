// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	admissionregistration "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"

	"github.com/hivemind-project/hivemind/pkg/auth/pki"
)

// Webhooks are admission webhooks to register. Where one names a service, which in the cluster would lead to the operator's pod,
// it is registered at Env.WebhookServer instead.
type Webhooks struct {
	// Paths are files, and folders of files, in YAML or JSON, as controller-gen writes them; folders below these are not read.
	// Objects of other kinds in them are passed over. A path that does not exist, or has no webhook configuration, is an error.
	Paths []string
	// Mutating and Validating are further configurations.
	Mutating   []*admissionregistrationv1.MutatingWebhookConfiguration
	Validating []*admissionregistrationv1.ValidatingWebhookConfiguration
}

// read returns the configurations, as copies.
func (w Webhooks) read() (Webhooks, error) {
	var all Webhooks
	for _, path := range w.Paths {
		documents, err := readManifests(path)
		if err != nil {
			return Webhooks{}, err
		}
		found := false
		for _, d := range documents {
			var err error
			switch d.kind.Kind {
			case "MutatingWebhookConfiguration":
				c := &admissionregistrationv1.MutatingWebhookConfiguration{}
				err, found = d.decode(c), true
				all.Mutating = append(all.Mutating, c)
			case "ValidatingWebhookConfiguration":
				c := &admissionregistrationv1.ValidatingWebhookConfiguration{}
				err, found = d.decode(c), true
				all.Validating = append(all.Validating, c)
			default:
				continue
			}
			if want := admissionregistrationv1.SchemeGroupVersion.String(); d.kind.APIVersion != want {
				err = fmt.Errorf("%s: a %s of apiVersion %q: make it %s", d.from, d.kind.Kind, d.kind.APIVersion, want)
			}
			if err != nil {
				return Webhooks{}, err
			}
		}
		if !found {
			return Webhooks{}, fmt.Errorf("%s: there is no webhook configuration in it", path)
		}
	}
	for _, c := range w.Mutating {
		all.Mutating = append(all.Mutating, c.DeepCopy())
	}
	for _, c := range w.Validating {
		all.Validating = append(all.Validating, c.DeepCopy())
	}
	return all, nil
}

// WebhookServer is where an operator's webhooks are to be served, so that the API server reaches them. To controller-runtime:
//
//	webhook.NewServer(webhook.Options{Host: w.Host, Port: w.Port, CertDir: w.CertDir})
type WebhookServer struct {
	Host string
	// Port is free, and stays so for this cluster: nothing else is given it by the system.
	Port int
	// CertDir has tls.crt and tls.key, for Host and localhost.
	CertDir string
	// CA, in PEM, is who has signed the certificate.
	CA []byte

	held *heldPort
}

// newWebhookServer finds a port and writes a certificate by ca into dir.
func newWebhookServer(dir string, ca *pki.Pair) (*WebhookServer, error) {
	const host = "127.0.0.1"
	held, err := holdPort(net.IPv4(127, 0, 0, 1))
	if err != nil {
		return nil, fmt.Errorf("find a port for webhooks: %w", err)
	}
	w := &WebhookServer{Host: host, Port: held.port, CertDir: dir, CA: ca.CertPEM, held: held}
	pair, err := ca.Issue(pki.Request{
		Subject: pkix.Name{CommonName: "webhooks"}, Usage: x509.ExtKeyUsageServerAuth,
		DNSNames: []string{"localhost"}, IPs: []net.IP{net.ParseIP(host)},
	})
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	for name, text := range map[string][]byte{"tls.crt": pair.CertPEM, "tls.key": pair.KeyPEM} {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
	}
	if err != nil {
		held.release()
		return nil, fmt.Errorf("make a certificate for webhooks: %w", err)
	}
	return w, nil
}

// url is where the server answers on a path.
func (w *WebhookServer) url(path *string) *string {
	p := ""
	if path != nil {
		p = strings.TrimPrefix(*path, "/")
	}
	url := "https://" + net.JoinHostPort(w.Host, strconv.Itoa(w.Port)) + "/" + p
	return &url
}

// WebhookServer is where to serve webhooks.
func (e *Env) WebhookServer() WebhookServer { return *e.webhooks }

// patchConversion leads a conversion webhook that names a service to this server.
func (w *WebhookServer) patchConversion(crd *apiextensionsv1.CustomResourceDefinition) {
	conversion := crd.Spec.Conversion
	if conversion == nil || conversion.Webhook == nil || conversion.Webhook.ClientConfig == nil || conversion.Webhook.ClientConfig.Service == nil {
		return
	}
	conversion.Webhook.ClientConfig = &apiextensionsv1.WebhookClientConfig{URL: w.url(conversion.Webhook.ClientConfig.Service.Path), CABundle: w.CA}
}

// InstallWebhooks registers webhooks. They are called for what is written after it has returned.
func (e *Env) InstallWebhooks(ctx context.Context, webhooks Webhooks) error {
	all, err := webhooks.read()
	if err != nil {
		return fmt.Errorf("read webhook configurations: %w", err)
	}
	return e.installWebhooks(ctx, all)
}

func (e *Env) installWebhooks(ctx context.Context, webhooks Webhooks) error {
	if len(webhooks.Mutating)+len(webhooks.Validating) == 0 {
		return nil
	}
	running, err := e.running()
	if err != nil {
		return fmt.Errorf("register webhooks: %w", err)
	}
	seen := running.server.Informers().Admissionregistration().V1()
	client, err := admissionregistration.NewForConfig(e.admin)
	if err != nil {
		return err
	}
	for _, c := range webhooks.Mutating {
		for i := range c.Webhooks {
			e.webhooks.patch(&c.Webhooks[i].ClientConfig)
		}
		if _, err := client.MutatingWebhookConfigurations().Create(ctx, c, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("register MutatingWebhookConfiguration %s: %w", c.Name, err)
		}
		if err := known(ctx, c.Name, seen.MutatingWebhookConfigurations().Lister().Get); err != nil {
			return err
		}
	}
	for _, c := range webhooks.Validating {
		for i := range c.Webhooks {
			e.webhooks.patch(&c.Webhooks[i].ClientConfig)
		}
		if _, err := client.ValidatingWebhookConfigurations().Create(ctx, c, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("register ValidatingWebhookConfiguration %s: %w", c.Name, err)
		}
		if err := known(ctx, c.Name, seen.ValidatingWebhookConfigurations().Lister().Get); err != nil {
			return err
		}
	}
	return nil
}

// patch leads an admission webhook that names a service to this server.
func (w *WebhookServer) patch(c *admissionregistrationv1.WebhookClientConfig) {
	if c.Service != nil {
		*c = admissionregistrationv1.WebhookClientConfig{URL: w.url(c.Service.Path), CABundle: w.CA}
	}
}
