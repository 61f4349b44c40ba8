// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
)

const (
	retryFirst = 200 * time.Millisecond
	retryMax   = 10 * time.Second
)

// Manager sends statuses.
type Manager struct {
	client kubernetes.Interface
	ctx    context.Context
	turns  chan struct{}

	mu      sync.Mutex
	entries map[types.UID]*entry
}

// entry is one pod: what its status is to be, and what the API server last said that it is. Neither is ever changed, so that they may be
// one, and at rest are those of the pod that the API showed last: a pod at rest keeps no status of its own here.
type entry struct {
	namespace, name string
	want            *v1.PodStatus
	base            *v1.PodStatus
	version         string  // of base
	seen            *v1.Pod // what was observed while sending
	sending         bool
	settled         chan struct{} // closed when nothing is left to send
}

// NewManager returns a manager that sends until ctx ends. turns bounds, by its capacity, how many statuses are sent at once by all who share
// it; nil sets no bound.
func NewManager(ctx context.Context, client kubernetes.Interface, turns chan struct{}) *Manager {
	return &Manager{ctx: ctx, client: client, turns: turns, entries: map[types.UID]*entry{}}
}

// Set makes s the pod's status, and has it sent at once where it differs from what was last set.
func (m *Manager) Set(pod *v1.Pod, s v1.PodStatus) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[pod.UID]
	switch {
	case !ok:
		e = &entry{namespace: pod.Namespace, name: pod.Name, base: &pod.Status, version: pod.ResourceVersion}
		m.entries[pod.UID] = e
		if equality.Semantic.DeepEqual(pod.Status, s) {
			e.want = e.base
			return
		}
	case equality.Semantic.DeepEqual(*e.want, s):
		return
	}
	e.want = &s
	m.kick(pod.UID, e)
}

// Observe takes the pod as the API server shows it: if that is newer than what we know, and is not what was set, it is set again. The pod
// is never changed afterwards.
func (m *Manager) Observe(pod *v1.Pod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[pod.UID]
	switch {
	case !ok:
	case e.sending:
		e.seen = pod
	default:
		m.observe(e, pod)
	}
}

// observe is called with the lock held, while nothing is sent.
func (m *Manager) observe(e *entry, pod *v1.Pod) {
	if pod.ResourceVersion != e.version && !newer(pod.ResourceVersion, e.version) {
		return
	}
	e.base, e.version = &pod.Status, pod.ResourceVersion
	switch {
	case equality.Semantic.DeepEqual(e.base, e.want):
		e.want = e.base
	case !equality.Semantic.DeepEqual(*e.base, withForeign(*e.want, *e.base)):
		m.kick(pod.UID, e)
	}
}

// Get returns the status that was last set.
func (m *Manager) Get(uid types.UID) (v1.PodStatus, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[uid]
	if !ok {
		return v1.PodStatus{}, false
	}
	return *e.want.DeepCopy(), true
}

