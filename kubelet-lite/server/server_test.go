// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authn "k8s.io/api/authentication/v1"
	authz "k8s.io/api/authorization/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	"k8s.io/utils/ptr"
)

// authority signs certificates for one test.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, pool: x509.NewCertPool()}
	a.cert, a.key = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) sign(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(1), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) issue(name string, usage x509.ExtKeyUsage, groups ...string) tls.Certificate {
	a.t.Helper()
	cert, key := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name, Organization: groups}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{usage}, KeyUsage: x509.KeyUsageDigitalSignature}, a.cert, a.key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// onePod is what the node runs.
type onePod struct{ pod *v1.Pod }

func (p onePod) GetPods() []*v1.Pod { return []*v1.Pod{p.pod} }
func (p onePod) GetPodByName(namespace, name string) (*v1.Pod, bool) {
	return p.pod, p.pod.Namespace == namespace && p.pod.Name == name
}

func testPod() *v1.Pod {
	return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "u1"}, Spec: v1.PodSpec{Containers: []v1.Container{{Name: "c"}}}}
}

// startServer serves on loopback until the test's end and returns its URL.
func startServer(t testing.TB, ca *authority, o Options) string {
	t.Helper()
	serving := ca.issue("node", x509.ExtKeyUsageServerAuth)
	o.NodeName, o.Addresses, o.ClientCAs = "node", []string{"127.0.0.1:0"}, ca.pool
	o.Certificate = func() (*tls.Certificate, error) { return &serving, nil }
	s := New(o)
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := s.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	return "https://" + s.Addrs()[0].String()
}

func TestWhoMayDoWhat(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	client := fake.NewClientset()
	reviews := 0
	client.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		reviews++
		tr := a.(clienttesting.CreateAction).GetObject().(*authn.TokenReview).DeepCopy()
		switch tr.Spec.Token {
		case "down":
			return true, nil, errors.New("server is down")
		case "metrics":
			tr.Status = authn.TokenReviewStatus{Authenticated: true, User: authn.UserInfo{Username: "scraper", Groups: []string{"g"}}}
		}
		return true, tr, nil
	})
	client.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		reviews++
		r := a.(clienttesting.CreateAction).GetObject().(*authz.SubjectAccessReview).DeepCopy()
		at := r.Spec.ResourceAttributes
		if at.Resource != "nodes" || at.Name != "node" {
			t.Errorf("asked about %+v", at)
		}
		if r.Spec.User == "unlucky" {
			return true, nil, errors.New("server is down")
		}
		r.Status.Allowed = r.Spec.User == "scraper" && (at.Subresource == "metrics" || at.Subresource == "stats") && at.Verb == "get" ||
			r.Spec.User == "reader" && at.Subresource == "pods"
		return true, r, nil
	})
	base := startServer(t, ca, Options{Client: client, Pods: onePod{testPod()}, Stats: fixedStats{}, Metrics: http.NotFoundHandler()})
	masters := ca.issue("kube-apiserver", x509.ExtKeyUsageClientAuth, "system:masters")
	reader := ca.issue("reader", x509.ExtKeyUsageClientAuth)
	unlucky := ca.issue("unlucky", x509.ExtKeyUsageClientAuth)
	forged := other.issue("kube-apiserver", x509.ExtKeyUsageClientAuth, "system:masters")
	serving := ca.issue("node", x509.ExtKeyUsageServerAuth, "system:masters")

	for _, tc := range []struct {
		what         string
		cert         *tls.Certificate
		token        string
		method, path string
		want         int // 0: no connection
		text         string
	}{
		{"health, from this machine", nil, "", "GET", "/healthz", 200, "ok"},
		{"nobody", nil, "", "GET", "/pods", 401, "Unauthorized"},
		{"a token that is not one", nil, "bad", "GET", "/pods", 401, "Unauthorized"},
		{"a token that cannot be asked about", nil, "down", "GET", "/pods", 401, "Unauthorized"},
		{"masters", &masters, "", "GET", "/pods", 200, `"kind":"PodList"`},
		{"a path that is not there", &masters, "", "GET", "/nothing", 404, ""},
		{"masters of another cluster", &forged, "", "GET", "/pods", 0, ""},
		{"a serving certificate", &serving, "", "GET", "/pods", 0, ""},
		{"metrics by token", nil, "metrics", "GET", "/metrics/resource", 200, "resource_scrape_error 0"},
		{"metrics by token, again", nil, "metrics", "GET", "/metrics/resource", 200, "node_cpu"},
		{"more than metrics", nil, "metrics", "GET", "/containerLogs/default/p/c", 403, "Forbidden (user=scraper, verb=get, resource=nodes, subresource(s)=[proxy])"},
		{"summary", nil, "metrics", "GET", "/stats/summary?only_cpu_and_memory=true", 200, `"nodeName":"node"`},
		{"fine-grained right", &reader, "", "GET", "/pods", 200, `"uid":"u1"`},
		{"only that right", &reader, "", "POST", "/run/default/p/c?cmd=x", 403, "Forbidden (user=reader, verb=create, resource=nodes, subresource(s)=[proxy])"},
		{"a right that cannot be asked about", &unlucky, "", "GET", "/pods", 500, "Authorization error"},
	} {
		config := &tls.Config{RootCAs: ca.pool}
		if tc.cert != nil {
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return tc.cert, nil }
		}
		transport := &http.Transport{TLSClientConfig: config}
		req, err := http.NewRequest(tc.method, base+tc.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tc.token != "" {
			req.Header.Set("Authorization", "Bearer "+tc.token)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			if tc.want != 0 {
				t.Errorf("%s: %v", tc.what, err)
			}
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != tc.want || !strings.Contains(string(body), tc.text) {
			t.Errorf("%s: %d %s\nwant %d %s", tc.what, resp.StatusCode, body, tc.want, tc.text)
		}
		transport.CloseIdleConnections()
	}
	// 2 bad tokens, 1 good; rights: metrics, proxy and stats of scraper, pods and proxy of reader, one that failed.
	if reviews != 9 {
		t.Errorf("the API server was asked %d times, want 9: answers are remembered", reviews)
	}
}

