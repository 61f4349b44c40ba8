// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/client-go/rest"
)

// outside is a client over TLS that shows nothing of itself, as monitoring and load balancers are.
func (c *cluster) outside(t *testing.T) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(c.config.CAData) {
		t.Fatal("no CA in the kubeconfig")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// ask gets a path from outside.
func (c *cluster) ask(ctx context.Context, client *http.Client, path string) (code int, text string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.config.Host+path, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	return response.StatusCode, string(all), err
}

// executing is how many requests of a level are being worked on.
func (c *cluster) executing(t *testing.T, level string) int {
	t.Helper()
	dump, err := c.CoreV1().RESTClient().Get().RequestURI("/debug/api_priority_and_fairness/dump_priority_levels").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(dump)) {
		if columns := strings.Split(line, ","); columns[0] == level {
			n, err := strconv.Atoi(strings.TrimSpace(columns[5]))
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			return n
		}
	}
	t.Fatalf("no level %s in\n%s", level, dump)
	return 0
}

func TestHealth(t *testing.T) {
	c := newCluster(t)
	for path, want := range map[string][]string{
		"/livez?verbose":                            {"[+]ping ok\n[+]log ok\n[+]etcd ok\n[+]poststarthook/", "livez check passed\n"},
		"/healthz?verbose":                          {"[+]etcd ok\n", "healthz check passed\n"},
		"/readyz?verbose":                           {"[+]etcd ok\n[+]etcd-readiness ok\n[+]informer-sync ok\n[+]poststarthook/", "[+]poststarthook/priority-and-fairness-config-producer ok\n", "[+]shutdown ok\nreadyz check passed\n"},
		"/readyz?verbose&exclude=etcd":              {"[+]etcd excluded: ok\n"},
		"/livez?verbose&exclude=shutdown":           {`warn: some health checks cannot be excluded: no matches for "shutdown"`},
		"/livez/ping":                               {"ok"},
		"/livez/etcd":                               {"ok"},
		"/readyz/informer-sync":                     {"ok"},
		"/readyz/shutdown":                          {"ok"},
		"/readyz/poststarthook/crd-informer-synced": {"ok"},
		"/metrics": {"kubernetes_build_info{", "apiserver_request_total{", "apiserver_request_duration_seconds_bucket{", "etcd_request_duration_seconds_bucket{", "apiserver_flowcontrol_dispatched_requests_total{", "apiserver_current_inflight_requests{",
			fmt.Sprintf("apiserver_storage_objects{resource=\"flowschemas.flowcontrol.apiserver.k8s.io\"} %d\n", len(bootstrap.MandatoryFlowSchemas)+len(bootstrap.SuggestedFlowSchemas)), "apiserver_storage_size_bytes{storage_cluster_id=\"etcd-0\"} "},
	} {
		text, err := c.CoreV1().RESTClient().Get().RequestURI(path).DoRaw(t.Context())
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		for _, part := range want {
			if !strings.Contains(string(text), part) {
				t.Errorf("%s lacks %q", path, part)
			}
		}
	}
}

