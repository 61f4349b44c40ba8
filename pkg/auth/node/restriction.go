// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	kubeletapis "k8s.io/kubelet/pkg/apis"
)

// Restriction is the admission plugin NodeRestriction: what the Authorizer lets a node write must be about that node or
// the pods on it. See https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction.
type Restriction struct {
	*admission.Handler
	pods       corelisters.PodLister
	nodes      corelisters.NodeLister
	drivers    storagelisters.CSIDriverLister
	authorizer authorizer.UnconditionalAuthorizer
}

// NewRestriction reads from these listers, and asks authorizer whether a node may have tokens for audiences that no
// pod of it names. drivers may be nil; CSI drivers then get no tokens.
func NewRestriction(pods corelisters.PodLister, nodes corelisters.NodeLister, drivers storagelisters.CSIDriverLister, authorizer authorizer.UnconditionalAuthorizer) *Restriction {
	return &Restriction{
		Handler: admission.NewHandler(admission.Create, admission.Update, admission.Delete),
		pods:    pods, nodes: nodes, drivers: drivers, authorizer: authorizer,
	}
}

// Admit implements admission.MutationInterface; it changes nothing.
func (r *Restriction) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	node, isNode := identity(a.GetUserInfo())
	if !isNode {
		return nil
	}
	if node == "" {
		return admission.NewForbidden(a, fmt.Errorf("could not determine node from user %q", a.GetUserInfo().GetName()))
	}
	err := r.admit(ctx, node, a)
	// What was not found is said so: the caches may be behind, and the node tries again.
	if err == nil || apierrors.IsNotFound(err) {
		return err
	}
	return admission.NewForbidden(a, err)
}

func (r *Restriction) admit(ctx context.Context, node string, a admission.Attributes) error {
	switch a.GetResource().GroupResource() {
	case schema.GroupResource{Resource: "pods"}:
		switch a.GetSubresource() {
		case "":
			return r.admitPod(node, a)
		case "status":
			return admitPodStatus(node, a)
		case "eviction":
			return r.admitEviction(node, a)
		}
		return fmt.Errorf("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", a.GetSubresource())
	case schema.GroupResource{Resource: "nodes"}:
		return admitNode(node, a)
	case schema.GroupResource{Resource: "persistentvolumeclaims"}:
		if a.GetSubresource() != "status" {
			return errors.New("may only update PVC status")
		}
		return admitClaimStatus(node, a)
	case schema.GroupResource{Resource: "serviceaccounts"}:
		return r.admitToken(ctx, node, a)
	case schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}:
		if a.GetNamespace() != corev1.NamespaceNodeLease {
			return fmt.Errorf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
		}
		return admitOwn(node, a, "can only access node lease with the same name as the requesting node")
	case schema.GroupResource{Group: "storage.k8s.io", Resource: "csinodes"}:
		return admitOwn(node, a, "can only access CSINode with the same name as the requesting node")
	case schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceslices"}:
		return admitSlice(node, a)
	case schema.GroupResource{Group: "certificates.k8s.io", Resource: "certificatesigningrequests"}:
		return admitSigningRequest(node, a)
	}
	return nil
}

func (r *Restriction) admitPod(node string, a admission.Attributes) error {
	switch a.GetOperation() {
	case admission.Create:
		return r.admitMirrorPod(node, a)
	case admission.Delete:
		pod, err := r.pods.Pods(a.GetNamespace()).Get(a.GetName())
		if err != nil {
			return err
		}
		if pod.Spec.NodeName != node {
			return fmt.Errorf("node %q can only delete pods with spec.nodeName set to itself", node)
		}
		return nil
	}
	return fmt.Errorf("unexpected operation %q, node %q can only create and delete mirror pods", a.GetOperation(), node)
}

