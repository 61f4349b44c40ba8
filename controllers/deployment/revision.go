// SPDX-License-Identifier: Apache-2.0

package deployment

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/dump"
)

// Annotations of a Deployment's ReplicaSets; the first is also on the Deployment. kubectl rollout reads the revisions.
const (
	RevisionAnnotation        = "deployment.kubernetes.io/revision"
	RevisionHistoryAnnotation = "deployment.kubernetes.io/revision-history"
	// DesiredReplicasAnnotation is the Deployment's size when this ReplicaSet was last scaled: where it differs, the
	// Deployment was scaled meanwhile.
	DesiredReplicasAnnotation = "deployment.kubernetes.io/desired-replicas"
	// MaxReplicasAnnotation is that size with the surge, from which proportions are reckoned.
	MaxReplicasAnnotation = "deployment.kubernetes.io/max-replicas"
)

// maxHistory bounds the revision history of one ReplicaSet, in characters.
const maxHistory = 2000

// ownAnnotations are not copied from the Deployment to its ReplicaSets.
func ownAnnotation(key string) bool {
	switch key {
	case corev1.LastAppliedConfigAnnotation, RevisionAnnotation, RevisionHistoryAnnotation,
		DesiredReplicasAnnotation, MaxReplicasAnnotation, appsv1.DeprecatedRollbackTo:
		return true
	}
	return false
}

// rollout is a Deployment (a copy to work on) with its ReplicaSets: the newest has the current template and is nil
// until it is made; the old ones are sorted by age, oldest first.
type rollout struct {
	d      *appsv1.Deployment
	newest *appsv1.ReplicaSet
	old    []*appsv1.ReplicaSet
}

// split tells the newest ReplicaSet from the old ones. Should two have the template, as after an upgrade that changed
// the hash, the older one is taken, always the same.
func split(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) *rollout {
	r := &rollout{d: d, old: slices.SortedFunc(slices.Values(sets), olderFirst)}
	i := slices.IndexFunc(r.old, func(rs *appsv1.ReplicaSet) bool { return sameTemplate(&rs.Spec.Template, &d.Spec.Template) })
	if i >= 0 {
		r.newest = r.old[i]
		r.old = slices.Delete(r.old, i, i+1)
	}
	return r
}

// all returns every ReplicaSet, the newest last.
func (r *rollout) all() []*appsv1.ReplicaSet {
	if r.newest == nil {
		return r.old
	}
	return append(slices.Clip(r.old), r.newest)
}

// replace puts a newer version of a ReplicaSet in its place.
func (r *rollout) replace(rs *appsv1.ReplicaSet) {
	if r.newest != nil && r.newest.UID == rs.UID {
		r.newest = rs
	}
	for i := range r.old {
		if r.old[i].UID == rs.UID {
			r.old[i] = rs
		}
	}
}

// newReplicaSet is the ReplicaSet of the current template, at the size that it may have at once.
func (r *rollout) newReplicaSet() *appsv1.ReplicaSet {
	d := r.d
	hash := templateHash(&d.Spec.Template, d.Status.CollisionCount)
	template := *d.Spec.Template.DeepCopy()
	template.Labels = withLabel(template.Labels, hash)
	selector := d.Spec.Selector.DeepCopy()
	selector.MatchLabels = withLabel(selector.MatchLabels, hash)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name:            setName(d.Name, hash),
			Namespace:       d.Namespace,
			Labels:          maps.Clone(template.Labels),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, kind)},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas:        new(int32),
			MinReadySeconds: d.Spec.MinReadySeconds,
			Selector:        selector,
			Template:        template,
		},
	}
	size := r.newestSize(0)
	rs.Spec.Replicas = &size
	setRevision(rs, d, r.nextRevision())
	setSizeAnnotations(rs, d)
	return rs
}

// annotated returns the newest ReplicaSet with annotations, revision and minReadySeconds as they should be, and
// whether that is a change.
func (r *rollout) annotated() (*appsv1.ReplicaSet, bool) {
	rs := r.newest.DeepCopy()
	changed := setRevision(rs, r.d, r.nextRevision())
	if rs.Spec.MinReadySeconds != r.d.Spec.MinReadySeconds {
		rs.Spec.MinReadySeconds = r.d.Spec.MinReadySeconds
		changed = true
	}
	return rs, changed
}

// adoptRevision gives the Deployment the revision of its newest ReplicaSet.
func (r *rollout) adoptRevision() {
	if r.d.Annotations == nil {
		r.d.Annotations = map[string]string{}
	}
	r.d.Annotations[RevisionAnnotation] = r.newest.Annotations[RevisionAnnotation]
}

