// SPDX-License-Identifier: Apache-2.0

package deployment

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// scaling gives a ReplicaSet a size. One of the size it has already brings its annotations up to date.
type scaling struct {
	rs *appsv1.ReplicaSet
	to int32
}

// resized reports whether the Deployment was scaled since its ReplicaSets with pods were.
func (r *rollout) resized() bool {
	return slices.ContainsFunc(active(r.all()), func(rs *appsv1.ReplicaSet) bool {
		desired, ok := sizeAnnotation(rs, DesiredReplicasAnnotation)
		return ok && desired != *r.d.Spec.Replicas
	})
}

// rolling is the next step of a rolling update: the newest ReplicaSet grows as far as the surge allows, and if it
// cannot, old ones shrink as far as enough pods stay available.
func (r *rollout) rolling() []scaling {
	want, size := *r.d.Spec.Replicas, *r.newest.Spec.Replicas
	if size > want {
		return []scaling{{r.newest, want}}
	}
	if grown := r.newestSize(size); grown != size {
		return []scaling{{r.newest, grown}}
	}
	return r.shrinkOld()
}

// newestSize is the size that the newest ReplicaSet, now at size, may grow to.
func (r *rollout) newestSize(size int32) int32 {
	want := *r.d.Spec.Replicas
	if r.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return want
	}
	surge, _ := fenceposts(r.d)
	room := want + surge - replicas(r.old) - size
	if room <= 0 {
		return size
	}
	return size + min(room, want-size)
}

// shrinkOld takes replicas from old ReplicaSets, oldest first: pods that are not available before all others, since
// that costs nothing, then as many as the newest ReplicaSet has made dispensable.
func (r *rollout) shrinkOld() []scaling {
	old := active(r.old)
	_, unavailable := fenceposts(r.d)
	minAvailable := *r.d.Spec.Replicas - unavailable
	// Pods of the newest that are not available yet count against what may be taken, or a template that never
	// becomes ready would eat up the one that works.
	budget := replicas(old) + *r.newest.Spec.Replicas - minAvailable - (*r.newest.Spec.Replicas - r.newest.Status.AvailableReplicas)
	if len(old) == 0 || budget <= 0 {
		return nil
	}
	sizes := make([]int32, len(old))
	available := r.newest.Status.AvailableReplicas
	for i, rs := range old {
		take := max(0, min(budget, *rs.Spec.Replicas-rs.Status.AvailableReplicas))
		sizes[i] = *rs.Spec.Replicas - take
		budget -= take
		available += rs.Status.AvailableReplicas
	}
	dispensable := available - minAvailable
	var steps []scaling
	for i, rs := range old {
		take := max(0, min(dispensable, sizes[i]))
		sizes[i] -= take
		dispensable -= take
		if sizes[i] != *rs.Spec.Replicas {
			steps = append(steps, scaling{rs, sizes[i]})
		}
	}
	return steps
}

// stopOld is the first step of a Recreate: all old ReplicaSets go to zero.
func (r *rollout) stopOld() []scaling {
	var steps []scaling
	for _, rs := range active(r.old) {
		steps = append(steps, scaling{rs, 0})
	}
	return steps
}

// startNewest is the second step of a Recreate, once no old pod runs.
func (r *rollout) startNewest() []scaling {
	if want := *r.d.Spec.Replicas; *r.newest.Spec.Replicas != want {
		return []scaling{{r.newest, want}}
	}
	return nil
}