// Everybody may ask whether the server is well, and of what version it is; why not, and what it does, is for monitoring.
func TestHealthIsPublicAndItsReasonsAreNot(t *testing.T) {
	c := newCluster(t)
	nobody := c.outside(t)
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "monitor"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:monitoring"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "monitor"}},
	}
	if _, err := c.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	as := func(name string) *http.Client {
		config := rest.CopyConfig(c.config)
		config.Impersonate.UserName = name
		client, err := rest.HTTPClientFor(config)
		if err != nil {
			t.Fatal(err)
		}
		return client
	}
	monitor, someone := as("monitor"), as("someone")
	for _, path := range []string{"/livez", "/readyz", "/healthz", "/version"} {
		for name, client := range map[string]*http.Client{"nobody": nobody, "someone": someone} {
			if code, text, err := c.ask(t.Context(), client, path); code != http.StatusOK {
				t.Errorf("%s for %s: %d %s, %v", path, name, code, text, err)
			}
		}
	}
	for _, path := range []string{"/livez/ping", "/readyz/etcd", "/metrics", "/metrics/slis"} {
		if code, text, err := c.ask(t.Context(), nobody, path); code != http.StatusUnauthorized && code != http.StatusForbidden {
			t.Errorf("%s for nobody: %d %s, %v", path, code, text, err)
		}
		if code, text, err := c.ask(t.Context(), someone, path); code != http.StatusForbidden {
			t.Errorf("%s for someone: %d %s, %v", path, code, text, err)
		}
		eventually(t, path+" for monitoring", func() (bool, error) {
			code, text, err := c.ask(t.Context(), monitor, path)
			return code == http.StatusOK, errors.Join(err, fmt.Errorf("%d %s", code, text))
		})
	}
	if code, _, _ := c.ask(t.Context(), monitor, "/debug/api_priority_and_fairness/dump_requests"); code != http.StatusForbidden {
		t.Errorf("monitoring may see who sends what: %d", code)
	}
}

// TestStop has a request that is being worked on, and a watch, when the server is told to stop: the server says that it is not ready,
// refuses what is new, ends the watch, finishes the request, and then has stopped.
func TestStop(t *testing.T) {
	c := newCluster(t)
	client, err := rest.HTTPClientFor(c.config)
	if err != nil {
		t.Fatal(err)
	}
	body, rest := io.Pipe()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.config.Host+"/api/v1/namespaces/default/configmaps", body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	finished := make(chan error, 1)
	go func() {
		response, err := client.Do(request)
		if err == nil && response.StatusCode != http.StatusCreated {
			text, _ := io.ReadAll(response.Body)
			err = fmt.Errorf("%s: %s", response.Status, text)
		}
		finished <- err
	}()
	if _, err := io.WriteString(rest, `{"apiVersion":"v1","kind":"ConfigMap",`); err != nil { // returns when it has been sent
		t.Fatal(err)
	}
	eventually(t, "the request to be worked on", func() (bool, error) { return c.executing(t, "exempt") > 1, nil }) // that, and the question
	watch, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.config.Host+"/api/v1/namespaces?watch=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	watching, err := client.Do(watch)
	if err != nil {
		t.Fatal(err)
	}
	defer watching.Body.Close()
	if _, err := bufio.NewReader(watching.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}

	nobody := c.outside(t)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		c.stop()
	}()
	eventually(t, "the server to say that it is not ready", func() (bool, error) {
		code, text, err := c.ask(t.Context(), nobody, "/readyz")
		return code == http.StatusInternalServerError && strings.Contains(text, "[-]shutdown failed: reason withheld\n"), errors.Join(err, fmt.Errorf("%d %s", code, text))
	})
	if code, text, err := c.ask(t.Context(), nobody, "/livez"); code != http.StatusOK {
		t.Errorf("it is not alive: %d %s, %v", code, text, err)
	}
	if code, text, err := c.ask(t.Context(), nobody, "/version"); code != http.StatusTooManyRequests || text != "The apiserver is shutting down, please try again later.\n" {
		t.Errorf("a new request gets %d %q, %v", code, text, err)
	}
	if _, err := io.Copy(io.Discard, watching.Body); err != nil {
		t.Errorf("the watch ends with %v", err)
	}
	select {
	case <-stopped:
		t.Error("the server has stopped before the request was finished")
	default:
	}
	if _, err := io.WriteString(rest, `"metadata":{"name":"late"}}`); err != nil {
		t.Fatal(err)
	}
	rest.Close()
	if err := <-finished; err != nil {
		t.Errorf("the request was not finished: %v", err)
	}
	select {
	case <-stopped:
	case <-time.After(20 * time.Second):
		t.Fatal("the server does not stop")
	}
}