// admitMirrorPod admits the image of a pod that a file on the node describes.
func (r *Restriction) admitMirrorPod(node string, a admission.Attributes) error {
	pod, ok := a.GetObject().(*corev1.Pod)
	if !ok {
		return fmt.Errorf("unexpected type %T", a.GetObject())
	}
	if _, isMirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; !isMirror {
		return fmt.Errorf("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, node)
	}
	if pod.Spec.NodeName != node {
		return fmt.Errorf("node %q can only create pods with spec.nodeName set to itself", node)
	}
	if len(pod.OwnerReferences) > 1 {
		return fmt.Errorf("node %q can only create pods with a single owner reference set to itself", node)
	}
	if len(pod.OwnerReferences) == 0 || pod.OwnerReferences[0].APIVersion != "v1" || pod.OwnerReferences[0].Kind != "Node" || pod.OwnerReferences[0].Name != node {
		return fmt.Errorf("node %q can only create pods with an owner reference set to itself", node)
	}
	owner := pod.OwnerReferences[0]
	if owner.Controller == nil || !*owner.Controller {
		return fmt.Errorf("node %q can only create pods with a controller owner reference set to itself", node)
	}
	if owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion {
		return fmt.Errorf("node %q must not set blockOwnerDeletion on an owner reference", node)
	}
	self, err := r.nodes.Get(node)
	if apierrors.IsNotFound(err) {
		return err
	}
	if err != nil {
		return fmt.Errorf("error looking up node %s to verify uid: %w", node, err)
	}
	if owner.UID != self.UID {
		return fmt.Errorf("node %s UID mismatch: expected %s got %s", node, owner.UID, self.UID)
	}
	if reference := apiReference(pod); reference != "" {
		return fmt.Errorf("node %q can not create pods that reference %s", node, reference)
	}
	return nil
}

func admitPodStatus(node string, a admission.Attributes) error {
	if a.GetOperation() != admission.Update {
		return fmt.Errorf("unexpected operation %q", a.GetOperation())
	}
	old, ok := a.GetOldObject().(*corev1.Pod)
	if !ok {
		return fmt.Errorf("unexpected type %T", a.GetOldObject())
	}
	if old.Spec.NodeName != node {
		return fmt.Errorf("node %q can only update pod status for pods with spec.nodeName set to itself", node)
	}
	pod, ok := a.GetObject().(*corev1.Pod)
	if !ok {
		return fmt.Errorf("unexpected type %T", a.GetObject())
	}
	if !maps.Equal(old.Labels, pod.Labels) {
		return fmt.Errorf("node %q cannot update labels through pod status", node)
	}
	if !apiequality.Semantic.DeepEqual(old.Status.ResourceClaimStatuses, pod.Status.ResourceClaimStatuses) {
		return fmt.Errorf("node %q cannot update resource claim statues", node)
	}
	if !apiequality.Semantic.DeepEqual(old.Status.ExtendedResourceClaimStatus, pod.Status.ExtendedResourceClaimStatus) {
		return fmt.Errorf("node %q cannot update extended resource claim status", node)
	}
	return nil
}

func (r *Restriction) admitEviction(node string, a admission.Attributes) error {
	if a.GetOperation() != admission.Create {
		return fmt.Errorf("unexpected operation %s", a.GetOperation())
	}
	name := a.GetName()
	if name == "" {
		// Both versions of Eviction name the pod so.
		if m, err := meta.Accessor(a.GetObject()); err == nil {
			name = m.GetName()
		}
	}
	if name == "" {
		return errors.New("could not determine pod from request data")
	}
	pod, err := r.pods.Pods(a.GetNamespace()).Get(name)
	if err != nil {
		return err
	}
	if pod.Spec.NodeName != node {
		return fmt.Errorf("node %s can only evict pods with spec.nodeName set to itself", node)
	}
	return nil
}

func admitNode(node string, a admission.Attributes) error {
	if a.GetName() != node {
		return fmt.Errorf("node %q is not allowed to modify node %q", node, a.GetName())
	}
	switch a.GetOperation() {
	case admission.Create:
		obj, ok := a.GetObject().(*corev1.Node)
		if !ok {
			return fmt.Errorf("unexpected type %T", a.GetObject())
		}
		if obj.Spec.ConfigSource != nil {
			return fmt.Errorf("node %q is not allowed to create pods with a non-nil configSource", node)
		}
		if forbidden := forbiddenLabels(obj.Labels, nil); len(forbidden) > 0 {
			return fmt.Errorf("node %q is not allowed to set the following labels: %s", node, strings.Join(forbidden, ", "))
		}
	case admission.Update:
		obj, ok := a.GetObject().(*corev1.Node)
		if !ok {
			return fmt.Errorf("unexpected type %T", a.GetObject())
		}
		old, ok := a.GetOldObject().(*corev1.Node)
		if !ok {
			return fmt.Errorf("unexpected type %T", a.GetOldObject())
		}
		if obj.Spec.ConfigSource != nil && !apiequality.Semantic.DeepEqual(obj.Spec.ConfigSource, old.Spec.ConfigSource) {
			return fmt.Errorf("node %q is not allowed to update configSource to a new non-nil configSource", node)
		}
		if !apiequality.Semantic.DeepEqual(obj.Spec.Taints, old.Spec.Taints) {
			return fmt.Errorf("node %q is not allowed to modify taints", node)
		}
		if !apiequality.Semantic.DeepEqual(obj.OwnerReferences, old.OwnerReferences) {
			return fmt.Errorf("node %q is not allowed to modify ownerReferences", node)
		}
		if forbidden := forbiddenLabels(obj.Labels, old.Labels); len(forbidden) > 0 {
			return fmt.Errorf("is not allowed to modify labels: %s", strings.Join(forbidden, ", "))
		}
	}
	return nil
}

// forbiddenLabels lists the labels that differ and are not a node's to set: it could draw workloads to itself by them.
func forbiddenLabels(is, was map[string]string) []string {
	all := map[string]bool{}
	for _, m := range []map[string]string{is, was} {
		for key := range m {
			old, before := was[key]
			now, after := is[key]
			all[key] = old != now || before != after
		}
	}
	var forbidden []string
	for key, changed := range all {
		if !changed {
			continue
		}
		domain, _, qualified := strings.Cut(key, "/")
		if !qualified {
			continue
		}
		kubernetes := inDomain(domain, "kubernetes.io") || inDomain(domain, "k8s.io")
		if inDomain(domain, corev1.LabelNamespaceNodeRestriction) || (kubernetes && !kubeletapis.IsKubeletLabel(key)) {
			forbidden = append(forbidden, key)
		}
	}
	slices.Sort(forbidden)
	return forbidden
}

func inDomain(domain, parent string) bool {
	return domain == parent || strings.HasSuffix(domain, "."+parent)
}

func admitClaimStatus(node string, a admission.Attributes) error {
	if a.GetOperation() != admission.Update {
		return fmt.Errorf("unexpected operation %q", a.GetOperation())
	}
	old, ok := a.GetOldObject().(*corev1.PersistentVolumeClaim)
	if !ok {
		return fmt.Errorf("unexpected type %T", a.GetOldObject())
	}
	claim, ok := a.GetObject().(*corev1.PersistentVolumeClaim)
	if !ok {
		return fmt.Errorf("unexpected type %T", a.GetObject())
	}
	// Of both, what may differ is taken away.
	rest := func(c *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaim {
		c = c.DeepCopy()
		c.ResourceVersion, c.ManagedFields = "", nil
		c.Status.Capacity, c.Status.Conditions = nil, nil
		c.Status.AllocatedResources, c.Status.AllocatedResourceStatuses = nil, nil
		return c
	}
	if !apiequality.Semantic.DeepEqual(rest(old), rest(claim)) {
		return fmt.Errorf("node %q is not allowed to update fields other than status.quantity and status.conditions", node)
	}
	return nil
}

// admitToken admits tokens that are bound to a pod of the node and meant for whom that pod means them.
func (r *Restriction) admitToken(ctx context.Context, node string, a admission.Attributes) error {
	if a.GetOperation() != admission.Create || a.GetSubresource() != "token" {
		return nil
	}
	request, ok := a.GetObject().(*authenticationv1.TokenRequest)
	if !ok {
		return fmt.Errorf("unexpected type %T", a.GetObject())
	}
	ref := request.Spec.BoundObjectRef
	if ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "" {
		return errors.New("node requested token not bound to a pod")
	}
	if ref.UID == "" {
		return errors.New("node requested token with a pod binding without a uid")
	}
	var pod *corev1.Pod
	var err error
	catchUp(ctx, func() bool {
		pod, err = r.pods.Pods(a.GetNamespace()).Get(ref.Name)
		return err == nil && pod.UID == ref.UID && pod.Spec.NodeName == node
	})
	if err != nil {
		return err
	}
	if ref.UID != pod.UID {
		return fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID)
	}
	if pod.Spec.NodeName != node {
		return errors.New("node requested token bound to a pod scheduled on a different node")
	}
	return r.admitAudience(ctx, a, pod, request.Spec.Audiences)
}

func (r *Restriction) admitAudience(ctx context.Context, a admission.Attributes, pod *corev1.Pod, audiences []string) error {
	var audience string
	switch len(audiences) {
	case 0:
	case 1:
		audience = audiences[0]
	default:
		return errors.New("node may only request 0 or 1 audiences")
	}
	if r.names(pod, audience) {
		return nil
	}
	decision, _, err := r.authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: a.GetUserInfo(), Verb: "request-serviceaccounts-token-audience", Namespace: a.GetNamespace(),
		APIVersion: "v1", Resource: audience, Name: a.GetName(), ResourceRequest: true,
	})
	if decision == authorizer.DecisionAllow {
		return nil
	}
	if err != nil {
		return fmt.Errorf("audience %q not found in pod spec volume, error authorizing %s to request tokens for this audience: %w", audience, a.GetUserInfo().GetName(), err)
	}
	return fmt.Errorf("audience %q not found in pod spec volume, %s is not authorized to request tokens for this audience", audience, a.GetUserInfo().GetName())
}

