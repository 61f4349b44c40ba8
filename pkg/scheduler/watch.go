// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"errors"
	"maps"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/pkg/scheduler/state"
)

// watch feeds the cluster and the queue from the informers. It returns what to wait for before the first cycle, and how to
// let go of the informers.
func (s *Scheduler) watch() (synced []cache.InformerSynced, stop func(), err error) {
	var undo []func() error
	stop = func() {
		for _, u := range undo {
			if err := u(); err != nil {
				klog.ErrorS(err, "Scheduler could not let go of an informer")
			}
		}
	}
	add := func(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) {
		registration, e := informer.AddEventHandler(handler)
		if e != nil {
			err = errors.Join(err, e)
			return
		}
		synced = append(synced, registration.HasSynced)
		undo = append(undo, func() error { return informer.RemoveEventHandler(registration) })
	}
	core := s.informers.Core().V1()
	// Nodes, volumes and namespaces first: a pod should not be tried before they are known.
	add(core.Nodes().Informer(), on(
		func(_, node *v1.Node) { s.setNode(node) },
		func(node *v1.Node) { s.deleteNode(node) }))
	add(core.Namespaces().Informer(), on(func(old, ns *v1.Namespace) {
		if old != nil && !maps.Equal(old.Labels, ns.Labels) {
			s.queue.wake(state.NamespaceLabels)
		}
	}, func(*v1.Namespace) {}))
	add(core.PersistentVolumes().Informer(), on(
		func(_, _ *v1.PersistentVolume) { s.volumes.Changed(); s.queue.wake(state.VolumeChange) },
		func(*v1.PersistentVolume) { s.volumes.Changed(); s.queue.wake(state.VolumeChange) }))
	add(core.PersistentVolumeClaims().Informer(), on(
		func(_, _ *v1.PersistentVolumeClaim) { s.volumes.Changed(); s.queue.wake(state.ClaimChange) },
		func(*v1.PersistentVolumeClaim) { s.volumes.Changed(); s.queue.wake(state.ClaimChange) }))
	add(s.informers.Storage().V1().StorageClasses().Informer(), on(
		func(_, _ *storagev1.StorageClass) { s.queue.wake(state.ClassChange) },
		func(*storagev1.StorageClass) {}))
	add(core.Pods().Informer(), on(s.setPod, s.deletePod))
	if s.options.Budgets != nil {
		synced = append(synced, s.options.Budgets.Informer().HasSynced)
	}
	return synced, stop, err
}

// on makes a handler of two functions: set for new objects (old is nil) and new versions, gone for deleted ones.
func on[T any](set func(old, new *T), gone func(*T)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if o, ok := obj.(*T); ok {
				set(nil, o)
			}
		},
		UpdateFunc: func(old, obj any) {
			was, ok1 := old.(*T)
			is, ok2 := obj.(*T)
			if ok1 && ok2 {
				set(was, is)
			}
		},
		DeleteFunc: func(obj any) {
			if lost, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = lost.Obj
			}
			if o, ok := obj.(*T); ok {
				gone(o)
			}
		},
	}
}

func (s *Scheduler) setNode(node *v1.Node) {
	s.mu.Lock()
	change := s.cluster.SetNode(node)
	s.mu.Unlock()
	s.queue.wake(change)
}

func (s *Scheduler) deleteNode(node *v1.Node) {
	s.mu.Lock()
	s.cluster.DeleteNode(node.Name)
	s.mu.Unlock()
	// Fewer nodes let a pod fit that has to be spread evenly over all of them.
	s.queue.wake(state.NodeLabels)
}

func (s *Scheduler) setPod(old, object *v1.Pod) {
	pod, err := state.NewPod(object)
	if err != nil {
		// Validation lets no such pod in; it could never be placed.
		klog.ErrorS(err, "Ignored pod", "pod", klog.KObj(object))
		return
	}
	switch {
	case ended(object):
		s.removePod(pod)
	case object.Spec.NodeName != "":
		s.countPod(pod)
	case object.Spec.SchedulerName == s.options.Name && object.DeletionTimestamp == nil:
		s.enqueuePod(pod, old != nil && old.Status.NominatedNodeName != "")
	default:
		s.queue.delete(pod.UID)
	}
}

func (s *Scheduler) deletePod(object *v1.Pod) {
	if pod, err := state.NewPod(object); err == nil {
		s.removePod(pod)
	}
}

// countPod records that a pod is on a node.
func (s *Scheduler) countPod(pod *state.Pod) {
	s.mu.Lock()
	old := s.cluster.Pod(pod.UID)
	s.cluster.SetPod(pod)
	s.cluster.Denominate(pod.UID)
	s.mu.Unlock()
	if old == nil || old.Spec.NodeName != pod.Spec.NodeName {
		s.queue.delete(pod.UID)
		s.queue.wake(state.PodAssigned)
		return
	}
	s.queue.wake(podChange(old, pod) &^ state.PodItself)
}

// enqueuePod takes a pod without a node, or its new version, into the queue; nominated says whether the old one was promised a node.
func (s *Scheduler) enqueuePod(pod *state.Pod, nominated bool) {
	s.mu.Lock()
	assumed := s.cluster.Assumed(pod.UID)
	if !assumed && (nominated || pod.Status.NominatedNodeName != "") {
		s.cluster.Nominate(pod, pod.Status.NominatedNodeName)
	}
	s.mu.Unlock()
	if !assumed {
		s.queue.set(pod)
	}
}

// removePod forgets a pod that has been deleted or has run to its end.
func (s *Scheduler) removePod(pod *state.Pod) {
	s.mu.Lock()
	s.cluster.DeletePod(pod.UID)
	s.cluster.Denominate(pod.UID)
	s.mu.Unlock()
	s.queue.delete(pod.UID)
	if pod.Spec.NodeName != "" || pod.Status.NominatedNodeName != "" {
		s.queue.wake(state.PodRemoved)
	}
}

// podChange says what about a pod has changed that a plugin may care for.
func podChange(old, pod *state.Pod) state.Change {
	var change state.Change
	if !maps.Equal(old.Labels, pod.Labels) {
		change |= state.PodLabels | state.PodItself
	}
	if less(&pod.Requests, &old.Requests) {
		change |= state.PodShrunk | state.PodItself
	}
	if (old.DeletionTimestamp == nil) != (pod.DeletionTimestamp == nil) {
		change |= state.PodLabels | state.PodItself // it is not counted for spreading any more
	}
	if len(old.Spec.Tolerations) != len(pod.Spec.Tolerations) || !maps.Equal(old.Spec.NodeSelector, pod.Spec.NodeSelector) ||
		len(old.Spec.SchedulingGates) != len(pod.Spec.SchedulingGates) {
		change |= state.PodItself
	}
	return change
}

func less(a, b *state.Resources) bool {
	if a.MilliCPU < b.MilliCPU || a.Memory < b.Memory || a.EphemeralStorage < b.EphemeralStorage {
		return true
	}
	for name, amount := range b.Scalar {
		if a.Scalar[name] < amount {
			return true
		}
	}
	return false
}

func ended(pod *v1.Pod) bool {
	return pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed
}
