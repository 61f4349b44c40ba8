// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/hivemind-project/hivemind/apis/config"
)

const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  namespaces: [kube-public]
- level: Metadata
  resources: [{resources: [secrets]}]
- level: Request
  resources: [{resources: [configmaps]}]
  omitStages: [ResponseStarted]
- level: RequestResponse
  resources: [{resources: [pods, pods/exec]}]
- level: Metadata
`

// audited is a cluster with a log of what was asked of it.
type audited struct {
	*cluster
	log string
}

func newAudited(t *testing.T, change func(*config.Config)) audited {
	t.Helper()
	dir := t.TempDir()
	policy := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "hivemind")
	c := startCluster(t, data, func(c *config.Config) {
		c.Audit.PolicyFile = policy
		change(c)
	})
	return audited{c, filepath.Join(data, "logs", "audit.log")}
}

// events are those logged so far that which is content with.
func (a audited) events(t *testing.T, which func(e *auditv1.Event) bool) (found []auditv1.Event) {
	t.Helper()
	text, err := os.ReadFile(a.log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var e auditv1.Event
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // it is being written
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if e.Kind != "Event" || e.APIVersion != "audit.k8s.io/v1" || e.AuditID == "" || e.StageTimestamp.IsZero() {
			t.Fatalf("not an event: %s", line)
		}
		if which(&e) {
			found = append(found, e)
		}
	}
	return found
}

// one waits for the event of a verb on an object, at a stage.
func (a audited) one(t *testing.T, stage auditv1.Stage, verb, resource, namespace, name string) auditv1.Event {
	t.Helper()
	var found []auditv1.Event
	eventually(t, strings.Join([]string{"the event", string(stage), verb, resource, namespace, name}, " "), func() (bool, error) {
		found = a.events(t, func(e *auditv1.Event) bool {
			o := e.ObjectRef
			return e.Stage == stage && e.Verb == verb && o != nil && strings.TrimSuffix(o.Resource+"/"+o.Subresource, "/") == resource && o.Namespace == namespace && o.Name == name
		})
		return len(found) > 0, nil
	})
	if len(found) > 1 {
		t.Errorf("%d events of %s %s %s/%s", len(found), verb, resource, namespace, name)
	}
	return found[0]
}

func TestAuditLevels(t *testing.T) {
	a := newAudited(t, func(*config.Config) {})
	const word = "fjord-of-glass"
	create := func(namespace string) {
		t.Helper()
		meta := metav1.ObjectMeta{Name: "audited"}
		_, err := a.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{ObjectMeta: meta, StringData: map[string]string{"k": word}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.CoreV1().ConfigMaps(namespace).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"k": "as sent"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		pod := &corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
		if _, err := a.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create("default")
	for _, c := range []struct {
		resource          string
		level             auditv1.Level
		request, response string // in the objects; "" for no object
	}{
		{"secrets", auditv1.LevelMetadata, "", ""},
		{"configmaps", auditv1.LevelRequest, "as sent", ""},
		{"pods", auditv1.LevelRequestResponse, `"image":"i"`, `"uid":`},
	} {
		e := a.one(t, auditv1.StageResponseComplete, "create", c.resource, "default", "audited")
		if e.Level != c.level || e.User.Username != "kubernetes-admin" || e.ResponseStatus == nil || e.ResponseStatus.Code != http.StatusCreated || len(e.SourceIPs) == 0 || e.UserAgent == "" {
			t.Errorf("%s: %+v", c.resource, e)
		}
		for part, o := range map[string]struct {
			want string
			got  []byte
		}{"request": {c.request, raw(e.RequestObject)}, "response": {c.response, raw(e.ResponseObject)}} {
			if !strings.Contains(string(o.got), o.want) || o.want == "" && o.got != nil {
				t.Errorf("%s of %s: %s, want %q", part, c.resource, o.got, o.want)
			}
		}
	}
	if text, err := os.ReadFile(a.log); err != nil || bytes.Contains(text, []byte(word)) {
		t.Errorf("the secret is in the log, or none is (%v)", err)
	}
	create("kube-public")
	a.one(t, auditv1.StageResponseComplete, "create", "pods", "default", "audited")
	if of := a.events(t, func(e *auditv1.Event) bool { return e.ObjectRef != nil && e.ObjectRef.Namespace == "kube-public" }); len(of) > 0 {
		t.Errorf("events that are not wanted: %+v", of)
	}
	if info, err := os.Stat(a.log); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	a.stop()
	if early := a.events(t, func(e *auditv1.Event) bool { return e.Stage == auditv1.StageRequestReceived }); len(early) > 0 {
		t.Errorf("events of a stage that is left out: %+v", early[0])
	}
}

// raw is an object of an event as JSON, nil where there is none.
func raw(o *runtime.Unknown) []byte {
	if o == nil {
		return nil
	}
	return o.Raw
}

// TestAuditStreams: what takes long is logged when it begins and when it ends.
func TestAuditStreams(t *testing.T) {
	a := newAudited(t, func(c *config.Config) { c.Runtime = config.RuntimeSimulated })
	watch, err := a.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	watch.Stop()
	// The rule of configmaps leaves the beginning out.
	if e := a.one(t, auditv1.StageResponseComplete, "watch", "configmaps", "default", ""); e.Level != auditv1.LevelRequest || e.ResponseStatus.Code != http.StatusOK {
		t.Errorf("watch: %+v", e)
	}
	watch, err = a.CoreV1().Secrets("default").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	begun := a.one(t, auditv1.StageResponseStarted, "watch", "secrets", "default", "")
	watch.Stop()
	if ended := a.one(t, auditv1.StageResponseComplete, "watch", "secrets", "default", ""); begun.AuditID != ended.AuditID || begun.ResponseStatus.Code != http.StatusOK {
		t.Errorf("watch began %+v\nended %+v", begun, ended)
	}

	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	eventually(t, "a pod to be taken", func() (bool, error) {
		_, err := a.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
		return err == nil || apierrors.IsAlreadyExists(err), err
	})
	eventually(t, "the pod to run", func() (bool, error) {
		p, err := a.CoreV1().Pods("default").Get(t.Context(), "p", metav1.GetOptions{})
		return err == nil && p.Status.Phase == corev1.PodRunning, err
	})
	url := a.CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name("p").SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: []string{"echo", "hello"}, Stdout: true}, scheme.ParameterCodec).URL()
	exec, err := remotecommand.NewSPDYExecutor(a.config, http.MethodPost, url)
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: io.Discard}); err != nil {
		t.Fatal(err)
	}
	for _, stage := range []auditv1.Stage{auditv1.StageResponseStarted, auditv1.StageResponseComplete} {
		e := a.one(t, stage, "create", "pods/exec", "default", "p")
		if e.Level != auditv1.LevelRequestResponse || e.ResponseStatus.Code != http.StatusSwitchingProtocols || !strings.Contains(e.RequestURI, "command=echo&command=hello") {
			t.Errorf("exec: %+v", e)
		}
	}
	// Parts of this process are clients as any other, each as itself.
	for _, who := range []struct{ user, verb, resource, namespace, name string }{
		{"system:kube-scheduler", "create", "pods/binding", "default", "p"},
		{"system:serviceaccount:kube-system:root-ca-cert-publisher", "create", "configmaps", "default", "kube-root-ca.crt"},
	} {
		if e := a.one(t, auditv1.StageResponseComplete, who.verb, who.resource, who.namespace, who.name); e.User.Username != who.user {
			t.Errorf("%s of %s: user %s, want %s", who.verb, who.resource, e.User.Username, who.user)
		}
	}
}

func TestAuditRefusals(t *testing.T) {
	a := newAudited(t, func(*config.Config) {})
	nobody := rest.AnonymousClientConfig(a.config)
	if _, err := kubernetes.NewForConfigOrDie(nobody).CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Fatalf("nobody: %v", err)
	}
	e := a.one(t, auditv1.StageResponseStarted, "list", "secrets", "kube-system", "")
	if e.User.Username != "" || e.ResponseStatus.Code != http.StatusUnauthorized || e.ResponseStatus.Message != "Unauthorized" {
		t.Errorf("nobody: %+v", e)
	}
	eve := rest.CopyConfig(a.config)
	eve.Impersonate.UserName = "eve"
	if _, err := kubernetes.NewForConfigOrDie(eve).CoreV1().Secrets("default").Get(t.Context(), "s", metav1.GetOptions{}); !apierrors.IsForbidden(err) {
		t.Fatalf("eve: %v", err)
	}
	e = a.one(t, auditv1.StageResponseComplete, "get", "secrets", "default", "s")
	if e.User.Username != "kubernetes-admin" || e.ImpersonatedUser == nil || e.ImpersonatedUser.Username != "eve" || e.ResponseStatus.Code != http.StatusForbidden || e.Annotations["authorization.k8s.io/decision"] != "forbid" {
		t.Errorf("eve: %+v", e)
	}
}

func TestAuditAnnotations(t *testing.T) {
	a := newAudited(t, func(*config.Config) {})
	ann := a.as(t, "ann", "edit")
	namespace, err := a.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	namespace.Labels["pod-security.kubernetes.io/audit"] = "restricted"
	if _, err := a.CoreV1().Namespaces().Update(t.Context(), namespace, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "admission to see the label", func() (bool, error) {
		n, err := a.server.Informers().Core().V1().Namespaces().Lister().Get("default")
		return err == nil && n.Labels["pod-security.kubernetes.io/audit"] != "", err
	})
	h := newReviewer(t, a.cluster, "127.0.0.1", func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Allowed: true, AuditAnnotations: map[string]string{"seen": "yes"}}
	})
	a.mutate(t, mutating("mark.example.com", h, on("pods", "CREATE"), nil))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	if _, err := ann.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got := a.one(t, auditv1.StageResponseComplete, "create", "pods", "default", "p").Annotations
	for key, want := range map[string]string{
		"authorization.k8s.io/decision":                     "allow",
		"authorization.k8s.io/reason":                       `RBAC: allowed by RoleBinding "ann/default" of ClusterRole "edit" to User "ann"`,
		"pod-security.kubernetes.io/enforce-policy":         "privileged:latest",
		"mark.example.com/seen":                             "yes",
		"mutation.webhook.admission.k8s.io/round_0_index_0": `{"configuration":"test-`,
		"pod-security.kubernetes.io/audit-violations":       `would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false`,
	} {
		if !strings.HasPrefix(got[key], want) {
			t.Errorf("%s: %q, want %q", key, got[key], want)
		}
	}
}
