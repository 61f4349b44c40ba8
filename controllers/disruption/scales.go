// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"context"
	"encoding/json"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsinformers "k8s.io/client-go/informers/apps/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

// expected is how many pods there ought to be, and how many of them the budget wants healthy. A share needs to know of how many it is
// a share, so then it is the controllers of the pods that say; pods without one make unmanaged true.
func (c *Controller) expected(ctx context.Context, budget *policyv1.PodDisruptionBudget, pods []*corev1.Pod) (expected, desired int32, unmanaged bool, err error) {
	spec := &budget.Spec
	switch {
	case spec.MaxUnavailable != nil:
		if expected, unmanaged, err = c.scales.sum(ctx, pods); err != nil {
			return 0, 0, false, err
		}
		most, err := intstr.GetScaledValueFromIntOrPercent(spec.MaxUnavailable, int(expected), true)
		return expected, max(expected-int32(most), 0), unmanaged, err
	case spec.MinAvailable != nil && spec.MinAvailable.Type == intstr.Int:
		return int32(len(pods)), spec.MinAvailable.IntVal, false, nil
	case spec.MinAvailable != nil:
		if expected, unmanaged, err = c.scales.sum(ctx, pods); err != nil {
			return 0, 0, false, err
		}
		least, err := intstr.GetScaledValueFromIntOrPercent(spec.MinAvailable, int(expected), true)
		return expected, int32(least), unmanaged, err
	}
	return 0, 0, false, nil
}

// scales knows how many pods a controller is to have.
type scales struct {
	client       kubernetes.Interface
	deployments  appslisters.DeploymentLister
	replicaSets  appslisters.ReplicaSetLister
	statefulSets appslisters.StatefulSetLister
	replications corelisters.ReplicationControllerLister
}

func newScales(client kubernetes.Interface, core coreinformers.Interface, apps appsinformers.Interface) (*scales, []cache.InformerSynced) {
	s := &scales{client: client, deployments: apps.Deployments().Lister(), replicaSets: apps.ReplicaSets().Lister(),
		statefulSets: apps.StatefulSets().Lister(), replications: core.ReplicationControllers().Lister()}
	return s, []cache.InformerSynced{apps.Deployments().Informer().HasSynced, apps.ReplicaSets().Informer().HasSynced,
		apps.StatefulSets().Informer().HasSynced, core.ReplicationControllers().Informer().HasSynced}
}

// sum adds up the scales of the controllers that the pods have, each once.
func (s *scales) sum(ctx context.Context, pods []*corev1.Pod) (total int32, unmanaged bool, err error) {
	seen := map[types.UID]bool{}
	for _, pod := range pods {
		owner := metav1.GetControllerOf(pod)
		if owner == nil {
			unmanaged = true
			continue
		}
		if seen[owner.UID] {
			continue
		}
		seen[owner.UID] = true
		// Several ReplicaSets may belong to one Deployment, which counts once.
		uid, n, err := s.of(ctx, pod.Namespace, owner)
		if err != nil {
			return 0, false, err
		}
		if uid == "" {
			return 0, false, fmt.Errorf("found no controllers for pod %q", pod.Name)
		}
		if uid != owner.UID && seen[uid] {
			continue
		}
		seen[uid] = true
		total += n
	}
	return total, unmanaged, nil
}

// of returns the scale of a pod's controller, and whose it is: a ReplicaSet's Deployment speaks for it. Without a uid there is no such
// controller any more.
func (s *scales) of(ctx context.Context, namespace string, owner *metav1.OwnerReference) (types.UID, int32, error) {
	kind := schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind)
	var (
		found    metav1.Object
		replicas *int32
		err      error
	)
	switch kind.GroupKind() {
	case schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}:
		set, failed := s.replicaSets.ReplicaSets(namespace).Get(owner.Name)
		if failed != nil {
			err = failed
			break
		}
		if above := metav1.GetControllerOf(set); set.UID == owner.UID && above != nil && above.Kind == "Deployment" {
			return s.deployment(namespace, above)
		}
		found, replicas = set, set.Spec.Replicas
	case schema.GroupKind{Group: "apps", Kind: "StatefulSet"}:
		set, failed := s.statefulSets.StatefulSets(namespace).Get(owner.Name)
		if failed != nil {
			err = failed
			break
		}
		found, replicas = set, set.Spec.Replicas
	case schema.GroupKind{Kind: "ReplicationController"}:
		rc, failed := s.replications.ReplicationControllers(namespace).Get(owner.Name)
		if failed != nil {
			err = failed
			break
		}
		found, replicas = rc, rc.Spec.Replicas
	default:
		return s.bySubresource(ctx, namespace, kind, owner)
	}
	if err != nil || found.GetUID() != owner.UID {
		return "", 0, ignoreNotFound(err)
	}
	return owner.UID, ptr.Deref(replicas, 1), nil
}

func (s *scales) deployment(namespace string, owner *metav1.OwnerReference) (types.UID, int32, error) {
	deployment, err := s.deployments.Deployments(namespace).Get(owner.Name)
	if err != nil || deployment.UID != owner.UID {
		return "", 0, ignoreNotFound(err)
	}
	return deployment.UID, ptr.Deref(deployment.Spec.Replicas, 1), nil
}

// bySubresource asks the scale subresource of any other kind, which is how custom resources tell.
func (s *scales) bySubresource(ctx context.Context, namespace string, kind schema.GroupVersionKind, owner *metav1.OwnerReference) (types.UID, int32, error) {
	served, err := s.client.Discovery().ServerResourcesForGroupVersion(kind.GroupVersion().String())
	if err != nil {
		return "", 0, ignoreNotFound(err)
	}
	resource, scalable := "", false
	for _, r := range served.APIResources {
		if r.Kind == kind.Kind && resource == "" {
			resource = r.Name
		}
	}
	for _, r := range served.APIResources {
		scalable = scalable || r.Name == resource+"/scale"
	}
	if !scalable {
		return "", 0, fmt.Errorf("%s does not implement the scale subresource", schema.GroupResource{Group: kind.Group, Resource: resource})
	}
	prefix := []string{"apis", kind.Group, kind.Version}
	if kind.Group == "" {
		prefix = []string{"api", kind.Version}
	}
	raw, err := s.client.Discovery().RESTClient().Get().AbsPath(append(prefix, "namespaces", namespace, resource, owner.Name, "scale")...).
		SetHeader("Accept", "application/json").DoRaw(ctx)
	if apierrors.IsNotFound(err) {
		return "", 0, nil
	}
	var scale autoscalingv1.Scale
	if err == nil {
		err = json.Unmarshal(raw, &scale)
	}
	if err != nil {
		return "", 0, fmt.Errorf("read the scale of %s %s/%s: %w", kind.Kind, namespace, owner.Name, err)
	}
	if scale.UID != owner.UID {
		return "", 0, nil
	}
	return scale.UID, scale.Spec.Replicas, nil
}
