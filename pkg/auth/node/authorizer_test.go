// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
)

// cluster is informers that hold objects and never start.
type cluster struct {
	informers.SharedInformerFactory
}

func newCluster(t testing.TB, objects ...runtime.Object) cluster {
	t.Helper()
	c := cluster{informers.NewSharedInformerFactory(fake.NewClientset(), 0)}
	for _, obj := range objects {
		var informer cache.SharedIndexInformer
		switch obj.(type) {
		case *corev1.Pod:
			informer = c.Core().V1().Pods().Informer()
		case *corev1.Node:
			informer = c.Core().V1().Nodes().Informer()
		case *corev1.PersistentVolume:
			informer = c.Core().V1().PersistentVolumes().Informer()
		case *storagev1.VolumeAttachment:
			informer = c.Storage().V1().VolumeAttachments().Informer()
		case *storagev1.CSIDriver:
			informer = c.Storage().V1().CSIDrivers().Informer()
		default:
			t.Fatalf("what is %T", obj)
		}
		if err := informer.GetIndexer().Add(obj); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c cluster) authorizer(t testing.TB) *Authorizer {
	t.Helper()
	a, err := NewAuthorizer(c.Core().V1().Pods(), c.Core().V1().PersistentVolumes(), c.Storage().V1().VolumeAttachments().Lister(), nodesOfSlices)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// podOn is a pod that refers to things of every sort, called as the pod with the sort before it.
func podOn(node, namespace, name string) *corev1.Pod {
	env := func(sort string) corev1.Container {
		return corev1.Container{
			EnvFrom: []corev1.EnvFromSource{
				{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: sort + "-from-" + name}}},
				{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: sort + "-from-" + name}}},
			},
			Env: []corev1.EnvVar{
				{Name: "PLAIN", Value: "x"},
				{ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: sort + "-env-" + name}}}},
				{ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: sort + "-env-" + name}}}},
			},
		}
	}
	local := func(s string) *corev1.LocalObjectReference { return &corev1.LocalObjectReference{Name: s + "-" + name} }
	debug := env("debug")
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "uid-of-pod"},
		Spec: corev1.PodSpec{
			NodeName:            node,
			ServiceAccountName:  "sa-" + name,
			ImagePullSecrets:    []corev1.LocalObjectReference{*local("pull")},
			InitContainers:      []corev1.Container{env("init")},
			Containers:          []corev1.Container{{}, env("main")},
			EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{EnvFrom: debug.EnvFrom, Env: debug.Env}}},
			Volumes: []corev1.Volume{
				{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "vol-" + name}}},
				{VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: *local("vol")}}},
				{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
					{Secret: &corev1.SecretProjection{LocalObjectReference: *local("proj")}},
					{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: *local("proj")}},
					{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "vault"}},
				}}}},
				{VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "driver", NodePublishSecretRef: local("csi")}}},
				{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "claim-" + name}}},
				{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}},
			},
		},
	}
}

func volume(name, namespace, claim string) *corev1.PersistentVolume {
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if claim != "" {
		pv.Spec.ClaimRef = &corev1.ObjectReference{Namespace: namespace, Name: claim}
	}
	pv.Spec.CSI = &corev1.CSIPersistentVolumeSource{NodeStageSecretRef: &corev1.SecretReference{Namespace: "storage", Name: "stage-" + name}}
	return pv
}

func nodeUser(name string) user.Info {
	return &user.DefaultInfo{Name: "system:node:" + name, Groups: []string{"system:nodes", "system:authenticated"}}
}

