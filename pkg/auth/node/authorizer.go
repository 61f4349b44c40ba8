// SPDX-License-Identifier: Apache-2.0

// Package node bounds what a node's agent may do: it reads what its pods refer to and writes what is about itself, so
// that a node that was taken over gives away its own pods' secrets and no others.
//
// Pods are indexed by node in the informer's own store. A question about a Secret or the like costs a walk over the
// pods of that one node (0.1 µs a pod); nothing is kept per reference.
package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	coreinformers "k8s.io/client-go/informers/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/hivemind-project/hivemind/pkg/auth/rbac"
)

// PodsByNode is the index of pods by the node they are on. Whoever adds it first, all share it.
const PodsByNode = "spec.nodeName"

// Authorizer allows nodes what they need and has no opinion on other users.
type Authorizer struct {
	pods        cache.Indexer
	volumes     corelisters.PersistentVolumeLister
	attachments storagelisters.VolumeAttachmentLister
	nodeOfSlice NodeOfSlice
	rules       []rbacv1.PolicyRule
}

// NewAuthorizer reads from these informers, and adds the index PodsByNode to pods unless it is there, so it is called
// before they start. attachments may be nil; nodes then see no VolumeAttachment.
func NewAuthorizer(pods coreinformers.PodInformer, volumes coreinformers.PersistentVolumeInformer, attachments storagelisters.VolumeAttachmentLister, nodeOfSlice NodeOfSlice) (*Authorizer, error) {
	indexer := pods.Informer().GetIndexer()
	if _, exists := indexer.GetIndexers()[PodsByNode]; !exists {
		if err := pods.Informer().AddIndexers(cache.Indexers{PodsByNode: nodeOfPod}); err != nil {
			return nil, fmt.Errorf("index pods by node: %w", err)
		}
	}
	return &Authorizer{pods: indexer, volumes: volumes.Lister(), attachments: attachments, nodeOfSlice: nodeOfSlice, rules: rules()}, nil
}

func nodeOfPod(obj any) ([]string, error) {
	if pod, ok := obj.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
		return []string{pod.Spec.NodeName}, nil
	}
	return nil, nil
}

// Authorize implements authorizer.Authorizer. A refusal says why and has no opinion, as roles may allow more.
func (a *Authorizer) Authorize(ctx context.Context, attrs authorizer.Attributes) (authorizer.Decision, string, error) {
	node, isNode := identity(attrs.GetUser())
	if !isNode {
		return authorizer.DecisionNoOpinion, "", nil
	}
	if node == "" {
		return authorizer.DecisionNoOpinion, fmt.Sprintf("unknown node for user %q", attrs.GetUser().GetName()), nil
	}
	if allowed, reason := a.decide(ctx, node, attrs); !allowed {
		return authorizer.DecisionNoOpinion, reason, nil
	}
	return authorizer.DecisionAllow, "", nil
}

// ConditionsAwareAuthorize implements authorizer.Authorizer: there are no conditions here.
func (a *Authorizer) ConditionsAwareAuthorize(ctx context.Context, attrs authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(a.Authorize(ctx, attrs))
}

// EvaluateConditions implements authorizer.Authorizer and is never called, as no decision was conditional.
func (a *Authorizer) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

// RulesFor implements authorizer.RuleResolver: what a node may do depends on its pods and cannot be told as rules.
func (a *Authorizer) RulesFor(_ context.Context, u user.Info, _ string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	if _, isNode := identity(u); isNode {
		return nil, nil, true, errors.New("node authorizer does not support user rule resolution")
	}
	return nil, nil, false, nil
}

func (a *Authorizer) decide(ctx context.Context, node string, attrs authorizer.Attributes) (bool, string) {
	if attrs.IsResourceRequest() {
		switch (schema.GroupResource{Group: attrs.GetAPIGroup(), Resource: attrs.GetResource()}) {
		case schema.GroupResource{Resource: "secrets"}, schema.GroupResource{Resource: "configmaps"}:
			return a.decideRead(ctx, node, attrs)
		case schema.GroupResource{Resource: "persistentvolumeclaims"}:
			if attrs.GetSubresource() == "status" {
				return a.decideClaimStatus(ctx, node, attrs)
			}
			return a.decideGet(ctx, node, attrs)
		case schema.GroupResource{Resource: "persistentvolumes"}, schema.GroupResource{Group: "storage.k8s.io", Resource: "volumeattachments"},
			schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaims"}:
			return a.decideGet(ctx, node, attrs)
		case schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceslices"}:
			return a.decideSlice(ctx, node, attrs)
		case schema.GroupResource{Resource: "serviceaccounts"}:
			return a.decideServiceAccount(ctx, node, attrs)
		case schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}:
			return decideLease(node, attrs)
		case schema.GroupResource{Group: "storage.k8s.io", Resource: "csinodes"}:
			return decideCSINode(node, attrs)
		case schema.GroupResource{Resource: "nodes"}:
			return decideNode(node, attrs)
		case schema.GroupResource{Resource: "pods"}:
			return a.decidePod(ctx, node, attrs)
		}
	}
	return rbac.RulesAllow(attrs, a.rules...), ""
}

