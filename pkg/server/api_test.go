// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func TestObjectsSurviveARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hivemind")
	c := startCluster(t, dir)
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	made, err := c.CoreV1().Services("default").Create(t.Context(), svc, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.stop()

	c = startCluster(t, dir)
	got, err := c.CoreV1().Services("default").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || got.UID != made.UID || got.Spec.ClusterIP != made.Spec.ClusterIP {
		t.Fatalf("after a restart: %v, %v; made %v", got, err, made)
	}
	// What was handed out before is not handed out again.
	svc.Name, svc.Spec.ClusterIP = "other", made.Spec.ClusterIP
	_, err = c.CoreV1().Services("default").Create(t.Context(), svc, metav1.CreateOptions{})
	want := fmt.Sprintf(`Service "other" is invalid: spec.clusterIPs: Invalid value: ["%s"]: failed to allocate IP %s: provided IP is already allocated`, made.Spec.ClusterIP, made.Spec.ClusterIP)
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestServiceAllocation(t *testing.T) {
	c := newCluster(t)
	services := c.CoreV1().Services("default")
	create := func(name string, spec corev1.ServiceSpec) (*corev1.Service, error) {
		return services.Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
	}
	http := []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}
	node, err := create("node", corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: http})
	if err != nil {
		t.Fatal(err)
	}
	if p := node.Spec.Ports[0].NodePort; p < 30000 || p > 32767 {
		t.Errorf("node port %d", p)
	}
	taken := node.Spec.Ports[0].NodePort
	_, err = create("taken", corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80, NodePort: taken}}})
	if want := fmt.Sprintf(`Service "taken" is invalid: spec.ports[0].nodePort: Invalid value: %d: provided port is already allocated`, taken); err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	headless, err := create("headless", corev1.ServiceSpec{ClusterIP: "None", Selector: map[string]string{"a": "b"}, Ports: http})
	if err != nil || headless.Spec.ClusterIP != "None" || len(headless.Spec.IPFamilies) != 1 {
		t.Errorf("headless: %+v, %v", headless.Spec, err)
	}
	// What the server filled in stays when a manifest without it is written again, and goes with the type.
	node.Spec.Ports[0].NodePort, node.Spec.ClusterIP, node.Spec.ClusterIPs = 0, "", nil
	again, err := services.Update(t.Context(), node, metav1.UpdateOptions{})
	if err != nil || again.Spec.Ports[0].NodePort != taken || again.Spec.ClusterIP == "" {
		t.Fatalf("written again: %+v, %v", again.Spec, err)
	}
	again.Spec.Type, again.Spec.ExternalTrafficPolicy = corev1.ServiceTypeClusterIP, ""
	plain, err := services.Update(t.Context(), again, metav1.UpdateOptions{})
	if err != nil || plain.Spec.Ports[0].NodePort != 0 {
		t.Fatalf("as ClusterIP: %+v, %v", plain.Spec, err)
	}
	if _, err := create("reuse", corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80, NodePort: taken}}}); err != nil {
		t.Errorf("the port that was given back is not free: %v", err)
	}
	// A dry run takes nothing.
	dry, err := services.Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "dry"}, Spec: corev1.ServiceSpec{Ports: http}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := create("real", corev1.ServiceSpec{ClusterIP: dry.Spec.ClusterIP, Ports: http}); err != nil {
		t.Errorf("a dry run has taken its address: %v", err)
	}
}

func newDeployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}},
		},
	}
}