func TestAuthorize(t *testing.T) {
	mirror := podOn("n1", "ns", "mirror")
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	attachment := func(name, node string) *storagev1.VolumeAttachment {
		return &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: storagev1.VolumeAttachmentSpec{NodeName: node}}
	}
	a := newCluster(t, podOn("n1", "ns", "p1"), podOn("n2", "ns", "p2"), podOn("", "ns", "pending"), mirror,
		volume("pv1", "ns", "claim-p1"), volume("pv2", "ns", "claim-p2"), volume("free", "", ""), volume("elsewhere", "other", "claim-p1"),
		attachment("va1", "n1"), attachment("va2", "n2")).authorizer(t)

	const unrelated = "no relationship found between node 'n1' and this object"
	type request struct{ verb, group, resource, sub, namespace, name string }
	type test struct {
		request
		selector string
		allowed  bool
		reason   string // why not
	}
	var tests []test
	allow := func(r request) { tests = append(tests, test{request: r, allowed: true}) }
	deny := func(reason string, r request) { tests = append(tests, test{request: r, reason: reason}) }

	for _, from := range []string{"pull", "init-from", "init-env", "main-from", "main-env", "debug-from", "debug-env", "vol", "proj", "csi"} {
		allow(request{verb: "get", resource: "secrets", namespace: "ns", name: from + "-p1"})
		deny(unrelated, request{verb: "get", resource: "secrets", namespace: "ns", name: from + "-p2"})
		deny(unrelated, request{verb: "get", resource: "secrets", namespace: "other", name: from + "-p1"})
		deny(unrelated, request{verb: "get", resource: "secrets", namespace: "ns", name: from + "-mirror"})
		deny(unrelated, request{verb: "get", resource: "secrets", namespace: "ns", name: from + "-pending"})
	}
	for _, from := range []string{"init-from", "init-env", "main-from", "main-env", "debug-from", "debug-env", "vol", "proj"} {
		allow(request{verb: "watch", resource: "configmaps", namespace: "ns", name: from + "-p1"})
		deny(unrelated, request{verb: "watch", resource: "configmaps", namespace: "ns", name: from + "-p2"})
	}
	allow(request{verb: "list", resource: "secrets", namespace: "ns", name: "vol-p1"})
	deny("No Object name found", request{verb: "list", resource: "secrets", namespace: "ns"})
	deny("can only read namespaced object of this type", request{verb: "list", resource: "secrets"})
	deny("can only read resources of this type", request{verb: "update", resource: "secrets", namespace: "ns", name: "vol-p1"})
	deny("cannot read subresource", request{verb: "get", resource: "secrets", sub: "x", namespace: "ns", name: "vol-p1"})

	allow(request{verb: "get", resource: "persistentvolumeclaims", namespace: "ns", name: "claim-p1"})
	allow(request{verb: "get", resource: "persistentvolumeclaims", namespace: "ns", name: "p1-scratch"})
	deny(unrelated, request{verb: "get", resource: "persistentvolumeclaims", namespace: "ns", name: "claim-p2"})
	deny("can only get individual resources of this type", request{verb: "list", resource: "persistentvolumeclaims", namespace: "ns", name: "claim-p1"})
	allow(request{verb: "patch", resource: "persistentvolumeclaims", sub: "status", namespace: "ns", name: "claim-p1"})
	deny(unrelated, request{verb: "patch", resource: "persistentvolumeclaims", sub: "status", namespace: "ns", name: "claim-p2"})
	deny("can only get/update/patch this type", request{verb: "delete", resource: "persistentvolumeclaims", sub: "status", namespace: "ns", name: "claim-p1"})
	allow(request{verb: "get", resource: "persistentvolumes", name: "pv1"})
	for _, name := range []string{"pv2", "free", "elsewhere", "gone"} {
		deny(unrelated, request{verb: "get", resource: "persistentvolumes", name: name})
	}
	deny("cannot get subresource", request{verb: "get", resource: "persistentvolumes", sub: "status", name: "pv1"})
	allow(request{verb: "get", resource: "secrets", namespace: "storage", name: "stage-pv1"})
	deny(unrelated, request{verb: "get", resource: "secrets", namespace: "storage", name: "stage-pv2"})
	allow(request{verb: "get", group: "storage.k8s.io", resource: "volumeattachments", name: "va1"})
	deny(unrelated, request{verb: "get", group: "storage.k8s.io", resource: "volumeattachments", name: "va2"})

	allow(request{verb: "create", resource: "serviceaccounts", sub: "token", namespace: "ns", name: "sa-p1"})
	deny(unrelated, request{verb: "create", resource: "serviceaccounts", sub: "token", namespace: "ns", name: "sa-p2"})
	deny("can only create token subresource of serviceaccount", request{verb: "create", resource: "serviceaccounts", namespace: "ns", name: "sa-p1"})
	deny("can only create tokens for individual service accounts", request{verb: "list", resource: "serviceaccounts", namespace: "ns"})
	allow(request{verb: "get", resource: "serviceaccounts", namespace: "ns", name: "sa-p1"})
	deny(unrelated, request{verb: "get", resource: "serviceaccounts", namespace: "ns", name: "sa-mirror"})

	allow(request{verb: "get", resource: "nodes", name: "n1"})
	allow(request{verb: "create", resource: "nodes"})
	allow(request{verb: "patch", resource: "nodes", sub: "status", name: "n2"}) // Restriction refuses it
	deny("node 'n1' cannot read 'n2', only its own Node object", request{verb: "get", resource: "nodes", name: "n2"})
	deny("node 'n1' cannot read all nodes, only its own Node object", request{verb: "list", resource: "nodes"})
	deny("", request{verb: "delete", resource: "nodes", name: "n1"})

	allow(request{verb: "get", resource: "pods", namespace: "ns", name: "p1"})
	allow(request{verb: "get", resource: "pods", namespace: "ns", name: "mirror"})
	deny(unrelated, request{verb: "get", resource: "pods", namespace: "ns", name: "p2"})
	allow(request{verb: "watch", resource: "pods", namespace: "ns", name: "p1"})
	tests = append(tests, test{request: request{verb: "list", resource: "pods"}, selector: "spec.nodeName=n1", allowed: true})
	tests = append(tests, test{request: request{verb: "list", resource: "pods"}, selector: "status.phase=Running,spec.nodeName=n1", allowed: true})
	for _, selector := range []string{"", "spec.nodeName=n2", "spec.nodeName!=n1", "metadata.name=n1"} {
		tests = append(tests, test{request{verb: "watch", resource: "pods"}, selector, false, "can only list/watch pods with spec.nodeName field selector"})
	}
	allow(request{verb: "delete", resource: "pods", namespace: "ns", name: "p1"})
	allow(request{verb: "update", resource: "pods", sub: "status", namespace: "ns", name: "p1"})
	deny("", request{verb: "update", resource: "pods", namespace: "ns", name: "p1"})
	deny("", request{verb: "create", resource: "pods", sub: "exec", namespace: "ns", name: "p1"})

	allow(request{verb: "update", group: "coordination.k8s.io", resource: "leases", namespace: "kube-node-lease", name: "n1"})
	allow(request{verb: "create", group: "coordination.k8s.io", resource: "leases", namespace: "kube-node-lease"})
	deny("can only access node lease with the same name as the requesting node", request{verb: "update", group: "coordination.k8s.io", resource: "leases", namespace: "kube-node-lease", name: "n2"})
	deny(`can only access leases in the "kube-node-lease" system namespace`, request{verb: "get", group: "coordination.k8s.io", resource: "leases", namespace: "kube-system", name: "n1"})
	deny("can only get, create, update, patch, or delete a node lease", request{verb: "list", group: "coordination.k8s.io", resource: "leases", namespace: "kube-node-lease"})
	allow(request{verb: "get", group: "storage.k8s.io", resource: "csinodes", name: "n1"})
	deny("can only access CSINode with the same name as the requesting node", request{verb: "get", group: "storage.k8s.io", resource: "csinodes", name: "n2"})

	allow(request{verb: "list", resource: "services"})
	allow(request{verb: "create", resource: "events", namespace: "ns"})
	allow(request{verb: "create", group: "authentication.k8s.io", resource: "tokenreviews"})
	deny("", request{verb: "list", group: "apps", resource: "deployments"})
	deny("", request{verb: "create", resource: "services", namespace: "ns"})

	for _, tt := range tests {
		r := tt.request
		t.Run(fmt.Sprintf("%s %s.%s/%s %s/%s %s", r.verb, r.resource, r.group, r.sub, r.namespace, r.name, tt.selector), func(t *testing.T) {
			attrs := authorizer.AttributesRecord{
				User: nodeUser("n1"), Verb: r.verb, APIGroup: r.group, Resource: r.resource, Subresource: r.sub, Namespace: r.namespace, Name: r.name,
				ResourceRequest: true, FieldSelectorRequirements: fields.ParseSelectorOrDie(tt.selector).Requirements(),
			}
			decision, reason, err := a.Authorize(t.Context(), attrs)
			want := authorizer.DecisionNoOpinion
			if tt.allowed {
				want = authorizer.DecisionAllow
			}
			if decision != want || reason != tt.reason || err != nil {
				t.Errorf("got %v %q %v, want %v %q", decision, reason, err, want, tt.reason)
			}
		})
	}
}