// decideRead is on Secrets and ConfigMaps: single ones may be read and watched.
func (a *Authorizer) decideRead(ctx context.Context, node string, attrs authorizer.Attributes) (bool, string) {
	switch {
	case !oneOf(attrs.GetVerb(), "get", "list", "watch"):
		return false, "can only read resources of this type"
	case attrs.GetSubresource() != "":
		return false, "cannot read subresource"
	case attrs.GetNamespace() == "":
		return false, "can only read namespaced object of this type"
	}
	return a.related(ctx, node, attrs)
}

func (a *Authorizer) decideGet(ctx context.Context, node string, attrs authorizer.Attributes) (bool, string) {
	switch {
	case attrs.GetVerb() != "get":
		return false, "can only get individual resources of this type"
	case attrs.GetSubresource() != "":
		return false, "cannot get subresource"
	}
	return a.related(ctx, node, attrs)
}

func (a *Authorizer) decideClaimStatus(ctx context.Context, node string, attrs authorizer.Attributes) (bool, string) {
	if !oneOf(attrs.GetVerb(), "update", "patch") {
		return false, "can only get/update/patch this type"
	}
	return a.related(ctx, node, attrs)
}

func (a *Authorizer) decideServiceAccount(ctx context.Context, node string, attrs authorizer.Attributes) (bool, string) {
	switch {
	case attrs.GetVerb() == "get" && attrs.GetSubresource() == "":
		return a.decideRead(ctx, node, attrs)
	case attrs.GetVerb() != "create" || attrs.GetName() == "":
		return false, "can only create tokens for individual service accounts"
	case attrs.GetSubresource() != "token":
		return false, "can only create token subresource of serviceaccount"
	}
	return a.related(ctx, node, attrs)
}

// decideLease and decideCSINode leave the name at creation, which is not known yet, to Restriction.
func decideLease(node string, attrs authorizer.Attributes) (bool, string) {
	switch {
	case !oneOf(attrs.GetVerb(), "get", "create", "update", "patch", "delete"):
		return false, "can only get, create, update, patch, or delete a node lease"
	case attrs.GetNamespace() != corev1.NamespaceNodeLease:
		return false, fmt.Sprintf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	case attrs.GetVerb() != "create" && attrs.GetName() != node:
		return false, "can only access node lease with the same name as the requesting node"
	}
	return true, ""
}

func decideCSINode(node string, attrs authorizer.Attributes) (bool, string) {
	switch {
	case !oneOf(attrs.GetVerb(), "get", "create", "update", "patch", "delete"):
		return false, "can only get, create, update, patch, or delete a CSINode"
	case attrs.GetSubresource() != "":
		return false, "cannot authorize CSINode subresources"
	case attrs.GetVerb() != "create" && attrs.GetName() != node:
		return false, "can only access CSINode with the same name as the requesting node"
	}
	return true, ""
}

// decideNode leaves writes of other Nodes to Restriction.
func decideNode(node string, attrs authorizer.Attributes) (bool, string) {
	switch attrs.GetSubresource() + "/" + attrs.GetVerb() {
	case "/create", "/update", "/patch", "status/update", "status/patch":
		return true, ""
	case "/get", "/list", "/watch":
		switch attrs.GetName() {
		case node:
			return true, ""
		case "":
			return false, fmt.Sprintf("node '%s' cannot read all nodes, only its own Node object", node)
		}
		return false, fmt.Sprintf("node '%s' cannot read '%s', only its own Node object", node, attrs.GetName())
	}
	return false, ""
}

// decidePod leaves it to Restriction whose pods are written.
func (a *Authorizer) decidePod(ctx context.Context, node string, attrs authorizer.Attributes) (bool, string) {
	switch attrs.GetSubresource() + "/" + attrs.GetVerb() {
	case "/create", "/delete", "status/update", "status/patch", "eviction/create":
		return true, ""
	case "/get":
		return a.related(ctx, node, attrs)
	case "/list", "/watch":
		// A selector that does not parse selects nothing for certain.
		selector, _ := attrs.GetFieldSelector()
		for _, r := range selector {
			if r.Field == "spec.nodeName" && r.Operator == selection.Equals && r.Value == node {
				return true, ""
			}
		}
		if attrs.GetName() != "" {
			return a.related(ctx, node, attrs)
		}
		return false, "can only list/watch pods with spec.nodeName field selector"
	}
	return false, ""
}