func TestGenerationStatusAndScale(t *testing.T) {
	c := newCluster(t)
	deployments := c.AppsV1().Deployments("default")
	d := newDeployment("d", 1)
	d.Spec.Paused = true // so that no controller writes in between
	d.Status.Replicas = 7
	d, err := deployments.Create(t.Context(), d, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if d.Generation != 1 || d.Status.Replicas != 0 {
		t.Errorf("created with generation %d and status %+v", d.Generation, d.Status)
	}
	patch := func(kind types.PatchType, body string, sub ...string) *appsv1.Deployment {
		t.Helper()
		d, err := deployments.Patch(t.Context(), "d", kind, []byte(body), metav1.PatchOptions{}, sub...)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if d := patch(types.MergePatchType, `{"metadata":{"labels":{"a":"b"}},"status":{"replicas":9}}`); d.Generation != 1 || d.Status.Replicas == 9 {
		t.Errorf("after a change of metadata: generation %d, status %+v", d.Generation, d.Status)
	}
	if d := patch(types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"j"}]}}}}`); d.Generation != 2 {
		t.Errorf("after a change of the spec: generation %d", d.Generation)
	}
	if d := patch(types.MergePatchType, `{"spec":{"replicas":5},"status":{"unavailableReplicas":3}}`, "status"); *d.Spec.Replicas != 1 || d.Status.UnavailableReplicas != 3 || d.Generation != 2 {
		t.Errorf("after a status patch: %d replicas asked, %+v, generation %d", *d.Spec.Replicas, d.Status, d.Generation)
	}
	scale, err := deployments.GetScale(t.Context(), "d", metav1.GetOptions{})
	if err != nil || scale.Status.Selector != "app=d" {
		t.Fatalf("scale: %+v, %v", scale, err)
	}
	scale.Spec.Replicas, scale.ResourceVersion = 4, "" // the controller writes the status at the same time
	if scale, err = deployments.UpdateScale(t.Context(), "d", scale, metav1.UpdateOptions{}); err != nil || scale.Spec.Replicas != 4 {
		t.Fatalf("scaled: %+v, %v", scale, err)
	}
	if d, err = deployments.Get(t.Context(), "d", metav1.GetOptions{}); err != nil || *d.Spec.Replicas != 4 || d.Generation != 3 {
		t.Errorf("after scaling: %d replicas, generation %d, %v", *d.Spec.Replicas, d.Generation, err)
	}
	scale.Spec.Replicas, scale.ResourceVersion = -1, ""
	_, err = deployments.UpdateScale(t.Context(), "d", scale, metav1.UpdateOptions{})
	if want := `Scale.autoscaling "d" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0`; err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestServerSideApply(t *testing.T) {
	c := newCluster(t)
	maps := c.CoreV1().ConfigMaps("default")
	apply := func(manager, value string, force bool) error {
		_, err := maps.Apply(t.Context(), corev1apply.ConfigMap("m", "default").WithData(map[string]string{"k": value}), metav1.ApplyOptions{FieldManager: manager, Force: force})
		return err
	}
	if err := apply("one", "a", false); err != nil {
		t.Fatal(err)
	}
	err := apply("two", "b", false)
	if want := `Apply failed with 1 conflict: conflict with "one": .data.k`; !apierrors.IsConflict(err) || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	if err := apply("two", "b", true); err != nil {
		t.Fatal(err)
	}
	m, err := maps.Get(t.Context(), "m", metav1.GetOptions{})
	if err != nil || m.Data["k"] != "b" || len(m.ManagedFields) != 1 || m.ManagedFields[0].Manager != "two" {
		t.Errorf("after a forced apply: %v, %v, %v", m.Data, m.ManagedFields, err)
	}
}

func TestBinding(t *testing.T) {
	c := newCluster(t)
	pods := c.CoreV1().Pods("default")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{SchedulerName: "none", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	eventually(t, "the default ServiceAccount", func() (bool, error) {
		_, err := pods.Create(t.Context(), pod, metav1.CreateOptions{})
		return err == nil, err
	})
	bind := func(node string) error {
		return pods.Bind(t.Context(), &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: node}}, metav1.CreateOptions{})
	}
	if err := bind("n1"); err != nil {
		t.Fatal(err)
	}
	got, err := pods.Get(t.Context(), "p", metav1.GetOptions{})
	if err != nil || got.Spec.NodeName != "n1" || len(got.Status.Conditions) == 0 || got.Status.Conditions[0].Type != corev1.PodScheduled {
		t.Errorf("bound: %+v %+v, %v", got.Spec.NodeName, got.Status, err)
	}
	err = bind("n2")
	if want := `Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n1"`; err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestEventsOfBothGroups(t *testing.T) {
	c := newCluster(t)
	now := metav1.NowMicro()
	_, err := c.EventsV1().Events("default").Create(t.Context(), &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: "default"}, EventTime: now, ReportingController: "test.io/c", ReportingInstance: "c-1",
		Action: "Testing", Reason: "Because", Type: "Normal", Note: "a note", Regarding: corev1.ObjectReference{Kind: "Pod", Name: "p", Namespace: "default"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	old, err := c.CoreV1().Events("default").Get(t.Context(), "e", metav1.GetOptions{})
	if err != nil || old.Message != "a note" || old.InvolvedObject.Name != "p" || old.APIVersion == "events.k8s.io/v1" {
		t.Errorf("as core/v1: %+v, %v", old, err)
	}
	list, err := c.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=p,reason=Because"})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("selected: %+v, %v", list, err)
	}
	newer, err := c.EventsV1().Events("default").List(t.Context(), metav1.ListOptions{})
	if err != nil || !slices.ContainsFunc(newer.Items, func(e eventsv1.Event) bool { return e.Note == "a note" && e.Regarding.Name == "p" }) {
		t.Errorf("as events.k8s.io/v1: %+v, %v", newer, err)
	}
}

