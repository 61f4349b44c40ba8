// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

func newConfigMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"a": "b"}}
}

// status is what the error says, for comparison: code, reason and message.
func status(err error) string {
	if err == nil {
		return "ok"
	}
	s, ok := err.(apierrors.APIStatus)
	if !ok {
		return err.Error()
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", s.Status().Code, s.Status().Reason, s.Status().Message))
}

// What a webhook answers reaches the client as from kube-apiserver.
func TestWebhookAnswers(t *testing.T) {
	c := newCluster(t)
	answers := map[string]*admissionv1.AdmissionResponse{
		"allowed": {Allowed: true},
		"silent":  {},
		"message": deny("not today"),
		"reason":  {Result: &metav1.Status{Reason: "Tuesday"}},
		"code":    {Result: &metav1.Status{Message: "gone fishing", Code: 410, Reason: metav1.StatusReasonGone}},
		"success": {Result: &metav1.Status{Message: "all is well", Code: 200}},
	}
	h := newReviewer(t, c, "127.0.0.1", func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		answer := *answers[r.Name]
		return &answer
	})
	c.validate(t, validating(h, on("configmaps", "CREATE"), func(w *admissionregistrationv1.ValidatingWebhook) {
		w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: "default"}}
	}))
	const denied = `admission webhook "check.example.com" denied the request`
	for name, want := range map[string]string{
		"allowed": "ok",
		"silent":  "400  " + denied + " without explanation",
		"message": "400  " + denied + ": not today",
		"reason":  "400 Tuesday " + denied + ": Tuesday",
		"code":    "410 Gone " + denied + ": gone fishing",
		"success": "400  " + denied + ": all is well",
	} {
		_, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), newConfigMap(name), metav1.CreateOptions{})
		if got := status(err); got != want {
			t.Errorf("%s: got %q\nwant %q", name, got, want)
		}
	}
	if _, err := c.CoreV1().ConfigMaps("kube-system").Create(t.Context(), newConfigMap("message"), metav1.CreateOptions{}); err != nil {
		t.Errorf("in a namespace that is not selected: %v", err)
	}
}

