// SPDX-License-Identifier: Apache-2.0

// Package history keeps the pod templates that a StatefulSet or DaemonSet has had, as ControllerRevisions. kubectl rollout
// history and undo read and apply them, so their form is Kubernetes': a patch that replaces spec.template. A sync
// decodes as many templates as there are revisions, at most the history limit and those in use.
package history

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"

	"github.com/hivemind-project/hivemind/controllers/internal/owner"
)

// HashLabel is the label of a revision with its hash.
const HashLabel = "controller.kubernetes.io/hash"

// History reads and writes the revisions of owners of one kind.
type History struct {
	Client    kubernetes.Interface
	Revisions appslisters.ControllerRevisionLister
	Kind      schema.GroupVersionKind
	// Hash names a revision; it depends on the template and on how many hashes have collided.
	Hash func(template *corev1.PodTemplateSpec, data []byte, collisions int32) string
	// Label is under which the hash stands on the revision.
	Label string
}

// Revision is one template an owner has had.
type Revision struct {
	*appsv1.ControllerRevision
	Template corev1.PodTemplateSpec
}

// List returns the owner's revisions, oldest first, after adopting and releasing. live reads the owner past the cache.
func (h *History) List(ctx context.Context, of metav1.Object, selector labels.Selector, live func(context.Context) (metav1.Object, error)) ([]Revision, error) {
	all, err := h.Revisions.ControllerRevisions(of.GetNamespace()).List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("list revisions of %s/%s: %w", of.GetNamespace(), of.GetName(), err)
	}
	claimer := owner.Claimer[*appsv1.ControllerRevision]{
		Owner: of, Kind: h.Kind, Selector: selector, Live: live,
		Patch: func(ctx context.Context, r *appsv1.ControllerRevision, patch []byte) error {
			_, err := h.Client.AppsV1().ControllerRevisions(r.Namespace).Patch(ctx, r.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
			return err
		},
	}
	claimed, err := claimer.Claim(ctx, all)
	if err != nil {
		return nil, err
	}
	revisions := make([]Revision, 0, len(claimed))
	for _, r := range claimed {
		template, err := decode(r.Data.Raw)
		if err != nil {
			return nil, fmt.Errorf("read revision %s/%s: %w", r.Namespace, r.Name, err)
		}
		revisions = append(revisions, Revision{r, template})
	}
	slices.SortFunc(revisions, func(a, b Revision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return revisions, nil
}

// Current returns the revision of the template: an old one made the newest again, or one that is created. revisions are
// what List returned; collisions is raised where a name is taken by another template.
func (h *History) Current(ctx context.Context, of metav1.Object, template *corev1.PodTemplateSpec, revisions []Revision, collisions *int32) (Revision, error) {
	next := int64(1)
	if n := len(revisions); n > 0 {
		next = revisions[n-1].Revision + 1
	}
	for i := len(revisions) - 1; i >= 0; i-- {
		r := revisions[i]
		if !equality.Semantic.DeepEqual(&r.Template, template) {
			continue
		}
		if i == len(revisions)-1 {
			return r, nil
		}
		renewed := r.DeepCopy()
		renewed.Revision = next
		updated, err := h.Client.AppsV1().ControllerRevisions(r.Namespace).Update(ctx, renewed, metav1.UpdateOptions{})
		if err != nil {
			return Revision{}, fmt.Errorf("renew revision %s/%s: %w", r.Namespace, r.Name, err)
		}
		return Revision{updated, r.Template}, nil
	}
	data, err := encode(template)
	if err != nil {
		return Revision{}, fmt.Errorf("make a revision of %s/%s: %w", of.GetNamespace(), of.GetName(), err)
	}
	for {
		hash := h.Hash(template, data, *collisions)
		made := &appsv1.ControllerRevision{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: of.GetNamespace(), Name: name(of.GetName(), hash),
				Labels: maps.Clone(template.Labels), Annotations: maps.Clone(of.GetAnnotations()),
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(of, h.Kind)},
			},
			Data:     runtime.RawExtension{Raw: data},
			Revision: next,
		}
		if made.Labels == nil {
			made.Labels = map[string]string{}
		}
		made.Labels[h.Label] = hash
		api := h.Client.AppsV1().ControllerRevisions(of.GetNamespace())
		created, err := api.Create(ctx, made, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			existing, errGet := api.Get(ctx, made.Name, metav1.GetOptions{})
			if errGet != nil {
				return Revision{}, fmt.Errorf("read revision %s/%s: %w", made.Namespace, made.Name, errGet)
			}
			if had, errDecode := decode(existing.Data.Raw); errDecode == nil && metav1.IsControlledBy(existing, of) && equality.Semantic.DeepEqual(&had, template) {
				return Revision{existing, had}, nil // the cache was behind
			}
			*collisions++
			continue
		}
		if err != nil {
			return Revision{}, fmt.Errorf("create revision %s/%s: %w", made.Namespace, made.Name, err)
		}
		return Revision{created, *template}, nil
	}
}

// Truncate deletes the oldest revisions that are not in use until limit are left of those.
func (h *History) Truncate(ctx context.Context, revisions []Revision, limit *int32, inUse func(Revision) bool) error {
	if limit == nil {
		return nil
	}
	unused := slices.DeleteFunc(slices.Clone(revisions), inUse)
	for i := range len(unused) - int(*limit) {
		r := unused[i]
		err := h.Client.AppsV1().ControllerRevisions(r.Namespace).Delete(ctx, r.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete revision %s/%s: %w", r.Namespace, r.Name, err)
		}
	}
	return nil
}

// DataHash is the hash of a revision by what it holds.
func DataHash(_ *corev1.PodTemplateSpec, data []byte, collisions int32) string {
	hasher := fnv.New32()
	hasher.Write(data)
	hasher.Write([]byte(strconv.Itoa(int(collisions))))
	return rand.SafeEncodeString(strconv.FormatUint(uint64(hasher.Sum32()), 10))
}

func name(prefix, hash string) string { return prefix[:min(len(prefix), 223)] + "-" + hash }

// encode is the patch that replaces the template of a workload.
func encode(template *corev1.PodTemplateSpec) ([]byte, error) {
	text, err := json.Marshal(template)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{}
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	fields["$patch"] = "replace"
	return json.Marshal(map[string]any{"spec": map[string]any{"template": fields}})
}

func decode(data []byte) (corev1.PodTemplateSpec, error) {
	var patch struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	err := json.Unmarshal(data, &patch)
	return patch.Spec.Template, err
}