func TestNamespaceEnds(t *testing.T) {
	c := newCluster(t)
	namespaces := c.CoreV1().Namespaces()
	ns, err := namespaces.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{})
	if err != nil || ns.Status.Phase != corev1.NamespaceActive || ns.Labels["kubernetes.io/metadata.name"] != "n" {
		t.Fatalf("made: %+v, %v", ns, err)
	}
	if _, err := c.CoreV1().ConfigMaps("n").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "m"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := namespaces.Delete(t.Context(), "n", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = c.CoreV1().ConfigMaps("n").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "late"}}, metav1.CreateOptions{})
	if want := `configmaps "late" is forbidden: unable to create new content in namespace n because it is being terminated`; err == nil || err.Error() != want && !apierrors.IsNotFound(err) {
		t.Errorf("got %v\nwant %s", err, want)
	}
	eventually(t, "the namespace to go", func() (bool, error) {
		_, err := namespaces.Get(t.Context(), "n", metav1.GetOptions{})
		return apierrors.IsNotFound(err), err
	})
	err = namespaces.Delete(t.Context(), "default", metav1.DeleteOptions{})
	if want := `namespaces "default" is forbidden: this namespace may not be deleted`; err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	c := newCluster(t)
	anonymous := rest.AnonymousClientConfig(c.config)
	get := func(path string) int {
		t.Helper()
		client, err := rest.HTTPClientFor(anonymous)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Get(c.config.Host + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	for path, want := range map[string]int{"/readyz": http.StatusOK, "/livez": http.StatusOK, "/api/v1/namespaces": http.StatusUnauthorized, "/metrics": http.StatusUnauthorized} {
		if got := get(path); got != want {
			t.Errorf("GET %s without credentials: %d, want %d", path, got, want)
		}
	}

	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}
	if _, err := c.CoreV1().ServiceAccounts("default").Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := c.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	anonymous.BearerToken = token.Status.Token
	robot := kubernetes.NewForConfigOrDie(anonymous)
	_, err = robot.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	want := `configmaps is forbidden: User "system:serviceaccount:default:robot" cannot list resource "configmaps" in API group "" in the namespace "default"`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "robot"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "robot", Namespace: "default"}}}
	if _, err := c.RbacV1().RoleBindings("default").Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the binding to count", func() (bool, error) {
		_, err := robot.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
		return err == nil, err
	})
	review, err := robot.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: "default", Verb: "create", Resource: "pods"}}}, metav1.CreateOptions{})
	if err != nil || review.Status.Allowed {
		t.Errorf("review of what view does not grant: %+v, %v", review, err)
	}
	answer, err := c.AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token.Status.Token}}, metav1.CreateOptions{})
	if err != nil || !answer.Status.Authenticated || answer.Status.User.Username != "system:serviceaccount:default:robot" {
		t.Errorf("token review: %+v, %v", answer, err)
	}
	// A token is void as soon as its account is gone.
	if err := c.CoreV1().ServiceAccounts("default").Delete(t.Context(), "robot", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the token to be refused", func() (bool, error) {
		_, err := robot.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
		return apierrors.IsUnauthorized(err), err
	})
}