// A review tells who wants what.
func TestWebhookIsTold(t *testing.T) {
	c := newCluster(t)
	h := newReviewer(t, c, "127.0.0.1", func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Allowed: true, Warnings: []string{"mind the " + string(r.Operation)}}
	})
	c.validate(t, validating(h, on("configmaps", "CREATE", "UPDATE", "DELETE"), nil))
	client, warned := c.warned()
	maps := client.CoreV1().ConfigMaps("default")

	made, err := maps.Create(t.Context(), newConfigMap("told"), metav1.CreateOptions{FieldManager: "tester"})
	if err != nil {
		t.Fatal(err)
	}
	made.Data["a"] = "c"
	if _, err := maps.Update(t.Context(), made, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(t.Context(), "told", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range h.requests() {
		if r.Namespace != "default" || r.Name != "told" {
			continue // the server's own
		}
		old, object := "", ""
		for _, part := range []struct {
			raw  []byte
			into *string
		}{{r.OldObject.Raw, &old}, {r.Object.Raw, &object}} {
			if len(part.raw) == 0 {
				continue
			}
			decoded, kind, err := scheme.Codecs.UniversalDeserializer().Decode(part.raw, nil, nil)
			if err != nil {
				t.Fatalf("%s: %v", part.raw, err)
			}
			*part.into = kind.String() + " a=" + decoded.(*corev1.ConfigMap).Data["a"]
		}
		options := strings.Contains(string(r.Options.Raw), `"apiVersion":"meta.k8s.io/v1"`)
		got = append(got, fmt.Sprintf("%s %s %s by %s of %v, dry run %t, old {%s} new {%s} options %t",
			r.Operation, r.Kind.String(), r.Resource.String(), r.UserInfo.Username, r.UserInfo.Groups, *r.DryRun, old, object, options))
	}
	const who = "/v1, Kind=ConfigMap /v1, Resource=configmaps by kubernetes-admin of [system:masters system:authenticated]"
	want := []string{
		"CREATE " + who + ", dry run false, old {} new {/v1, Kind=ConfigMap a=b} options true",
		"UPDATE " + who + ", dry run true, old {/v1, Kind=ConfigMap a=b} new {/v1, Kind=ConfigMap a=c} options true",
		"DELETE " + who + ", dry run false, old {/v1, Kind=ConfigMap a=b} new {} options true",
	}
	if !slices.Equal(got, want) {
		t.Errorf("asked:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if want := []string{"mind the CREATE", "mind the UPDATE", "mind the DELETE"}; !slices.Equal(warned.texts, want) {
		t.Errorf("warned of %q", warned.texts)
	}
}

// What webhooks change is defaulted, validated and stored; one that asks for it sees what later ones have changed.
func TestMutatingWebhooks(t *testing.T) {
	c := newCluster(t)
	ifNeeded := admissionregistrationv1.IfNeededReinvocationPolicy
	again := func(w *admissionregistrationv1.MutatingWebhook) { w.ReinvocationPolicy = &ifNeeded }
	var calls sync.Map
	count := func(name string) {
		n, _ := calls.LoadOrStore(name, 0)
		calls.Store(name, n.(int)+1)
	}
	first := newReviewer(t, c, "127.0.0.1", func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		count("first " + r.Name)
		if strings.Contains(string(r.Object.Raw), `"second":`) {
			return add("first", "has seen second")
		}
		return add("first", "alone")
	})
	second := newReviewer(t, c, "127.0.0.1", func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		count("second " + r.Name)
		return add("second", "here")
	})
	pods := newReviewer(t, c, "127.0.0.1", func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		response := add("", "")
		response.Patch = []byte(`[{"op": "add", "path": "/spec/containers/-", "value": {"name": "side", "image": "i"}}, {"op": "add", "path": "/spec/initContainers", "value": [{"name": "BAD", "image": "i"}]}]`)
		if r.Name == "good" {
			response.Patch = []byte(`[{"op": "add", "path": "/spec/containers/-", "value": {"name": "side", "image": "i"}}]`)
		}
		return response
	})
	c.mutate(t,
		mutating("a.example.com", first, on("configmaps", "CREATE"), again),
		mutating("b.example.com", second, on("configmaps", "CREATE"), nil),
		mutating("c.example.com", pods, on("pods", "CREATE"), nil),
	)
	made, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), newConfigMap("m"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if made.Data["first"] != "has seen second" || made.Data["second"] != "here" || made.Data["a"] != "b" {
		t.Errorf("made with %v", made.Data)
	}
	stored, err := c.CoreV1().ConfigMaps("default").Get(t.Context(), "m", metav1.GetOptions{})
	if err != nil || stored.Data["first"] != "has seen second" {
		t.Errorf("stored %v, %v", stored.Data, err)
	}
	for name, want := range map[string]int{"first m": 2, "second m": 1} {
		if n, _ := calls.Load(name); n != want {
			t.Errorf("%s was called %v times, want %d", name, n, want)
		}
	}

	c.defaultAccount(t)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "good"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	changed, err := c.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// Built-in plugins act a second time on what a webhook has changed: here it is mounted the account's token.
	side := changed.Spec.Containers[1]
	if side.Name != "side" || side.TerminationMessagePath == "" || len(side.VolumeMounts) != 1 {
		t.Errorf("the container that was added is %+v", side)
	}
	pod.Name = "bad"
	_, err = c.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), `spec.initContainers[0].name: Invalid value: "BAD"`) {
		t.Errorf("a patch that makes the pod invalid: %v", err)
	}
}

