// SPDX-License-Identifier: Apache-2.0

package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
)

// attempt is a write by a node.
type attempt struct {
	name     string
	user     user.Info // default n1
	resource schema.GroupVersionResource
	sub      string
	op       admission.Operation
	ns, obj  string
	new, old runtime.Object
	want     string // after `is forbidden: `; empty is admitted
}

func mirrorPod(change func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "m", Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n1", UID: "uid-of-n1", Controller: new(true)}},
		},
		Spec: corev1.PodSpec{NodeName: "n1"},
	}
	if change != nil {
		change(pod)
	}
	return pod
}

func node(change func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "uid-of-n1", Labels: map[string]string{"kubernetes.io/hostname": "n1", "own": "x"}}}
	if change != nil {
		change(n)
	}
	return n
}

func signingRequest(t *testing.T, signer, commonName string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: commonName}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
		SignerName: signer, Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})}}
}

func TestRestriction(t *testing.T) {
	pods, nodes, claims := corev1.SchemeGroupVersion.WithResource("pods"), corev1.SchemeGroupVersion.WithResource("nodes"), corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims")
	accounts, leases := corev1.SchemeGroupVersion.WithResource("serviceaccounts"), coordinationv1.SchemeGroupVersion.WithResource("leases")
	csrs := certificatesv1.SchemeGroupVersion.WithResource("certificatesigningrequests")
	const create, update, remove = admission.Create, admission.Update, admission.Delete

	mirror := func(change func(*corev1.Pod), want string) attempt {
		return attempt{name: "mirror pod: " + want, resource: pods, op: create, ns: "ns", obj: "m", new: mirrorPod(change), want: want}
	}
	mirrorWith := func(v corev1.VolumeSource, want string) attempt {
		return mirror(func(p *corev1.Pod) { p.Spec.Volumes = []corev1.Volume{{VolumeSource: v}} }, want)
	}
	status := func(old, is *corev1.Pod, want string) attempt {
		return attempt{name: "pod status: " + want, resource: pods, sub: "status", op: update, ns: "ns", obj: old.Name, new: is, old: old, want: want}
	}
	own := podOn("n1", "ns", "p1")
	labelled := own.DeepCopy()
	labelled.Labels = map[string]string{"app": "x"}
	labelUpdate := func(label, want string) attempt {
		return attempt{name: "node label " + label, resource: nodes, op: update, obj: "n1", old: node(nil),
			new: node(func(n *corev1.Node) { n.Labels[label] = "v" }), want: want}
	}
	token := func(name string, spec authenticationv1.TokenRequestSpec, want string) attempt {
		return attempt{name: "token " + name, resource: accounts, sub: "token", op: create, ns: "ns", obj: "sa-p1",
			new: &authenticationv1.TokenRequest{Spec: spec}, want: want}
	}
	bound := func(kind, name, uid string) *authenticationv1.BoundObjectReference {
		return &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: kind, Name: name, UID: types.UID(uid)}
	}
	claim := func(change func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c", ResourceVersion: "7"}}
		change(c)
		return c
	}
	nothing := func(*corev1.PersistentVolumeClaim) {}

	tests := []attempt{
		{name: "another user", user: &user.DefaultInfo{Name: "alice"}, resource: nodes, op: update, obj: "n2", new: node(nil), old: node(nil)},
		{name: "a node without name", user: nodeUser(""), resource: nodes, op: update, obj: "n1", want: `could not determine node from user "system:node:"`},
		{name: "an object of no concern", resource: corev1.SchemeGroupVersion.WithResource("events"), op: create, ns: "ns", new: &corev1.Event{}},

		mirror(nil, ""),
		mirror(func(p *corev1.Pod) { p.Annotations = nil }, `pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods`),
		mirror(func(p *corev1.Pod) { p.Spec.NodeName = "n2" }, `node "n1" can only create pods with spec.nodeName set to itself`),
		mirror(func(p *corev1.Pod) { p.OwnerReferences = nil }, `node "n1" can only create pods with an owner reference set to itself`),
		mirror(func(p *corev1.Pod) { p.OwnerReferences = append(p.OwnerReferences, p.OwnerReferences[0]) }, `node "n1" can only create pods with a single owner reference set to itself`),
		mirror(func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "Pod" }, `node "n1" can only create pods with an owner reference set to itself`),
		mirror(func(p *corev1.Pod) { p.OwnerReferences[0].Controller = nil }, `node "n1" can only create pods with a controller owner reference set to itself`),
		mirror(func(p *corev1.Pod) { p.OwnerReferences[0].BlockOwnerDeletion = new(true) }, `node "n1" must not set blockOwnerDeletion on an owner reference`),
		mirror(func(p *corev1.Pod) { p.OwnerReferences[0].UID = "old" }, `node n1 UID mismatch: expected old got uid-of-n1`),
		mirror(func(p *corev1.Pod) { p.Spec.ServiceAccountName = "x" }, `node "n1" can not create pods that reference serviceaccounts`),
		mirror(func(p *corev1.Pod) {
			p.Spec.Containers = []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{}}}}}
		}, `node "n1" can not create pods that reference secrets`),
		mirror(func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Env: []corev1.EnvVar{{ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{}}}}}}
		}, `node "n1" can not create pods that reference configmaps`),
		mirror(func(p *corev1.Pod) { p.Spec.ResourceClaims = make([]corev1.PodResourceClaim, 1) }, `node "n1" can not create pods that reference resourceclaims`),
		mirrorWith(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}}, ""),
		mirrorWith(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}}, `node "n1" can not create pods that reference secrets (via secret volumes)`),
		mirrorWith(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}}, `node "n1" can not create pods that reference persistentvolumeclaims`),
		mirrorWith(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{DownwardAPI: &corev1.DownwardAPIProjection{}}}}}, ""),
		mirrorWith(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{}}}}},
			`node "n1" can not create pods that reference serviceaccounts (via projected volumes)`),

		{name: "delete own pod", resource: pods, op: remove, ns: "ns", obj: "p1"},
		{name: "delete another's pod", resource: pods, op: remove, ns: "ns", obj: "p2", want: `node "n1" can only delete pods with spec.nodeName set to itself`},
		{name: "update a pod", resource: pods, op: update, ns: "ns", obj: "p1", new: own, old: own, want: `unexpected operation "UPDATE", node "n1" can only create and delete mirror pods`},
		{name: "exec", resource: pods, sub: "exec", op: create, ns: "ns", obj: "p1", want: `unexpected pod subresource "exec", only 'status' and 'eviction' are allowed`},
		status(own, own, ""),
		status(podOn("n2", "ns", "p2"), podOn("n1", "ns", "p2"), `node "n1" can only update pod status for pods with spec.nodeName set to itself`),
		status(own, labelled, `node "n1" cannot update labels through pod status`),
		{name: "evict own pod", resource: pods, sub: "eviction", op: create, ns: "ns", obj: "p1", new: &policyv1.Eviction{}},
		{name: "evict another's pod, named in the body", resource: pods, sub: "eviction", op: create, ns: "ns",
			new: &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "p2"}}, want: `node n1 can only evict pods with spec.nodeName set to itself`},
		{name: "evict no pod", resource: pods, sub: "eviction", op: create, ns: "ns", new: &policyv1.Eviction{}, want: `could not determine pod from request data`},

		{name: "another node", resource: nodes, op: update, obj: "n2", new: node(nil), old: node(nil), want: `node "n1" is not allowed to modify node "n2"`},
		{name: "register", resource: nodes, op: create, obj: "n1", new: node(nil)},
		{name: "register with labels", resource: nodes, op: create, obj: "n1", new: node(func(n *corev1.Node) {
			n.Labels["node-role.kubernetes.io/control-plane"], n.Labels["example.node-restriction.kubernetes.io/x"] = "", ""
		}), want: `node "n1" is not allowed to set the following labels: example.node-restriction.kubernetes.io/x, node-role.kubernetes.io/control-plane`},
		labelUpdate("own", ""), labelUpdate("example.org/x", ""), labelUpdate("topology.kubernetes.io/zone", ""), labelUpdate("kubelet.kubernetes.io/x", ""),
		labelUpdate("kubernetes.io/x", "is not allowed to modify labels: kubernetes.io/x"),
		labelUpdate("x.k8s.io/y", "is not allowed to modify labels: x.k8s.io/y"),
		{name: "drop a label", resource: nodes, op: update, obj: "n1", new: node(nil), old: node(func(n *corev1.Node) { n.Labels["node-role.kubernetes.io/x"] = "" }),
			want: "is not allowed to modify labels: node-role.kubernetes.io/x"},
		{name: "taints", resource: nodes, op: update, obj: "n1", old: node(nil), new: node(func(n *corev1.Node) { n.Spec.Taints = make([]corev1.Taint, 1) }), want: `node "n1" is not allowed to modify taints`},
		{name: "owners", resource: nodes, op: update, obj: "n1", old: node(nil), new: node(func(n *corev1.Node) { n.OwnerReferences = make([]metav1.OwnerReference, 1) }),
			want: `node "n1" is not allowed to modify ownerReferences`},

		{name: "claim", resource: claims, op: update, ns: "ns", obj: "c", want: "may only update PVC status"},
		{name: "claim's capacity", resource: claims, sub: "status", op: update, ns: "ns", obj: "c", old: claim(nothing), new: claim(func(c *corev1.PersistentVolumeClaim) {
			c.ResourceVersion = ""
			c.Status.Capacity = corev1.ResourceList{"storage": resource.MustParse("1Gi")}
		})},
		{name: "claim's phase", resource: claims, sub: "status", op: update, ns: "ns", obj: "c", old: claim(nothing), new: claim(func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = "Lost" }),
			want: `node "n1" is not allowed to update fields other than status.quantity and status.conditions`},

		token("for the server", authenticationv1.TokenRequestSpec{BoundObjectRef: bound("Pod", "plain", "uid-of-pod")}, ""),
		token("for an audience of the pod", authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}, BoundObjectRef: bound("Pod", "p1", "uid-of-pod")}, ""),
		token("for an audience of its driver", authenticationv1.TokenRequestSpec{Audiences: []string{"bucket"}, BoundObjectRef: bound("Pod", "p1", "uid-of-pod")}, ""),
		token("for another audience", authenticationv1.TokenRequestSpec{Audiences: []string{"bank"}, BoundObjectRef: bound("Pod", "p1", "uid-of-pod")},
			`audience "bank" not found in pod spec volume, system:node:n1 is not authorized to request tokens for this audience`),
		token("for two audiences", authenticationv1.TokenRequestSpec{Audiences: []string{"a", "b"}, BoundObjectRef: bound("Pod", "p1", "uid-of-pod")}, "node may only request 0 or 1 audiences"),
		token("unbound", authenticationv1.TokenRequestSpec{}, "node requested token not bound to a pod"),
		token("bound to a secret", authenticationv1.TokenRequestSpec{BoundObjectRef: bound("Secret", "x", "y")}, "node requested token not bound to a pod"),
		token("without uid", authenticationv1.TokenRequestSpec{BoundObjectRef: bound("Pod", "p1", "")}, "node requested token with a pod binding without a uid"),
		token("of a pod made anew", authenticationv1.TokenRequestSpec{BoundObjectRef: bound("Pod", "p1", "old")},
			"the UID in the bound object reference (old) does not match the UID in record. The object might have been deleted and then recreated"),
		token("of another's pod", authenticationv1.TokenRequestSpec{BoundObjectRef: bound("Pod", "p2", "uid-of-pod")}, "node requested token bound to a pod scheduled on a different node"),

		{name: "create own lease", resource: leases, op: create, ns: "kube-node-lease", new: &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}},
		{name: "create another's lease", resource: leases, op: create, ns: "kube-node-lease", new: &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "n2"}},
			want: "can only access node lease with the same name as the requesting node"},
		{name: "a lease elsewhere", resource: leases, op: update, ns: "kube-system", obj: "n1", want: `can only access leases in the "kube-node-lease" system namespace`},
		{name: "another's CSINode", resource: storagev1.SchemeGroupVersion.WithResource("csinodes"), op: remove, obj: "n2", want: "can only access CSINode with the same name as the requesting node"},

		{name: "own certificate", resource: csrs, op: create, new: signingRequest(t, certificatesv1.KubeletServingSignerName, "system:node:n1")},
		{name: "another's certificate", resource: csrs, op: create, new: signingRequest(t, certificatesv1.KubeAPIServerClientKubeletSignerName, "system:node:n2"),
			want: "can only create a node CSR with CN=system:node:n1"},
		{name: "certificate of another signer", resource: csrs, op: create, new: signingRequest(t, "example.org/x", "anyone")},
		{name: "no certificate request", resource: csrs, op: create, new: &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: certificatesv1.KubeletServingSignerName}},
			want: "unable to parse csr: PEM block type must be CERTIFICATE REQUEST"},
	}

	plain := podOn("n1", "ns", "plain")
	plain.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{}}}}}}}
	c := newCluster(t, own, podOn("n2", "ns", "p2"), plain, node(nil), &storagev1.CSIDriver{
		ObjectMeta: metav1.ObjectMeta{Name: "driver"}, Spec: storagev1.CSIDriverSpec{TokenRequests: []storagev1.TokenRequest{{Audience: "bucket"}}}})
	r := NewRestriction(c.Core().V1().Pods().Lister(), c.Core().V1().Nodes().Lister(), c.Storage().V1().CSIDrivers().Lister(), authorizerfactory.NewAlwaysDenyAuthorizer())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.user == nil {
				tt.user = nodeUser("n1")
			}
			err := r.Admit(t.Context(), admission.NewAttributesRecord(tt.new, tt.old, schema.GroupVersionKind{}, tt.ns, tt.obj, tt.resource, tt.sub, tt.op, nil, false, tt.user), nil)
			if tt.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil || !apierrors.IsForbidden(err) || !strings.HasSuffix(err.Error(), " is forbidden: "+tt.want) {
				t.Errorf("got  %v\nwant … is forbidden: %s", err, tt.want)
			}
		})
	}
	t.Run("a pod that is not known yet", func(t *testing.T) {
		err := r.Admit(t.Context(), admission.NewAttributesRecord(nil, nil, schema.GroupVersionKind{}, "ns", "new", pods, "", remove, nil, false, nodeUser("n1")), nil)
		if !apierrors.IsNotFound(err) {
			t.Errorf("got %v, want NotFound", err)
		}
	})
}
