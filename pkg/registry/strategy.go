// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"reflect"
	"strings"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/hivemind-project/hivemind/pkg/room"
)

// strategy serves every row: what the rows have in common when an object is created, updated and deleted. The status is
// what the server says, so creating and updating an object leaves it alone; the status subresource changes nothing else.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	row *Resource
}

func (s strategy) NamespaceScoped() bool                         { return s.row.Namespaced }
func (s strategy) AllowCreateOnUpdate(context.Context) bool      { return s.row.createOnUpdate }
func (s strategy) AllowUnconditionalUpdate(context.Context) bool { return !s.row.needsResourceVersion }
func (s strategy) DefaultGarbageCollectionPolicy(context.Context) rest.GarbageCollectionPolicy {
	return s.row.gcPolicy
}

func (s strategy) WarningsOnCreate(_ context.Context, obj runtime.Object) []string {
	if s.row.warnings == nil {
		return nil
	}
	return s.row.warnings(obj, nil)
}

func (s strategy) WarningsOnUpdate(_ context.Context, obj, old runtime.Object) []string {
	if s.row.warnings == nil {
		return nil
	}
	return s.row.warnings(obj, old)
}

func (s strategy) PrepareForCreate(_ context.Context, obj runtime.Object) {
	if s.row.status && !s.row.statusOnCreate {
		part(obj, "Status").SetZero()
	}
	if s.row.generation {
		obj.(metav1.Object).SetGeneration(1)
	}
	if s.row.prepareForCreate != nil {
		s.row.prepareForCreate(obj)
	}
}

// Canonicalize completes a new object, which is known by that it has no version yet: only now, so that errors are about what the client and
// admission have said.
func (s strategy) Canonicalize(obj runtime.Object) {
	if obj.(metav1.Object).GetResourceVersion() == "" {
		s.complete(obj)
	}
}

// complete gives defaults to what admission has added, so that what is stored is what a read of it answers.
func (s strategy) complete(obj runtime.Object) {
	if s.row.setDefaults != nil {
		s.row.setDefaults(obj)
	}
}

func (s strategy) Validate(_ context.Context, obj runtime.Object) field.ErrorList {
	if s.row.validate == nil {
		return nil
	}
	return room.Few(s.row.validate(obj))
}

func (s strategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	if s.row.status {
		part(obj, "Status").Set(part(old, "Status"))
	}
	if s.row.prepareForUpdate != nil {
		s.row.prepareForUpdate(obj, old)
	}
	s.complete(obj)
	if !s.row.generation {
		return
	}
	generation := old.(metav1.Object).GetGeneration()
	if s.row.changed(obj, old) {
		generation++
	}
	obj.(metav1.Object).SetGeneration(generation)
}

func (s strategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	if s.row.validateUpdate == nil {
		return nil
	}
	return room.Few(s.row.validateUpdate(obj, old))
}

// GetResetFields tells server-side apply which fields a write of the main resource does not own.
func (s strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	if !s.row.status {
		return nil
	}
	return s.reset(append([]string{"status"}, s.row.resets...)...)
}

// reset is a set of paths, such as metadata.labels, in each version that the kind is served in.
func (s strategy) reset(paths ...string) map[fieldpath.APIVersion]*fieldpath.Set {
	set := fieldpath.NewSet()
	for _, path := range paths {
		var parts []any
		for part := range strings.SplitSeq(path, ".") {
			parts = append(parts, part)
		}
		set.Insert(fieldpath.MakePathOrDie(parts...))
	}
	out := map[fieldpath.APIVersion]*fieldpath.Set{fieldpath.APIVersion(s.row.GroupVersion.String()): set}
	for _, gv := range s.row.alsoServed {
		out[fieldpath.APIVersion(gv.String())] = set
	}
	return out
}

// gracefulStrategy is for kinds that end gradually.
type gracefulStrategy struct{ strategy }

func (s gracefulStrategy) CheckGracefulDelete(_ context.Context, obj runtime.Object, options *metav1.DeleteOptions) bool {
	if options == nil {
		return false
	}
	period := s.row.gracePeriod(obj, options)
	options.GracePeriodSeconds = &period
	return true
}

// statusStrategy serves the status subresource of every row that has one.
type statusStrategy struct{ strategy }

func (s statusStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	to, from := reflect.ValueOf(obj).Elem(), reflect.ValueOf(old).Elem()
	for i := range to.NumField() {
		switch to.Type().Field(i).Name {
		case "Status", "ObjectMeta":
		default:
			to.Field(i).Set(from.Field(i))
		}
	}

	meta, was := obj.(metav1.Object), old.(metav1.Object)
	for _, path := range s.row.statusResets {
		switch path {
		case "metadata":
			metav1.ResetObjectMetaForStatus(meta, was)
		case "metadata.labels":
			meta.SetLabels(was.GetLabels())
		case "metadata.ownerReferences":
			meta.SetOwnerReferences(was.GetOwnerReferences())
		case "metadata.deletionTimestamp":
			meta.SetDeletionTimestamp(was.GetDeletionTimestamp())
		}
	}
	if s.row.prepareForStatus != nil {
		s.row.prepareForStatus(obj, old)
	}
	s.complete(obj)
}

func (s statusStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	if s.row.validateStatusUpdate == nil {
		return nil
	}
	return room.Few(s.row.validateStatusUpdate(obj, old))
}

func (s statusStrategy) WarningsOnUpdate(_ context.Context, obj, old runtime.Object) []string {
	if s.row.statusWarnings == nil {
		return nil
	}
	return s.row.statusWarnings(obj, old)
}

func (s statusStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return s.reset(append([]string{"spec"}, s.row.statusResets...)...)
}

// part is a field of the object that obj points to.
func part(obj runtime.Object, name string) reflect.Value {
	return reflect.ValueOf(obj).Elem().FieldByName(name)
}

// specChanged compares what the client asked for: the spec, or all but metadata and status where a kind has no spec.
func specChanged(a, b runtime.Object) bool {
	va, vb := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	if spec := va.FieldByName("Spec"); spec.IsValid() {
		return !apiequality.Semantic.DeepEqual(spec.Interface(), vb.FieldByName("Spec").Interface())
	}
	for i := range va.NumField() {
		switch va.Type().Field(i).Name {
		case "TypeMeta", "ObjectMeta", "Status":
			continue
		}
		if !apiequality.Semantic.DeepEqual(va.Field(i).Interface(), vb.Field(i).Interface()) {
			return true
		}
	}
	return false
}

var (
	_ rest.RESTCreateStrategy         = strategy{}
	_ rest.RESTUpdateStrategy         = strategy{}
	_ rest.RESTGracefulDeleteStrategy = gracefulStrategy{}
	_ rest.ResetFieldsStrategy        = statusStrategy{}
)
