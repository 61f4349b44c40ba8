// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"context"
	"errors"
	"fmt"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	kubelet "github.com/hivemind-project/hivemind/kubelet-lite"
	nodeauth "github.com/hivemind-project/hivemind/pkg/auth/node"
)

// sharedSource shows all nodes of this process their pods: from one informer, the server's own, by its index of pods by node. A node costs
// a map entry, and an event a lookup in it, where a watch a node would decode every event a thousand times.
type sharedSource struct {
	pods, nodes   cache.SharedIndexInformer
	registrations [2]cache.ResourceEventHandlerRegistration

	mu        sync.RWMutex
	byName    map[string]*simulatedNode
	observers map[string]*nodeObserver
}

// nodeObserver serializes what a node is told.
type nodeObserver struct {
	mu sync.Mutex
	to kubelet.Observer
}

func newSharedSource(pods, nodes cache.SharedIndexInformer) (*sharedSource, error) {
	if _, exists := pods.GetIndexer().GetIndexers()[nodeauth.PodsByNode]; !exists {
		return nil, errors.New("pods are not indexed by node: the server has not started")
	}
	return &sharedSource{pods: pods, nodes: nodes, byName: map[string]*simulatedNode{}, observers: map[string]*nodeObserver{}}, nil
}

// start follows the informers, and has each node take up the pods that ran on it before.
func (s *sharedSource) start(nodes []*simulatedNode) (err error) {
	for _, n := range nodes {
		s.byName[n.name] = n
		for _, pod := range s.podsOf(n.name) {
			n.runtime.Adopt(pod)
		}
	}
	if s.registrations[0], err = s.pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { s.setPod(o.(*v1.Pod)) },
		UpdateFunc: func(old, o any) {
			if before, after := old.(*v1.Pod), o.(*v1.Pod); before.UID != after.UID {
				s.deletePod(before)
			}
			s.setPod(o.(*v1.Pod))
		},
		DeleteFunc: func(o any) {
			if tombstone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = tombstone.Obj
			}
			if pod, ok := o.(*v1.Pod); ok {
				s.deletePod(pod)
			}
		},
	}); err != nil {
		return fmt.Errorf("follow pods: %w", err)
	}
	if s.registrations[1], err = s.nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { s.setNode(o.(*v1.Node)) }, UpdateFunc: func(_, o any) { s.setNode(o.(*v1.Node)) },
	}); err != nil {
		return fmt.Errorf("follow nodes: %w", err)
	}
	return nil
}

func (s *sharedSource) stop() error {
	var errs []error
	for i, informer := range []cache.SharedIndexInformer{s.pods, s.nodes} {
		if s.registrations[i] != nil {
			errs = append(errs, informer.RemoveEventHandler(s.registrations[i]))
		}
	}
	return errors.Join(errs...)
}

func (s *sharedSource) observer(node string) *nodeObserver {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.observers[node]
}

func (s *sharedSource) setPod(pod *v1.Pod) {
	if o := s.observer(pod.Spec.NodeName); o != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.to.SetPod(pod)
	}
}

func (s *sharedSource) deletePod(pod *v1.Pod) {
	if o := s.observer(pod.Spec.NodeName); o != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.to.DeletePod(pod)
	}
}

// setNode tells the runtime too, whose addresses are the node's.
func (s *sharedSource) setNode(node *v1.Node) {
	n, ok := s.byName[node.Name]
	if !ok {
		return
	}
	n.observe(node)
	if o := s.observer(node.Name); o != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.to.SetNode(node)
	}
}

func (s *sharedSource) podsOf(node string) []*v1.Pod {
	found, err := s.pods.GetIndexer().ByIndex(nodeauth.PodsByNode, node)
	if err != nil {
		return nil // there is such an index: see newSharedSource
	}
	pods := make([]*v1.Pod, 0, len(found))
	for _, o := range found {
		if pod, ok := o.(*v1.Pod); ok {
			pods = append(pods, pod)
		}
	}
	return pods
}

// of is the source of one node.
func (s *sharedSource) of(n *simulatedNode) kubelet.Source { return nodeSource{s, n.name} }

type nodeSource struct {
	shared *sharedSource
	node   string
}

// Run implements kubelet.Source.
func (s nodeSource) Run(ctx context.Context, to kubelet.Observer) error {
	o := &nodeObserver{to: to}
	o.mu.Lock() // what happens from now on comes after what there is
	s.shared.mu.Lock()
	s.shared.observers[s.node] = o
	s.shared.mu.Unlock()
	if object, exists, err := s.shared.nodes.GetStore().GetByKey(s.node); err == nil && exists {
		to.SetNode(object.(*v1.Node))
	}
	for _, pod := range s.Pods() {
		to.SetPod(pod)
	}
	to.Listed()
	o.mu.Unlock()
	<-ctx.Done()
	s.shared.mu.Lock()
	delete(s.shared.observers, s.node)
	s.shared.mu.Unlock()
	return nil
}

// Pods implements kubelet.Source.
func (s nodeSource) Pods() []*v1.Pod { return s.shared.podsOf(s.node) }

// Pod implements kubelet.Source.
func (s nodeSource) Pod(namespace, name string) (*v1.Pod, bool) {
	o, ok, err := s.shared.pods.GetStore().GetByKey(namespace + "/" + name)
	if err != nil || !ok {
		return nil, false
	}
	pod, ok := o.(*v1.Pod)
	return pod, ok && pod.Spec.NodeName == s.node
}