// proportional spreads a new size over the ReplicaSets that have pods, in proportion to their sizes, so that scaling in
// the middle of a rollout does not put all weight on one template.
func (r *rollout) proportional() []scaling {
	want := *r.d.Spec.Replicas
	sets := active(r.all())
	if len(sets) <= 1 {
		only := r.onlyOrLatest(sets)
		if only == nil || *only.Spec.Replicas == want {
			return nil
		}
		return []scaling{{only, want}}
	}
	if r.saturated() {
		return r.stopOld()
	}
	if r.d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType {
		return nil
	}
	surge, _ := fenceposts(r.d)
	var allowed int32
	if want > 0 {
		allowed = want + surge
	}
	change := allowed - replicas(sets)
	// The largest first. Among equals the newer grows first and the older shrinks first.
	slices.SortStableFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		age := olderFirst(a, b)
		if change > 0 {
			age = -age
		}
		return cmp.Or(cmp.Compare(*b.Spec.Replicas, *a.Spec.Replicas), age)
	})
	left := change
	sizes := make([]int32, len(sets))
	for i, rs := range sets {
		share := int32(0)
		switch {
		case left > 0:
			share = min(r.share(rs, want+surge), left)
		case left < 0:
			share = max(r.share(rs, want+surge), left)
		}
		sizes[i] = *rs.Spec.Replicas + share
		left -= share
	}
	sizes[0] = max(0, sizes[0]+left) // what rounding left over
	var steps []scaling
	for i, rs := range sets {
		if sizes[i] != *rs.Spec.Replicas || setSizeAnnotations(rs.DeepCopy(), r.d) {
			steps = append(steps, scaling{rs, sizes[i]})
		}
	}
	return steps
}

// share is by how much rs would change if it kept its part of the Deployment's greatest size.
func (r *rollout) share(rs *appsv1.ReplicaSet, most int32) int32 {
	size := *rs.Spec.Replicas
	if *r.d.Spec.Replicas == 0 {
		return -size
	}
	before, ok := sizeAnnotation(rs, MaxReplicasAnnotation)
	if !ok || before == 0 {
		if before = r.d.Status.Replicas; before == 0 {
			return 0
		}
	}
	return int32(math.Round(float64(size)*float64(most)/float64(before))) - size
}

// onlyOrLatest is the one ReplicaSet with pods, or if none has any, the newest one there is.
func (r *rollout) onlyOrLatest(active []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	switch {
	case len(active) == 1:
		return active[0]
	case r.newest != nil:
		return r.newest
	case len(r.old) > 0:
		return r.old[len(r.old)-1]
	}
	return nil
}

// saturated reports whether the newest ReplicaSet has all the pods there should be, all available.
func (r *rollout) saturated() bool {
	if r.newest == nil {
		return false
	}
	want := *r.d.Spec.Replicas
	desired, ok := sizeAnnotation(r.newest, DesiredReplicasAnnotation)
	return ok && desired == want && *r.newest.Spec.Replicas == want && r.newest.Status.AvailableReplicas == want
}

// fenceposts resolves maxSurge and maxUnavailable to numbers of pods; zero for a Recreate. Both at zero would be a
// standstill, which percentages can round to, so one pod may then be unavailable.
func fenceposts(d *appsv1.Deployment) (surge, unavailable int32) {
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || d.Spec.Strategy.RollingUpdate == nil {
		return 0, 0
	}
	size, zero := int(*d.Spec.Replicas), intstr.FromInt32(0)
	resolve := func(value *intstr.IntOrString, roundUp bool) int32 {
		// Validation has refused what cannot be resolved.
		n, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(value, zero), size, roundUp)
		if err != nil {
			return 0
		}
		return int32(n)
	}
	surge = resolve(d.Spec.Strategy.RollingUpdate.MaxSurge, true)
	unavailable = resolve(d.Spec.Strategy.RollingUpdate.MaxUnavailable, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, min(unavailable, int32(size))
}

// active returns the ReplicaSets that have pods, or ought to.
func active(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	var found []*appsv1.ReplicaSet
	for _, rs := range sets {
		if *rs.Spec.Replicas > 0 {
			found = append(found, rs)
		}
	}
	return found
}

// replicas is the sum of the sizes asked for.
func replicas(sets []*appsv1.ReplicaSet) (sum int32) {
	for _, rs := range sets {
		sum += *rs.Spec.Replicas
	}
	return sum
}

func sizeAnnotation(rs *appsv1.ReplicaSet, key string) (int32, bool) {
	n, err := strconv.ParseInt(rs.Annotations[key], 10, 32)
	return int32(n), err == nil && n >= 0
}