func TestCustomResources(t *testing.T) {
	c := newCluster(t)
	definitions := apiextensions.NewForConfigOrDie(c.config).ApiextensionsV1().CustomResourceDefinitions()
	_, err := definitions.Create(t.Context(), &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "lamps.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped, Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "lamps", Kind: "Lamp"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{
				OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
					"spec": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"watts": {Type: "integer", XValidations: apiextensionsv1.ValidationRules{{Rule: "self > 0"}}}}}}},
			}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	lamps := dynamic.NewForConfigOrDie(c.config).Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "lamps"}).Namespace("default")
	lamp := func(watts int64) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Lamp", "metadata": map[string]any{"name": "l"}, "spec": map[string]any{"watts": watts}}}
	}
	eventually(t, "the custom resource to be served", func() (bool, error) {
		_, err := lamps.Create(t.Context(), lamp(60), metav1.CreateOptions{})
		return err == nil, err
	})
	_, err = lamps.Create(t.Context(), lamp(-1), metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "spec.watts: Invalid value: -1: failed rule: self > 0") {
		t.Errorf("a lamp against its rule: %v", err)
	}
	eventually(t, "discovery", func() (bool, error) {
		found, err := c.Discovery().ServerResourcesForGroupVersion("example.com/v1")
		return err == nil && len(found.APIResources) > 0, err
	})
	eventually(t, "the OpenAPI document", func() (bool, error) {
		paths, err := c.Discovery().OpenAPIV3().Paths()
		_, ok := paths["apis/example.com/v1"]
		return ok, err
	})
	listed := func(name string) bool {
		raw, err := c.Discovery().RESTClient().Get().AbsPath("/apis").SetHeader("Accept", "application/json").DoRaw(t.Context())
		var groups metav1.APIGroupList
		if err := errors.Join(err, json.Unmarshal(raw, &groups)); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == name && g.PreferredVersion.Version == "v1" })
	}
	if !listed("example.com") || !listed("apiextensions.k8s.io") {
		t.Error("custom resources are not in the list of groups")
	}
	if err := definitions.Delete(t.Context(), "lamps.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the group to go", func() (bool, error) { return !listed("example.com"), nil })
}

// Fake nodes, as simulators make them, bring their status along.
func TestNodeIsCreatedWithStatus(t *testing.T) {
	c := newCluster(t)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "fake"}, Status: corev1.NodeStatus{Capacity: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8")}}}
	made, err := c.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{})
	if err != nil || made.Status.Capacity.Cpu().Value() != 8 {
		t.Errorf("created with %+v, %v", made.Status, err)
	}
}

// A namespace outlives what is in it, for as long as that takes, and tells of it.
func TestNamespaceOutlivesItsContent(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	if _, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "leaving"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	maps := c.CoreV1().ConfigMaps("leaving")
	held := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "held", Finalizers: []string{"example.com/hold"}}}
	if _, err := maps.Create(ctx, held, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.CoreV1().Namespaces().Delete(ctx, "leaving", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace to say what is left in it", func() (bool, error) {
		ns, err := c.CoreV1().Namespaces().Get(ctx, "leaving", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for _, condition := range ns.Status.Conditions {
			if condition.Type == corev1.NamespaceFinalizersRemaining && condition.Status == corev1.ConditionTrue {
				return condition.Message == "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances", errors.New(condition.Message)
			}
		}
		return false, fmt.Errorf("%+v", ns.Status)
	})
	if _, err := maps.Patch(ctx, "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace to go", func() (bool, error) {
		_, err := c.CoreV1().Namespaces().Get(ctx, "leaving", metav1.GetOptions{})
		return apierrors.IsNotFound(err), err
	})
}
