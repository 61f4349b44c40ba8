// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/hivemind-project/hivemind/pkg/registry/table"
)

// A part of the control plane that does not say how it is within componentPatience is not well.
const componentPatience = 20 * time.Second

// componentStatusREST serves componentstatuses, which nothing stores: whoever reads them has the parts of the control
// plane looked at. health is nil for a part that is well.
type componentStatusREST struct {
	rest.TableConvertor
	health map[string]func(context.Context) error
}

func newComponentStatusREST(health map[string]func(context.Context) error) *componentStatusREST {
	return &componentStatusREST{table.For(schema.GroupKind{Kind: "ComponentStatus"}), health}
}

func (r *componentStatusREST) New() runtime.Object     { return &corev1.ComponentStatus{} }
func (r *componentStatusREST) NewList() runtime.Object { return &corev1.ComponentStatusList{} }
func (r *componentStatusREST) Destroy()                {}
func (r *componentStatusREST) NamespaceScoped() bool   { return false }
func (r *componentStatusREST) GetSingularName() string { return "componentstatus" }
func (r *componentStatusREST) ShortNames() []string    { return []string{"cs"} }

// Get implements rest.Getter.
func (r *componentStatusREST) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	health, ok := r.health[name]
	if !ok {
		return nil, apierrors.NewNotFound(corev1.Resource("componentstatus"), name)
	}
	status := componentStatus(ctx, name, health)
	return &status, nil
}

// List implements rest.Lister. The parts have no labels, so a selector that asks for one finds none.
func (r *componentStatusREST) List(ctx context.Context, options *internalversion.ListOptions) (runtime.Object, error) {
	list := &corev1.ComponentStatusList{Items: []corev1.ComponentStatus{}}
	for _, name := range slices.Sorted(maps.Keys(r.health)) {
		if options != nil && options.LabelSelector != nil && !options.LabelSelector.Matches(labels.Set{}) {
			continue
		}
		if options != nil && options.FieldSelector != nil && !options.FieldSelector.Matches(fields.Set{"metadata.name": name, "metadata.namespace": ""}) {
			continue
		}
		list.Items = append(list.Items, componentStatus(ctx, name, r.health[name]))
	}
	return list, nil
}

func componentStatus(ctx context.Context, name string, health func(context.Context) error) corev1.ComponentStatus {
	ctx, cancel := context.WithTimeout(ctx, componentPatience)
	defer cancel()
	condition := corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: "ok"}
	if err := health(ctx); err != nil {
		condition.Status, condition.Message, condition.Error = corev1.ConditionFalse, "", err.Error()
	}
	return corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: name}, Conditions: []corev1.ComponentCondition{condition}}
}

var (
	_ rest.Getter               = (*componentStatusREST)(nil)
	_ rest.Lister               = (*componentStatusREST)(nil)
	_ rest.ShortNamesProvider   = (*componentStatusREST)(nil)
	_ rest.SingularNameProvider = (*componentStatusREST)(nil)
)