type fixedStats struct{}

func (fixedStats) Summary(context.Context) (*stats.Summary, error) {
	at := metav1.NewTime(time.UnixMilli(1700000000123))
	return &stats.Summary{
		Node: stats.NodeStats{NodeName: "node", CPU: &stats.CPUStats{Time: at, UsageCoreNanoSeconds: ptr.To[uint64](2.5e9)}, Fs: &stats.FsStats{}},
		Pods: []stats.PodStats{{
			PodRef: stats.PodReference{Name: `q"\`, Namespace: "ns"},
			Memory: &stats.MemoryStats{Time: at, WorkingSetBytes: ptr.To[uint64](4096)},
			Containers: []stats.ContainerStats{{Name: "c", StartTime: at, CPU: &stats.CPUStats{Time: at, UsageCoreNanoSeconds: ptr.To[uint64](1e8)},
				Rootfs: &stats.FsStats{UsedBytes: ptr.To[uint64](7)}}},
		}},
	}, nil
}

func TestMetricsText(t *testing.T) {
	s := New(Options{Stats: fixedStats{}})
	get := func(h http.HandlerFunc) []string {
		w := httptest.NewRecorder()
		h(w, httptest.NewRequest("GET", "/", nil))
		var out []string
		for _, l := range strings.Split(w.Body.String(), "\n") {
			if l != "" && !strings.HasPrefix(l, "#") {
				out = append(out, l)
			}
		}
		return out
	}
	if d := cmp.Diff([]string{
		`node_cpu_usage_seconds_total 2.5 1700000000123`,
		`container_cpu_usage_seconds_total{container="c",namespace="ns",pod="q\"\\"} 0.1 1700000000123`,
		`container_start_time_seconds{container="c",namespace="ns",pod="q\"\\"} 1.700000000123e+09`,
		`pod_memory_working_set_bytes{namespace="ns",pod="q\"\\"} 4096 1700000000123`,
		`resource_scrape_error 0`,
	}, get(s.resourceMetrics)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{
		`container_cpu_usage_seconds_total{container="c",namespace="ns",pod="q\"\\"} 0.1`,
		`container_fs_usage_bytes{container="c",namespace="ns",pod="q\"\\"} 7`,
	}, get(s.containerMetrics)); d != "" {
		t.Error(d)
	}
	w := httptest.NewRecorder()
	s.summary(w, httptest.NewRequest("GET", "/stats/summary?only_cpu_and_memory=true", nil))
	var lean stats.Summary
	if err := json.Unmarshal(w.Body.Bytes(), &lean); err != nil {
		t.Fatal(err)
	}
	if lean.Node.Fs != nil || lean.Pods[0].Containers[0].Rootfs != nil || lean.Pods[0].Containers[0].CPU == nil {
		t.Errorf("summary of cpu and memory alone: %s", w.Body)
	}
}

func TestLogOptions(t *testing.T) {
	for query, want := range map[string]any{
		"":                               &v1.PodLogOptions{},
		"follow=true&tailLines=5":        &v1.PodLogOptions{Follow: true, TailLines: ptr.To[int64](5)},
		"tail=7&timestamps=true":         &v1.PodLogOptions{TailLines: ptr.To[int64](7), Timestamps: true},
		"tail=all&previous=1":            &v1.PodLogOptions{Previous: true},
		"limitBytes=10&sinceSeconds=3":   &v1.PodLogOptions{LimitBytes: ptr.To[int64](10), SinceSeconds: ptr.To[int64](3)},
		"sinceTime=2030-01-01T00:00:00Z": &v1.PodLogOptions{SinceTime: &metav1.Time{Time: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}},
		"stream=Stdout":                  &v1.PodLogOptions{Stream: ptr.To("Stdout")},
		"stream=Both":                    `invalid stream type "Both"`,
		"tailLines=-1":                   "Invalid request: tailLines must be a number of at least 0",
		"limitBytes=0":                   "Invalid request: limitBytes must be a number of at least 1",
		"sinceSeconds=x":                 "Invalid request: sinceSeconds must be a number of at least 1",
		"sinceTime=now":                  "Invalid request: sinceTime is no RFC 3339 time",
		"sinceTime=2030-01-01T00:00:00Z&sinceSeconds=1": "Invalid request: at most one of `sinceTime` or `sinceSeconds` may be specified",
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		got, err := logOptions(q)
		if text, ok := want.(string); ok {
			if err == nil || err.Error() != text {
				t.Errorf("%s: %v, want %s", query, err, text)
			}
			continue
		}
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v %s", query, err, d)
		}
	}
}

// containers is a runtime that lists the attempts given, "r" running, "x" exited, "c" created, oldest first.
type containers struct {
	cri.RuntimeService
	states string
}

func (c containers) ListContainers(context.Context, *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	var out []*runtimeapi.Container
	for i, s := range c.states {
		state := map[rune]runtimeapi.ContainerState{'r': runtimeapi.ContainerState_CONTAINER_RUNNING, 'x': runtimeapi.ContainerState_CONTAINER_EXITED, 'c': runtimeapi.ContainerState_CONTAINER_CREATED}[s]
		out = append(out, &runtimeapi.Container{Id: string(rune('0' + i)), State: state, Metadata: &runtimeapi.ContainerMetadata{Attempt: uint32(i)}})
	}
	return out, nil
}

func TestWhichLog(t *testing.T) {
	const none = `previous terminated container "c" in pod "p" not found`
	for _, tc := range []struct {
		what, states, waiting string
		now, previous         string // ids or errors
	}{
		{"running for the first time", "r", "", "0", none},
		{"running again", "xr", "", "1", "0"},
		{"being started again", "xc", "", "0", none},
		{"crashed, waits to be started again", "xx", "CrashLoopBackOff", "1", "1"},
		{"ended for good", "x", "", "0", none},
		{"ended for good the second time", "xx", "", "1", "0"},
		{"image is missing", "", "ErrImagePull", `container "c" in pod "p" is waiting to start: image can't be pulled`, none},
		{"image is still missing", "", "ImagePullBackOff", `container "c" in pod "p" is waiting to start: trying and failing to pull image`, none},
		{"not yet there", "", "ContainerCreating", `container "c" in pod "p" is waiting to start: ContainerCreating`, none},
		{"not heard of", "", "", `container "c" in pod "p" is not available`, none},
	} {
		pod := testPod()
		if tc.waiting != "" {
			pod.Status.ContainerStatuses = []v1.ContainerStatus{{Name: "c", State: v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: tc.waiting}}}}
		}
		s := New(Options{Runtime: containers{states: tc.states}})
		for previous, want := range map[bool]string{false: tc.now, true: tc.previous} {
			c, err := s.loggedContainer(t.Context(), pod, "c", previous)
			got := c.GetId()
			if err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("%s, previous %t: %s, want %s", tc.what, previous, got, want)
			}
		}
	}
}
