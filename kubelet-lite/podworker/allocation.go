// SPDX-License-Identifier: Apache-2.0

package podworker

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/kubelet-lite/cgroup"
	"github.com/hivemind-project/hivemind/kubelet-lite/criconfig"
	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
)

// deferredPeriod is how often a resize is tried for which there was no room. The end of a pod has it tried at once.
const deferredPeriod = 10 * time.Second

// allocate returns the pod with what the node has set aside for it: what its spec says or, while there is no room for that, what its containers were
// given before (KEP-1287). What they were given is kept with them in the runtime, and compared with the spec once for each generation of the pod.
func (w *worker) allocate(pod *v1.Pod, runtime *pleg.Pod) *v1.Pod {
	if w.isSized(pod) {
		return pod
	}
	before := allocated(pod, runtime)
	if before == nil {
		w.sized = pod.Generation
		w.hold(nil)
		w.deferred, w.deferredAt = "", 0
		return pod
	}
	// One at a time: two must not be given the same room.
	w.m.allocating.Lock()
	defer w.m.allocating.Unlock()
	w.deferred = ""
	if w.m.Refuses != nil {
		w.deferred = w.m.roomFor(w, pod, before)
	}
	if w.deferred == "" {
		w.hold(nil)
		w.deferredAt = 0
		return pod
	}
	w.hold(before)
	if w.deferredAt != pod.Generation {
		w.deferredAt = pod.Generation
		w.m.Recorder.Event(pod, v1.EventTypeWarning, "ResizeDeferred", resizeMessage(pod, v1.PodReasonDeferred, w.deferred))
	}
	w.resizing, w.resizeError = 0, ""
	return before
}

// hold makes known to other pods what is set aside for this one where that is not what it asks for, and since when it waits.
func (w *worker) hold(pod *v1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == nil && pod != nil {
		w.heldSince = w.m.Clock.Now()
	}
	w.held = pod
}

// claim is a pod that waits for room: what it asks for, what it has, and since when.
type claim struct {
	wanted, held *v1.Pod
	since        time.Time
}

// roomFor says why there is no room for what a pod asks for; "" where there is. Claims of other pods that go before this one are met first.
func (m *Manager) roomFor(w *worker, pod, held *v1.Pod) string {
	others := slices.DeleteFunc(m.Admitted(), func(p *v1.Pod) bool { return p.UID == w.uid })
	mine := claim{pod, held, m.Clock.Now()}
	var before []claim
	for _, other := range m.all() {
		other.mu.Lock()
		switch c := (claim{other.pod, other.held, other.heldSince}); {
		case c.held == nil || other.stage != alive || c.wanted.DeletionTimestamp != nil:
		case other == w:
			mine.since = c.since
		default:
			before = append(before, c)
		}
		other.mu.Unlock()
	}
	before = slices.DeleteFunc(before, func(c claim) bool { return compareClaims(c, mine) > 0 })
	slices.SortFunc(before, compareClaims)
	for _, c := range before {
		i := slices.IndexFunc(others, func(p *v1.Pod) bool { return p.UID == c.wanted.UID })
		if i < 0 {
			continue
		}
		if rest := append(slices.Clone(others[:i]), others[i+1:]...); m.Refuses(c.wanted, rest) == "" {
			others = append(rest, c.wanted)
		}
	}
	return m.Refuses(pod, others)
}

// compareClaims puts those first that ask for no more than they have, then higher priorities, then guaranteed pods, then who waits longest, as the kubelet does.
func compareClaims(a, b claim) int {
	first := func(a, b bool) int {
		switch {
		case a == b:
			return 0
		case a:
			return -1
		}
		return 1
	}
	return cmp.Or(
		first(!a.grows(), !b.grows()),
		cmp.Compare(ptr.Deref(b.wanted.Spec.Priority, 0), ptr.Deref(a.wanted.Spec.Priority, 0)),
		first(cgroup.QOSClass(a.wanted) == v1.PodQOSGuaranteed, cgroup.QOSClass(b.wanted) == v1.PodQOSGuaranteed),
		a.since.Compare(b.since),
	)
}

// grows says that more CPU or memory is asked for than is held.
func (c claim) grows() bool {
	wanted, held := resourcehelper.PodRequests(c.wanted, resourcehelper.PodResourcesOptions{}), resourcehelper.PodRequests(c.held, resourcehelper.PodResourcesOptions{})
	return wanted.Cpu().Cmp(*held.Cpu()) > 0 || wanted.Memory().Cmp(*held.Memory()) > 0
}

// isSized says that the containers are known to have what the spec says: they begin with that, and only another spec changes it.
func (w *worker) isSized(pod *v1.Pod) bool { return pod.Generation != 0 && w.sized == pod.Generation }

// allocated is a copy of the pod in which containers have what they were given, or nil where that is what its spec says.
func allocated(pod *v1.Pod, runtime *pleg.Pod) *v1.Pod {
	var out *v1.Pod
	visit := func(i int, list func(*v1.Pod) []v1.Container) {
		c := &list(pod)[i]
		have, ok := runtime.Latest(c.Name)
		var given v1.ResourceRequirements
		if !ok || have.Resources == "" || have.Resources == criconfig.Resizable(pod, c) || json.Unmarshal([]byte(have.Resources), &given) != nil {
			return
		}
		if out == nil {
			out = pod.DeepCopy()
		}
		into := &list(out)[i].Resources
		into.Requests, into.Limits = resizable(into.Requests, given.Requests), resizable(into.Limits, given.Limits)
	}
	for i := range pod.Spec.InitContainers {
		if criconfig.IsSidecar(&pod.Spec.InitContainers[i]) {
			visit(i, func(p *v1.Pod) []v1.Container { return p.Spec.InitContainers })
		}
	}
	for i := range pod.Spec.Containers {
		visit(i, func(p *v1.Pod) []v1.Container { return p.Spec.Containers })
	}
	return out
}

// resizable replaces in a list what may be resized by what was given.
func resizable(list, given v1.ResourceList) v1.ResourceList {
	for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
		delete(list, name)
	}
	for name, q := range given {
		if list == nil {
			list = v1.ResourceList{}
		}
		list[name] = q
	}
	return list
}
