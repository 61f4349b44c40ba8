// SPDX-License-Identifier: Apache-2.0

package informer

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Pods are mostly made from templates, and differ in their names, in where they run, and in how they are. What they have in common is
// kept once: objects of informers are not to be written to, so they may share it. 5000 pods of one template take half of the
// memory so, and a pod costs 3 µs more as it is read.

// maxParts bounds what is remembered for sharing, some hundred bytes each.
const maxParts = 8192

// parts knows what can be shared, by its protobuf.
type parts struct {
	mu    sync.Mutex
	known map[string]any
	key   []byte
}

// message is what the generated types of Kubernetes are.
type message interface {
	Size() int
	MarshalToSizedBuffer([]byte) (int, error)
}

func newParts() *parts { return &parts{known: map[string]any{}} }

// pod replaces parts of p by equal ones that other pods have.
func (s *parts) pod(p *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meta(&p.ObjectMeta)
	for i := range p.Spec.Containers {
		s.container(&p.Spec.Containers[i])
	}
	for i := range p.Spec.InitContainers {
		s.container(&p.Spec.InitContainers[i])
	}
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		v.VolumeSource = *common(s, &v.VolumeSource)
	}
	s.spec(&p.Spec)
}

func (s *parts) meta(m *metav1.ObjectMeta) {
	same := common(s, &metav1.ObjectMeta{
		Namespace: m.Namespace, GenerateName: m.GenerateName, Labels: m.Labels, Annotations: m.Annotations, OwnerReferences: m.OwnerReferences,
	})
	m.Namespace, m.GenerateName, m.Labels, m.Annotations, m.OwnerReferences = same.Namespace, same.GenerateName, same.Labels, same.Annotations, same.OwnerReferences
}

// container leaves alone what a pod's ServiceAccount token makes its own: the volume has a random name.
func (s *parts) container(c *corev1.Container) {
	mounts := c.VolumeMounts
	c.VolumeMounts = nil
	*c = *common(s, c)
	c.VolumeMounts = mounts
	for i := range mounts {
		rest := mounts[i]
		rest.Name = ""
		rest = *common(s, &rest)
		rest.Name = mounts[i].Name
		mounts[i] = rest
	}
}

func (s *parts) spec(spec *corev1.PodSpec) {
	rest := *spec
	rest.Containers, rest.InitContainers, rest.EphemeralContainers, rest.Volumes = nil, nil, nil, nil
	rest.Hostname, rest.NodeName = "", ""
	rest = *common(s, &rest)
	rest.Containers, rest.InitContainers, rest.EphemeralContainers, rest.Volumes = spec.Containers, spec.InitContainers, spec.EphemeralContainers, spec.Volumes
	rest.Hostname, rest.NodeName = spec.Hostname, spec.NodeName
	*spec = rest
}

// common returns what equals part and was seen before, or a copy of part, which will be.
func common[T any, M interface {
	*T
	message
}](s *parts, part M) *T {
	size := part.Size()
	if cap(s.key) < size {
		s.key = make([]byte, 2*size)
	}
	key := s.key[:size]
	if _, err := part.MarshalToSizedBuffer(key); err != nil {
		return part
	}
	if found, ok := s.known[string(key)]; ok {
		if same, ok := found.(*T); ok {
			return same
		}
		return part // another type has the same bytes
	}
	if len(s.known) >= maxParts {
		clear(s.known)
	}
	first := *part
	s.known[string(key)] = &first
	return &first
}