// A webhook that does not answer as it should fails the request or is passed over, as its failure policy says.
func TestWebhookFailures(t *testing.T) {
	c := newCluster(t)
	fail, ignore := admissionregistrationv1.Fail, admissionregistrationv1.Ignore
	hang := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the client has gone
		<-r.Context().Done()
	}
	stopped := newHook(t, c, "127.0.0.1", hang)
	stopped.Close()
	second := int32(1)
	for _, test := range []struct {
		name   string
		hook   *hook
		change func(*admissionregistrationv1.ValidatingWebhook)
		// want, of the message; with Ignore there is none.
		want string
	}{
		{"timeout", newHook(t, c, "127.0.0.1", hang), func(w *admissionregistrationv1.ValidatingWebhook) { w.TimeoutSeconds = &second }, "context deadline exceeded"},
		{"unreachable", stopped, nil, "connect: connection refused"},
		{"error", newHook(t, c, "127.0.0.1", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "I am ill", http.StatusInternalServerError)
		}), nil,
			"an error on the server (\"I am ill\") has prevented the request from succeeding"},
		{"nonsense", newHook(t, c, "127.0.0.1", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"what": 1}`) }), nil, ""},
		{"no authority", newReviewer(t, c, "127.0.0.1", allow), func(w *admissionregistrationv1.ValidatingWebhook) { w.ClientConfig.CABundle = nil },
			"tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		{"no service", newReviewer(t, c, "127.0.0.1", allow), func(w *admissionregistrationv1.ValidatingWebhook) {
			w.ClientConfig.URL, w.ClientConfig.Service = nil, &admissionregistrationv1.ServiceReference{Namespace: "default", Name: "nobody"}
		}, `failed to call webhook: Post "https://nobody.default.svc:443/?timeout=10s": service "nobody" not found`},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, policy := range []*admissionregistrationv1.FailurePolicyType{&fail, &ignore} {
				t.Run(string(*policy), func(t *testing.T) {
					c.validate(t, validating(test.hook, on("configmaps", "CREATE"), func(w *admissionregistrationv1.ValidatingWebhook) {
						w.FailurePolicy = policy
						if test.change != nil {
							test.change(w)
						}
					}))
					_, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), newConfigMap("f"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
					if policy == &ignore {
						if err != nil {
							t.Error(err)
						}
						return
					}
					got := status(err)
					if !strings.HasPrefix(got, `500 InternalError Internal error occurred: failed calling webhook "check.example.com": `) || !strings.Contains(got, test.want) {
						t.Errorf("got %s", got)
					}
				})
			}
		})
	}
}

// Conditions are asked before the webhook is.
func TestWebhookMatchConditions(t *testing.T) {
	c := newCluster(t)
	h := newReviewer(t, c, "127.0.0.1", func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse { return deny("asked") })
	c.validate(t, validating(h, on("configmaps", "CREATE"), func(w *admissionregistrationv1.ValidatingWebhook) {
		w.MatchConditions = []admissionregistrationv1.MatchCondition{
			{Name: "not-a-lease", Expression: `!object.metadata.name.startsWith('exempt')`},
			{Name: "not-an-admin", Expression: `!authorizer.group('').resource('configmaps').namespace(request.namespace).name('all').check('breakglass').allowed()`},
			{Name: "has-key", Expression: `object.data.key == 'x'`},
		}
	}))
	const forbidden = `403 Forbidden configmaps "plain" is forbidden: expression 'object.data.key == 'x'' resulted in error: no such key: key`
	keyed := newConfigMap("keyed")
	keyed.Data["key"] = "x"
	someone := c.as(t, "someone", "edit")
	for _, test := range []struct {
		client kubernetes.Interface
		object *corev1.ConfigMap
		want   string
	}{
		{c, newConfigMap("exempt-1"), "ok"},
		{c, newConfigMap("plain"), "ok"}, // an administrator may do anything, even what has no meaning
		{someone, newConfigMap("plain"), forbidden},
		{someone, keyed, `400  admission webhook "check.example.com" denied the request: asked`},
	} {
		_, err := test.client.CoreV1().ConfigMaps("default").Create(t.Context(), test.object, metav1.CreateOptions{})
		if got := status(err); got != test.want {
			t.Errorf("%s: got %s\nwant %s", test.object.Name, got, test.want)
		}
	}
}

// as returns a client of a user who has a ClusterRole in the namespace default.
func (c *cluster) as(t *testing.T, name, role string) *kubernetes.Clientset {
	t.Helper()
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}}}
	if _, err := c.RbacV1().RoleBindings("default").Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	config := rest.CopyConfig(c.config)
	config.Impersonate.UserName = name
	client := kubernetes.NewForConfigOrDie(config)
	eventually(t, "the binding to count", func() (bool, error) {
		_, err := client.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
		return err == nil, err
	})
	return client
}

// A webhook hears of an object by whatever name it is written, unless it wants to be taken to the letter.
func TestWebhookMatchPolicy(t *testing.T) {
	c := newCluster(t)
	h := newReviewer(t, c, "127.0.0.1", func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return deny(r.Resource.String() + " for " + r.RequestResource.String())
	})
	exact := admissionregistrationv1.Exact
	event := &eventsv1.Event{ObjectMeta: metav1.ObjectMeta{GenerateName: "e-"}, EventTime: metav1.NowMicro(), ReportingController: "example.com/c", ReportingInstance: "i", Action: "a", Reason: "r", Type: "Normal"}
	t.Run("Equivalent", func(t *testing.T) {
		c.validate(t, validating(h, on("events", "CREATE"), nil))
		_, err := c.EventsV1().Events("default").Create(t.Context(), event, metav1.CreateOptions{})
		if err == nil || !strings.Contains(err.Error(), "denied the request: /v1, Resource=events for events.k8s.io/v1, Resource=events") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("Exact", func(t *testing.T) {
		c.validate(t, validating(h, on("events", "CREATE"), func(w *admissionregistrationv1.ValidatingWebhook) { w.MatchPolicy = &exact }))
		if _, err := c.EventsV1().Events("default").Create(t.Context(), event, metav1.CreateOptions{}); err != nil {
			t.Errorf("got %v", err)
		}
	})
}

// A webhook that is a service is called at one of its endpoints, under the service's name.
func TestWebhookByService(t *testing.T) {
	c := newCluster(t)
	h := newReviewer(t, c, ownAddress(t), func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse { return deny("from the service") })
	service, path := c.storeService(t), "/deep/path"
	c.validate(t, validating(h, on("configmaps", "CREATE"), func(w *admissionregistrationv1.ValidatingWebhook) {
		w.ClientConfig.URL, w.ClientConfig.Service = nil, &admissionregistrationv1.ServiceReference{Namespace: service.Namespace, Name: service.Name, Path: &path, Port: &service.Spec.Ports[0].Port}
	}))
	create := func() error {
		_, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), newConfigMap("s"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	const unavailable = `500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://hook.default.svc:8443/deep/path?timeout=10s": no endpoints available for service "hook"`
	if got := status(create()); got != unavailable {
		t.Errorf("without endpoints: %s", got)
	}
	c.storeEndpoint(t, h)
	eventually(t, "the endpoint to be found", func() (bool, error) {
		err := create()
		return status(err) == `400  admission webhook "check.example.com" denied the request: from the service`, err
	})
}

