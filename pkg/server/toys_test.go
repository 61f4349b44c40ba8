// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
	aggregatorclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
	apiregistrationclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/typed/apiregistration/v1"

	"github.com/hivemind-project/hivemind/pkg/auth/pki"
)

const (
	toysGroup   = "toys.example.com"
	toysVersion = "v1alpha1"
	toysPath    = "/apis/" + toysGroup + "/" + toysVersion
)

// toys is a small server that takes part in the API: one resource, whose objects are names. It believes the cluster's front proxy alone.
type toys struct {
	*httptest.Server
	client    apiregistrationclient.APIServiceInterface
	authority *pki.Pair // of its certificate

	mu   sync.Mutex
	all  map[string][]string // by namespace
	asks []http.Header       // of requests for toys
}

func newToys(t *testing.T, c *cluster) *toys {
	t.Helper()
	s := &toys{all: map[string][]string{}, client: aggregatorclient.NewForConfigOrDie(c.config).ApiregistrationV1().APIServices(), authority: c.server.identities.CA}
	certificate, err := s.authority.Issue(pki.Request{Subject: pkix.Name{CommonName: "toys"}, Usage: x509.ExtKeyUsageServerAuth, DNSNames: []string{"toys.default.svc"}})
	if err != nil {
		t.Fatal(err)
	}
	proxies := x509.NewCertPool()
	proxies.AddCert(c.server.identities.FrontProxyCA.Cert)
	s.Server = httptest.NewUnstartedServer(s)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate.TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: proxies}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// register makes the APIService and, where serve says so, the service that leads to the server.
func (s *toys) register(t *testing.T, c *cluster, serve bool) {
	t.Helper()
	port := int32(s.Listener.Addr().(*net.TCPAddr).Port)
	if serve {
		s.serve(t, c)
	}
	_, err := s.client.Create(t.Context(), &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: toysVersion + "." + toysGroup},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: toysGroup, Version: toysVersion, GroupPriorityMinimum: 2000, VersionPriority: 200, CABundle: s.authority.CertPEM,
			Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: "toys", Port: &port},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *toys) serve(t *testing.T, c *cluster) {
	t.Helper()
	_, err := c.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "toys"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// becomes waits for the condition Available of the APIService: its status, reason and message.
func (s *toys) becomes(t *testing.T, want string) {
	t.Helper()
	eventually(t, "the APIService to be "+want, func() (bool, error) {
		got, err := s.client.Get(t.Context(), toysVersion+"."+toysGroup, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		condition := helper.GetAPIServiceConditionByType(got, apiregistrationv1.Available)
		if condition == nil {
			return false, fmt.Errorf("no condition")
		}
		is := fmt.Sprintf("%s %s %s", condition.Status, condition.Reason, condition.Message)
		return is == want, fmt.Errorf("it is %s", is)
	})
}

// ServeHTTP implements http.Handler.
func (s *toys) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // fails only when the client has gone
	}
	namespace, ok := strings.CutPrefix(r.URL.Path, toysPath+"/namespaces/")
	namespace, rest, _ := strings.Cut(namespace, "/")
	switch {
	case r.URL.Path == toysPath:
		answer(metav1.APIResourceList{
			TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: toysGroup + "/" + toysVersion,
			APIResources: []metav1.APIResource{{Name: "toys", SingularName: "toy", Kind: "Toy", Namespaced: true, Verbs: metav1.Verbs{"delete", "deletecollection", "get", "list"}}},
		})
	case r.URL.Path == "/openapi/v2":
		answer(map[string]any{"swagger": "2.0", "info": map[string]any{"title": "toys", "version": "v1"}, "paths": map[string]any{
			toysPath + "/toys": map[string]any{"get": map[string]any{"responses": map[string]any{"200": map[string]any{"description": "OK", "schema": map[string]any{"$ref": "#/definitions/com.example.Toy"}}}}},
			"/other":           map[string]any{"get": map[string]any{"responses": map[string]any{"200": map[string]any{"description": "OK", "schema": map[string]any{"$ref": "#/definitions/com.example.Other"}}}}},
		}, "definitions": map[string]any{"com.example.Toy": map[string]any{"type": "object"}, "com.example.Other": map[string]any{"type": "object"}}})
	case r.URL.Path == "/openapi/v3":
		answer(map[string]any{"paths": map[string]any{
			"apis": map[string]any{"serverRelativeURL": "/openapi/v3/apis?hash=toys"}, toysPath[1:]: map[string]any{"serverRelativeURL": "/openapi/v3" + toysPath + "?hash=toys"},
		}})
	case r.URL.Path == "/openapi/v3"+toysPath:
		answer(map[string]any{"openapi": "3.0.0", "info": map[string]any{"title": "toys", "version": "v1"}})
	case r.URL.Path == toysPath+"/echo":
		s.echo(w, r)
	case r.URL.Path == toysPath+"/toys":
		s.note(r)
		s.watch(w, r)
	case ok && rest == "toys":
		s.note(r)
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.Method == http.MethodDelete {
			delete(s.all, namespace)
		}
		list := metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadataList", APIVersion: "meta.k8s.io/v1"}}
		for _, name := range s.all[namespace] {
			list.Items = append(list.Items, metav1.PartialObjectMetadata{
				TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"}, ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
		}
		answer(list)
	default:
		http.NotFound(w, r)
	}
}

func (s *toys) note(r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asks = append(s.asks, r.Header)
}

// watch sends an event at once and ends when its client goes.
func (s *toys) watch(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(w, `{"type": "BOOKMARK"}`)
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

// echo speaks a protocol of its own once the client has switched to it.
func (s *toys) echo(w http.ResponseWriter, r *http.Request) {
	s.note(r)
	conn, both, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprintf(both, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
	both.Flush()
	line, err := both.ReadString('\n')
	if err != nil {
		return
	}
	both.WriteString("you said " + line)
	both.Flush()
}

// asked is the last request for toys.
func (s *toys) asked(t *testing.T) http.Header {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asks) == 0 {
		t.Fatal("nobody has asked")
	}
	return s.asks[len(s.asks)-1]
}

// stream reads the first event of a watch while the watch goes on.
func (s *toys) stream(t *testing.T, c *cluster) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body, err := c.CoreV1().RESTClient().Get().AbsPath(toysPath+"/toys").Param("watch", "true").Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if line, err := bufio.NewReader(body).ReadString('\n'); err != nil || !strings.Contains(line, "BOOKMARK") {
		t.Errorf("the first event is %q, %v", line, err)
	}
}

// upgrade switches to another protocol, through this server.
func (s *toys) upgrade(t *testing.T, c *cluster) {
	trust, err := rest.TLSConfigFor(c.config)
	if err != nil {
		t.Fatal(err)
	}
	trust.NextProtos = []string{"http/1.1"}
	conn, err := (&tls.Dialer{Config: trust}).DialContext(t.Context(), "tcp", strings.TrimPrefix(c.config.Host, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s/echo HTTP/1.1\r\nHost: toys\r\nConnection: Upgrade\r\nUpgrade: parrot\r\n\r\n", toysPath)
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols || answer.Header.Get("Upgrade") != "parrot" {
		t.Fatalf("answer %+v, %v", answer, err)
	}
	fmt.Fprintln(conn, "hello")
	if line, err := reader.ReadString('\n'); err != nil || line != "you said hello\n" {
		t.Errorf("got %q, %v", line, err)
	}
	if who := s.asked(t).Get("X-Remote-User"); who != "kubernetes-admin" {
		t.Errorf("upgraded in the name of %q", who)
	}
}