func TestIdentity(t *testing.T) {
	tests := []struct {
		user   user.Info
		name   string
		isNode bool
	}{
		{nodeUser("n1"), "n1", true},
		{nodeUser(""), "", true},
		{&user.DefaultInfo{Name: "system:node:n1"}, "", false},
		{&user.DefaultInfo{Name: "n1", Groups: []string{"system:nodes"}}, "", false},
		{nil, "", false},
	}
	for _, tt := range tests {
		if name, isNode := identity(tt.user); name != tt.name || isNode != tt.isNode {
			t.Errorf("%v: got %q %v, want %q %v", tt.user, name, isNode, tt.name, tt.isNode)
		}
	}
}

func TestOtherUsersAreNotJudged(t *testing.T) {
	a := newCluster(t, podOn("n1", "ns", "p1")).authorizer(t)
	for u, reason := range map[string]string{"system:node:": `unknown node for user "system:node:"`, "alice": ""} {
		decision, got, _ := a.Authorize(t.Context(), authorizer.AttributesRecord{
			User: &user.DefaultInfo{Name: u, Groups: []string{"system:nodes"}}, Verb: "get", Resource: "secrets", Namespace: "ns", Name: "vol-p1", ResourceRequest: true})
		if decision != authorizer.DecisionNoOpinion || got != reason {
			t.Errorf("%s: %v %q", u, decision, got)
		}
	}
	if _, _, incomplete, err := a.RulesFor(t.Context(), nodeUser("n1"), ""); !incomplete || err == nil {
		t.Error("the rules of a node are told as if they were all")
	}
	if _, _, incomplete, err := a.RulesFor(t.Context(), &user.DefaultInfo{Name: "alice"}, ""); incomplete || err != nil {
		t.Error("the rules of others are called incomplete")
	}
}

func BenchmarkAuthorizeSecret(b *testing.B) {
	var pods []runtime.Object
	for i := range 1100 {
		pods = append(pods, podOn(fmt.Sprint("n", i%10), "ns", fmt.Sprint("p", i)))
	}
	a := newCluster(b, pods...).authorizer(b)
	attrs := authorizer.AttributesRecord{User: nodeUser("n5"), Verb: "get", Resource: "secrets", Namespace: "ns", Name: "proj-p505", ResourceRequest: true}
	b.ReportAllocs()
	for b.Loop() {
		if d, reason, _ := a.Authorize(b.Context(), attrs); d != authorizer.DecisionAllow {
			b.Fatal(reason)
		}
	}
}