// Settle waits until what was set has been sent.
func (m *Manager) Settle(ctx context.Context, uid types.UID) error {
	for {
		m.mu.Lock()
		e, ok := m.entries[uid]
		if !ok || !e.sending {
			m.mu.Unlock()
			return nil
		}
		settled := e.settled
		m.mu.Unlock()
		select {
		case <-settled:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Forget drops a pod that is gone.
func (m *Manager) Forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, uid)
}

// kick starts a sender unless one is at work; the lock is held.
func (m *Manager) kick(uid types.UID, e *entry) {
	if e.sending {
		return
	}
	e.sending = true
	e.settled = make(chan struct{})
	go m.send(uid, e)
}

// send patches until what is wanted is what is there. What is set meanwhile goes into the next patch.
func (m *Manager) send(uid types.UID, e *entry) {
	retry := retryFirst
	for {
		want, pod, err := m.sendOnce(uid, e)
		gone := err != nil && (apierrors.IsNotFound(err) || m.ctx.Err() != nil)
		if err != nil && !gone {
			klog.FromContext(m.ctx).Error(err, "Pod status cannot be sent, trying again", "pod", klog.KRef(e.namespace, e.name), "after", retry)
			if gone = !m.refetch(uid, e, retry); !gone {
				retry = min(retry*2, retryMax)
				continue
			}
		}
		m.mu.Lock()
		if pod != nil {
			base := pod.Status // without the pod, which would stay in memory
			e.base, e.version = &base, pod.ResourceVersion
		}
		if !gone && !equality.Semantic.DeepEqual(e.want, want) {
			m.mu.Unlock()
			retry = retryFirst
			continue
		}
		e.sending = false
		close(e.settled)
		e.settled = nil
		if seen := e.seen; seen != nil {
			e.seen = nil
			m.observe(e, seen)
		}
		m.mu.Unlock()
		return
	}
}

// sendOnce waits for its turn and sends what is wanted by then.
func (m *Manager) sendOnce(uid types.UID, e *entry) (want *v1.PodStatus, pod *v1.Pod, err error) {
	if m.turns != nil {
		select {
		case m.turns <- struct{}{}:
			defer func() { <-m.turns }()
		case <-m.ctx.Done():
			return nil, nil, m.ctx.Err()
		}
	}
	m.mu.Lock()
	want, base := e.want, e.base
	m.mu.Unlock()
	pod, err = m.patch(uid, e, *base.DeepCopy(), *want.DeepCopy())
	return want, pod, err
}

// refetch waits, and then reads what the next try starts from. It returns false if there will be none: the pod is gone, or
// another has its name.
func (m *Manager) refetch(uid types.UID, e *entry, wait time.Duration) bool {
	select {
	case <-m.ctx.Done():
		return false
	case <-time.After(wait):
	}
	fresh, err := m.client.CoreV1().Pods(e.namespace).Get(m.ctx, e.name, metav1.GetOptions{})
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case apierrors.IsNotFound(err), err == nil && fresh.UID != uid, m.entries[uid] != e:
		return false
	case err == nil:
		base := fresh.Status
		e.base, e.version = &base, fresh.ResourceVersion
	}
	return true
}

// patch sends the difference between two statuses; nil where there is none.
func (m *Manager) patch(uid types.UID, e *entry, base, want v1.PodStatus) (*v1.Pod, error) {
	want = withForeign(want, base)
	before, err := json.Marshal(v1.Pod{Status: base})
	if err != nil {
		return nil, fmt.Errorf("encode status of pod %s/%s: %w", e.namespace, e.name, err)
	}
	after, err := json.Marshal(v1.Pod{Status: want})
	if err != nil {
		return nil, fmt.Errorf("encode status of pod %s/%s: %w", e.namespace, e.name, err)
	}
	if string(before) == string(after) {
		return nil, nil
	}
	// The uid makes the patch fail for another pod of the same name.
	after, err = json.Marshal(v1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid}, Status: want})
	if err != nil {
		return nil, fmt.Errorf("encode status of pod %s/%s: %w", e.namespace, e.name, err)
	}
	data, err := strategicpatch.CreateTwoWayMergePatch(before, after, v1.Pod{})
	if err != nil {
		return nil, fmt.Errorf("compare statuses of pod %s/%s: %w", e.namespace, e.name, err)
	}
	pod, err := m.client.CoreV1().Pods(e.namespace).Patch(m.ctx, e.name, types.StrategicMergePatchType, data, metav1.PatchOptions{}, "status")
	if err != nil {
		return nil, fmt.Errorf("patch status of pod %s/%s: %w", e.namespace, e.name, err)
	}
	return pod, nil
}

// withForeign adds to a status the conditions that others have set on the pod since it was computed.
func withForeign(want, base v1.PodStatus) v1.PodStatus {
	conditions := want.Conditions[:len(want.Conditions):len(want.Conditions)]
	for _, c := range base.Conditions {
		if !owned(c.Type) && get(conditions, c.Type) == nil {
			conditions = append(conditions, c)
		}
	}
	want.Conditions = conditions
	return want
}

// newer says whether a resource version is of a later state than another (KEP-5504); one that cannot be compared counts as newer.
func newer(a, than string) bool {
	order, err := resourceversion.CompareResourceVersion(a, than)
	return err != nil || order > 0
}