// related tells whether the object that the request names is one that a pod of the node refers to.
func (a *Authorizer) related(ctx context.Context, node string, attrs authorizer.Attributes) (bool, string) {
	name := attrs.GetName()
	if name == "" {
		return false, "No Object name found"
	}
	if !catchUp(ctx, func() bool { return a.knows(node, attrs.GetResource(), attrs.GetNamespace(), name) }) {
		return false, fmt.Sprintf("no relationship found between node '%s' and this object", node)
	}
	return true, ""
}

// knows tells whether the informers know of such a pod.
func (a *Authorizer) knows(node, resource, namespace, name string) bool {
	switch resource {
	case "pods":
		return a.anyPod(node, namespace, func(pod *corev1.Pod) bool { return pod.Name == name })
	case "secrets":
		return a.anyUser(node, namespace, func(pod *corev1.Pod) bool { return refersToSecret(pod, name) }) || a.volumeSecret(node, namespace, name)
	case "configmaps":
		return a.anyUser(node, namespace, func(pod *corev1.Pod) bool { return refersToConfigMap(pod, name) })
	case "serviceaccounts":
		return a.anyUser(node, namespace, func(pod *corev1.Pod) bool { return pod.Spec.ServiceAccountName == name })
	case "persistentvolumeclaims":
		return a.anyUser(node, namespace, func(pod *corev1.Pod) bool { return refersToClaim(pod, name) })
	case "resourceclaims":
		return a.anyUser(node, namespace, func(pod *corev1.Pod) bool { return refersToResourceClaim(pod, name) })
	case "persistentvolumes":
		pv, err := a.volumes.Get(name)
		return err == nil && a.mounts(node, pv)
	case "volumeattachments":
		if a.attachments != nil {
			va, err := a.attachments.Get(name)
			return err == nil && va.Spec.NodeName == node
		}
	}
	return false
}

// mounts tells whether a pod of the node has the volume by its claim.
func (a *Authorizer) mounts(node string, pv *corev1.PersistentVolume) bool {
	ref := pv.Spec.ClaimRef
	return ref != nil && a.anyUser(node, ref.Namespace, func(pod *corev1.Pod) bool { return refersToClaim(pod, ref.Name) })
}

// volumeSecret tells whether the Secret serves to mount a volume of one of the node's pods.
func (a *Authorizer) volumeSecret(node, namespace, name string) bool {
	volumes, err := a.volumes.List(labels.Everything())
	return err == nil && slices.ContainsFunc(volumes, func(pv *corev1.PersistentVolume) bool {
		return persistentVolumeRefersToSecret(pv, namespace, name) && a.mounts(node, pv)
	})
}

func (a *Authorizer) anyPod(node, namespace string, ask func(*corev1.Pod) bool) bool {
	// The only error is an index that does not exist, and NewAuthorizer saw to it.
	found, _ := a.pods.ByIndex(PodsByNode, node)
	return slices.ContainsFunc(found, func(obj any) bool {
		pod, ok := obj.(*corev1.Pod)
		return ok && pod.Namespace == namespace && ask(pod)
	})
}

// anyUser passes by mirror pods: a node makes them itself, and could refer to anything in them.
func (a *Authorizer) anyUser(node, namespace string, ask func(*corev1.Pod) bool) bool {
	return a.anyPod(node, namespace, func(pod *corev1.Pod) bool {
		_, isMirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
		return !isMirror && ask(pod)
	})
}

func oneOf(s string, list ...string) bool { return slices.Contains(list, s) }

// rules is what every node may do alike. Those on resources that decide knows are not among them.
func rules() []rbacv1.PolicyRule {
	read := []string{"get", "list", "watch"}
	rule := func(verbs []string, group string, resources ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: verbs, APIGroups: []string{group}, Resources: resources}
	}
	return []rbacv1.PolicyRule{
		rule([]string{"create"}, "authentication.k8s.io", "tokenreviews"),
		rule([]string{"create"}, "authorization.k8s.io", "subjectaccessreviews", "localsubjectaccessreviews"),
		rule(read, "", "services"),
		rule([]string{"get"}, "", "endpoints"),
		rule([]string{"create", "update", "patch"}, "", "events"),
		rule([]string{"create", "update", "patch"}, "events.k8s.io", "events"),
		rule([]string{"create", "get", "list", "watch"}, "certificates.k8s.io", "certificatesigningrequests"),
		rule(read, "storage.k8s.io", "csidrivers"),
		rule(read, "node.k8s.io", "runtimeclasses"),
	}
}

var (
	_ authorizer.Authorizer   = (*Authorizer)(nil)
	_ authorizer.RuleResolver = (*Authorizer)(nil)
)