// What is asked of an object by a subresource is of a kind of its own.
func TestWebhookForSubresources(t *testing.T) {
	c := newCluster(t)
	h := newReviewer(t, c, "127.0.0.1", func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		if r.UserInfo.Username != "kubernetes-admin" {
			return allow(r)
		}
		decoded, _, err := scheme.Codecs.UniversalDeserializer().Decode(r.Object.Raw, nil, nil)
		return deny(fmt.Sprintf("%s %s/%s of %s is a %T, %v", r.Operation, r.Resource.Resource, r.SubResource, r.Kind.String(), decoded, err))
	})
	c.validate(t, validating(h, []admissionregistrationv1.RuleWithOperations{{
		Operations: []admissionregistrationv1.OperationType{"*"},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/scale", "pods/ephemeralcontainers", "pods/eviction", "pods/binding", "pods/exec", "serviceaccounts/token", "namespaces/finalize"}},
	}}, nil))
	ctx, core := t.Context(), c.CoreV1()
	c.defaultAccount(t)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	if _, err := core.Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AppsV1().Deployments("default").Create(ctx, newDeployment("d", 0), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, scale := c.AppsV1().Deployments("default").UpdateScale(ctx, "d", &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "d", Namespace: "default"}}, metav1.UpdateOptions{})
	_, token := core.ServiceAccounts("default").CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	_, finalize := core.Namespaces().Finalize(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.UpdateOptions{})
	_, ephemeral := core.Pods("default").UpdateEphemeralContainers(ctx, "p", pod, metav1.UpdateOptions{})
	for _, test := range []struct {
		err  error
		want string
	}{
		{scale, "UPDATE deployments/scale of autoscaling/v1, Kind=Scale is a *v1.Scale, <nil>"},
		{token, "CREATE serviceaccounts/token of authentication.k8s.io/v1, Kind=TokenRequest is a *v1.TokenRequest, <nil>"},
		{finalize, "UPDATE namespaces/finalize of /v1, Kind=Namespace is a *v1.Namespace, <nil>"},
		{ephemeral, "UPDATE pods/ephemeralcontainers of /v1, Kind=Pod is a *v1.Pod, <nil>"},
		{core.Pods("default").EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "p"}}), "CREATE pods/eviction of policy/v1, Kind=Eviction is a *v1.Eviction, <nil>"},
		{core.Pods("default").Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}, metav1.CreateOptions{}),
			"CREATE pods/binding of /v1, Kind=Binding is a *v1.Binding, <nil>"},
		{core.RESTClient().Post().Namespace("default").Resource("pods").Name("p").SubResource("exec").
			VersionedParams(&corev1.PodExecOptions{Container: "c", Command: []string{"true"}}, scheme.ParameterCodec).Do(ctx).Error(),
			"CONNECT pods/exec of /v1, Kind=PodExecOptions is a *v1.PodExecOptions, <nil>"},
	} {
		if got, want := status(test.err), `400  admission webhook "check.example.com" denied the request: `+test.want; got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}