// names tells whether a volume of the pod asks for tokens for that audience.
func (r *Restriction) names(pod *corev1.Pod, audience string) bool {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		switch {
		case v.Projected != nil:
			for j := range v.Projected.Sources {
				if t := v.Projected.Sources[j].ServiceAccountToken; t != nil && t.Audience == audience {
					return true
				}
			}
		case v.CSI != nil && r.drivers != nil:
			driver, err := r.drivers.Get(v.CSI.Driver)
			if err == nil && slices.ContainsFunc(driver.Spec.TokenRequests, func(t storagev1.TokenRequest) bool { return t.Audience == audience }) {
				return true
			}
		}
	}
	return false
}

// admitOwn admits an object called as the node. At creation the request's path does not name it.
func admitOwn(node string, a admission.Attributes, refusal string) error {
	name := a.GetName()
	if a.GetOperation() == admission.Create {
		m, err := meta.Accessor(a.GetObject())
		if err != nil {
			return errors.New("unable to access the object name")
		}
		name = m.GetName()
	}
	if name != node {
		return errors.New(refusal)
	}
	return nil
}

// admitSigningRequest keeps a node from asking for another's certificate; the rest is the signer's to check.
func admitSigningRequest(node string, a admission.Attributes) error {
	if a.GetOperation() != admission.Create {
		return nil
	}
	request, ok := a.GetObject().(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return fmt.Errorf("unexpected type %T", a.GetObject())
	}
	if request.Spec.SignerName != certificatesv1.KubeletServingSignerName && request.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	block, _ := pem.Decode(request.Spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return errors.New("unable to parse csr: PEM block type must be CERTIFICATE REQUEST")
	}
	parsed, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return fmt.Errorf("unable to parse csr: %w", err)
	}
	if parsed.Subject.CommonName != "system:node:"+node {
		return fmt.Errorf("can only create a node CSR with CN=system:node:%s", node)
	}
	return nil
}

var _ admission.MutationInterface = (*Restriction)(nil)