func (r *rollout) nextRevision() int64 {
	var last int64
	for _, rs := range r.old {
		last = max(last, revision(rs))
	}
	return last + 1
}

// setRevision copies the Deployment's annotations to rs and raises its revision to next. A ReplicaSet that had a lower one
// was rolled back to, and keeps the number in its history.
func setRevision(rs *appsv1.ReplicaSet, d *appsv1.Deployment, next int64) (changed bool) {
	if rs.Annotations == nil {
		rs.Annotations = map[string]string{}
	}
	for key, value := range d.Annotations {
		if had, ok := rs.Annotations[key]; !ownAnnotation(key) && (!ok || had != value) {
			rs.Annotations[key] = value
			changed = true
		}
	}
	had := rs.Annotations[RevisionAnnotation]
	if n, err := strconv.ParseInt(had, 10, 64); had != "" && (err != nil || n >= next) {
		return changed
	}
	rs.Annotations[RevisionAnnotation] = strconv.FormatInt(next, 10)
	if had != "" {
		history := had
		if before := rs.Annotations[RevisionHistoryAnnotation]; before != "" {
			history = before + "," + had
		}
		for len(history) > maxHistory {
			_, history, _ = strings.Cut(history, ",")
		}
		rs.Annotations[RevisionHistoryAnnotation] = history
	}
	return true
}

// setSizeAnnotations records the Deployment's size on rs.
func setSizeAnnotations(rs *appsv1.ReplicaSet, d *appsv1.Deployment) (changed bool) {
	size := *d.Spec.Replicas
	surge, _ := fenceposts(d)
	if rs.Annotations == nil {
		rs.Annotations = map[string]string{}
	}
	for key, n := range map[string]int32{DesiredReplicasAnnotation: size, MaxReplicasAnnotation: size + surge} {
		if value := strconv.Itoa(int(n)); rs.Annotations[key] != value {
			rs.Annotations[key] = value
			changed = true
		}
	}
	return changed
}

// expired returns the old ReplicaSets past the history limit, of the lowest revisions, that hold no pods.
func (r *rollout) expired() []*appsv1.ReplicaSet {
	limit := r.d.Spec.RevisionHistoryLimit
	if limit == nil || *limit == math.MaxInt32 {
		return nil
	}
	alive := slices.DeleteFunc(slices.Clone(r.old), func(rs *appsv1.ReplicaSet) bool { return rs.DeletionTimestamp != nil })
	surplus := len(alive) - int(*limit)
	if surplus <= 0 {
		return nil
	}
	slices.SortStableFunc(alive, func(a, b *appsv1.ReplicaSet) int { return cmp.Compare(revision(a), revision(b)) })
	return slices.DeleteFunc(alive[:surplus], func(rs *appsv1.ReplicaSet) bool {
		return rs.Status.Replicas != 0 || *rs.Spec.Replicas != 0 || rs.Generation > rs.Status.ObservedGeneration
	})
}

// revision is zero where there is none or it is no number.
func revision(rs *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(rs.Annotations[RevisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// templateHash is the pod-template-hash. The same template gives the same hash as in any other cluster.
func templateHash(template *corev1.PodTemplateSpec, collisions *int32) string {
	hasher := fnv.New32a()
	fmt.Fprintf(hasher, "%v", dump.ForHash(*template))
	if collisions != nil {
		var count [8]byte
		binary.LittleEndian.PutUint32(count[:], uint32(*collisions))
		hasher.Write(count[:])
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(hasher.Sum32()), 10))
}

func setName(deployment, hash string) string {
	return deployment[:min(len(deployment), validation.DNS1123SubdomainMaxLength-1-len(hash))] + "-" + hash
}

func withLabel(labels map[string]string, hash string) map[string]string {
	labels = maps.Clone(labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	return labels
}

// sameTemplate compares templates but for the hash label, which only that of a ReplicaSet has.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	x, y := *a, *b
	x.Labels, y.Labels = withoutHash(x.Labels), withoutHash(y.Labels)
	return equality.Semantic.DeepEqual(&x, &y)
}

func withoutHash(labels map[string]string) map[string]string {
	if _, ok := labels[appsv1.DefaultDeploymentUniqueLabelKey]; !ok {
		return labels
	}
	labels = maps.Clone(labels)
	delete(labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return labels
}

func olderFirst(a, b *appsv1.ReplicaSet) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}
