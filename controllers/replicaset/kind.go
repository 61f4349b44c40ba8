// SPDX-License-Identifier: Apache-2.0

package replicaset

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	appsinformers "k8s.io/client-go/informers/apps/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
)

// kind is what differs between the objects this controller serves. They all appear as ReplicaSets; original gives back
// the object itself, for events.
type kind struct {
	schema.GroupVersionKind
	name         string
	informer     cache.SharedIndexInformer
	get          func(namespace, name string) (*appsv1.ReplicaSet, error)
	list         func(namespace string) ([]*appsv1.ReplicaSet, error)
	live         func(ctx context.Context, namespace, name string) (*appsv1.ReplicaSet, error)
	updateStatus func(ctx context.Context, rs *appsv1.ReplicaSet) (*appsv1.ReplicaSet, error)
	fromObject   func(obj any) (*appsv1.ReplicaSet, bool)
	original     func(rs *appsv1.ReplicaSet) runtime.Object
	terminating  bool // whether the status counts terminating replicas
}

func replicaSets(client kubernetes.Interface, informer appsinformers.ReplicaSetInformer) kind {
	lister := informer.Lister()
	return kind{
		GroupVersionKind: appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
		name:             "replicaset",
		informer:         informer.Informer(),
		get: func(namespace, name string) (*appsv1.ReplicaSet, error) {
			return lister.ReplicaSets(namespace).Get(name)
		},
		list: func(namespace string) ([]*appsv1.ReplicaSet, error) {
			return lister.ReplicaSets(namespace).List(labels.Everything())
		},
		live: func(ctx context.Context, namespace, name string) (*appsv1.ReplicaSet, error) {
			return client.AppsV1().ReplicaSets(namespace).Get(ctx, name, metav1.GetOptions{})
		},
		updateStatus: func(ctx context.Context, rs *appsv1.ReplicaSet) (*appsv1.ReplicaSet, error) {
			return client.AppsV1().ReplicaSets(rs.Namespace).UpdateStatus(ctx, rs, metav1.UpdateOptions{})
		},
		fromObject:  loop.Object[*appsv1.ReplicaSet],
		original:    func(rs *appsv1.ReplicaSet) runtime.Object { return rs },
		terminating: true,
	}
}

func replicationControllers(client kubernetes.Interface, informer coreinformers.ReplicationControllerInformer) kind {
	lister := informer.Lister()
	return kind{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ReplicationController"),
		name:             "replicationcontroller",
		informer:         informer.Informer(),
		get: func(namespace, name string) (*appsv1.ReplicaSet, error) {
			return converted(lister.ReplicationControllers(namespace).Get(name))
		},
		list: func(namespace string) ([]*appsv1.ReplicaSet, error) {
			rcs, err := lister.ReplicationControllers(namespace).List(labels.Everything())
			sets := make([]*appsv1.ReplicaSet, 0, len(rcs))
			for _, rc := range rcs {
				sets = append(sets, toReplicaSet(rc))
			}
			return sets, err
		},
		live: func(ctx context.Context, namespace, name string) (*appsv1.ReplicaSet, error) {
			return converted(client.CoreV1().ReplicationControllers(namespace).Get(ctx, name, metav1.GetOptions{}))
		},
		updateStatus: func(ctx context.Context, rs *appsv1.ReplicaSet) (*appsv1.ReplicaSet, error) {
			return converted(client.CoreV1().ReplicationControllers(rs.Namespace).
				UpdateStatus(ctx, toReplicationController(rs), metav1.UpdateOptions{}))
		},
		fromObject: func(obj any) (*appsv1.ReplicaSet, bool) {
			rc, ok := loop.Object[*corev1.ReplicationController](obj)
			if !ok {
				return nil, false
			}
			return toReplicaSet(rc), true
		},
		original: func(rs *appsv1.ReplicaSet) runtime.Object { return toReplicationController(rs) },
	}
}

func converted(rc *corev1.ReplicationController, err error) (*appsv1.ReplicaSet, error) {
	if err != nil {
		return nil, err
	}
	return toReplicaSet(rc), nil
}

// toReplicaSet shares what the types have in common with rc, so it costs two small allocations and is as read-only as
// its source.
func toReplicaSet(rc *corev1.ReplicationController) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{
		TypeMeta:   rc.TypeMeta,
		ObjectMeta: rc.ObjectMeta,
		Spec: appsv1.ReplicaSetSpec{
			Replicas:        rc.Spec.Replicas,
			MinReadySeconds: rc.Spec.MinReadySeconds,
			Selector:        &metav1.LabelSelector{MatchLabels: rc.Spec.Selector},
		},
		Status: appsv1.ReplicaSetStatus{
			Replicas:             rc.Status.Replicas,
			FullyLabeledReplicas: rc.Status.FullyLabeledReplicas,
			ReadyReplicas:        rc.Status.ReadyReplicas,
			AvailableReplicas:    rc.Status.AvailableReplicas,
			ObservedGeneration:   rc.Status.ObservedGeneration,
		},
	}
	if rc.Spec.Template != nil {
		rs.Spec.Template = *rc.Spec.Template
	}
	for _, c := range rc.Status.Conditions {
		rs.Status.Conditions = append(rs.Status.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetConditionType(c.Type), Status: c.Status,
			LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return rs
}

func toReplicationController(rs *appsv1.ReplicaSet) *corev1.ReplicationController {
	rc := &corev1.ReplicationController{
		TypeMeta:   rs.TypeMeta,
		ObjectMeta: rs.ObjectMeta,
		Spec: corev1.ReplicationControllerSpec{
			Replicas:        rs.Spec.Replicas,
			MinReadySeconds: rs.Spec.MinReadySeconds,
			Selector:        rs.Spec.Selector.MatchLabels,
			Template:        &rs.Spec.Template,
		},
		Status: corev1.ReplicationControllerStatus{
			Replicas:             rs.Status.Replicas,
			FullyLabeledReplicas: rs.Status.FullyLabeledReplicas,
			ReadyReplicas:        rs.Status.ReadyReplicas,
			AvailableReplicas:    rs.Status.AvailableReplicas,
			ObservedGeneration:   rs.Status.ObservedGeneration,
		},
	}
	for _, c := range rs.Status.Conditions {
		rc.Status.Conditions = append(rc.Status.Conditions, corev1.ReplicationControllerCondition{
			Type: corev1.ReplicationControllerConditionType(c.Type), Status: c.Status,
			LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return rc
}
