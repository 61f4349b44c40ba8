// SPDX-License-Identifier: Apache-2.0

package flowcontrol

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// Every server has a configuration of its own. What of it is mandatory is always as it should be. What is suggested follows the server's
// version as long as nobody has changed its spec, or for as long as the annotation apf.kubernetes.io/autoupdate-spec says "true"; "false"
// leaves it to the administrator. What is missing is made, and what an earlier version suggested goes.

// manager is what metadata.managedFields calls the server for what it keeps, as kube-apiserver.
const manager = "api-priority-and-fairness-config-producer-v1"

// object is a pointer to one of the two kinds.
type object interface {
	comparable
	metav1.Object
	runtime.Object
}

// kind is how objects of a kind are read and written, and which there shall be.
type kind[T object] struct {
	lister interface {
		List(labels.Selector) ([]T, error)
	}
	writer interface {
		Create(context.Context, T, metav1.CreateOptions) (T, error)
		Update(context.Context, T, metav1.UpdateOptions) (T, error)
		Delete(context.Context, string, metav1.DeleteOptions) error
	}
	mandatory, suggested []T
	// revise returns a copy of stored, with the spec that wanted has if specToo, and whether that differs from stored.
	revise func(stored, wanted T, specToo bool) (revised T, changed bool)
}

// write is one change that brings a stored object to what it shall be: exactly one of the three is set.
type write[T object] struct {
	create, update, remove T
}

// ensure does the writes that are needed, all at once: the storage syncs them to disk together. Where somebody else writes the same
// object, theirs is looked at when its event comes.
func (k kind[T]) ensure(ctx context.Context) error {
	stored, err := k.lister.List(labels.Everything())
	if err != nil {
		return err
	}
	writes := k.plan(stored)
	errs := make([]error, len(writes))
	var running sync.WaitGroup
	for i, w := range writes {
		running.Go(func() { errs[i] = k.do(ctx, w) })
	}
	running.Wait()
	return errors.Join(errs...)
}

func (k kind[T]) do(ctx context.Context, w write[T]) error {
	var none T
	switch {
	case w.create != none:
		if _, err := k.writer.Create(ctx, w.create, metav1.CreateOptions{FieldManager: manager}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create %T %s: %w", w.create, w.create.GetName(), err)
		}
	case w.update != none:
		if _, err := k.writer.Update(ctx, w.update, metav1.UpdateOptions{FieldManager: manager}); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return fmt.Errorf("update %T %s: %w", w.update, w.update.GetName(), err)
		}
	default:
		version := w.remove.GetResourceVersion()
		options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &version}}
		if err := k.writer.Delete(ctx, w.remove.GetName(), options); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete %T %s: %w", w.remove, w.remove.GetName(), err)
		}
	}
	return nil
}

// plan compares what is stored with what shall be.
func (k kind[T]) plan(stored []T) []write[T] {
	have := make(map[string]T, len(stored))
	for _, o := range stored {
		have[o.GetName()] = o
	}
	var writes []write[T]
	wanted := map[string]bool{}
	want := func(all []T, mandatory bool) {
		for _, o := range all {
			wanted[o.GetName()] = true
			is, ok := have[o.GetName()]
			if !ok {
				writes = append(writes, write[T]{create: o.DeepCopyObject().(T)})
				continue
			}
			keep := mandatory || followsServer(is)
			revised, changed := k.revise(is, o, keep)
			if annotate(revised, keep) || changed {
				writes = append(writes, write[T]{update: revised})
			}
		}
	}
	want(k.suggested, false)
	want(k.mandatory, true)
	for _, o := range stored {
		if auto, err := strconv.ParseBool(o.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey]); err == nil && auto && !wanted[o.GetName()] {
			writes = append(writes, write[T]{remove: o})
		}
	}
	return writes
}

// followsServer tells whether the spec of a suggested object is the server's to write: as its annotation says, or else while it is that
// of its birth.
func followsServer(o metav1.Object) bool {
	if auto, err := strconv.ParseBool(o.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey]); err == nil {
		return auto
	}
	return o.GetGeneration() == 1
}

// annotate says in o's annotation whether it follows the server, and returns whether it said otherwise.
func annotate(o metav1.Object, follows bool) bool {
	annotations := o.GetAnnotations()
	if auto, err := strconv.ParseBool(annotations[flowcontrolv1.AutoUpdateAnnotationKey]); err == nil && auto == follows {
		return false
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[flowcontrolv1.AutoUpdateAnnotationKey] = strconv.FormatBool(follows)
	o.SetAnnotations(annotations)
	return true
}

func reviseSchema(stored, wanted *flowcontrolv1.FlowSchema, specToo bool) (*flowcontrolv1.FlowSchema, bool) {
	revised := stored.DeepCopy()
	if !specToo || equality.Semantic.DeepEqual(stored.Spec, wanted.Spec) {
		return revised, false
	}
	wanted.Spec.DeepCopyInto(&revised.Spec)
	return revised, true
}

// reviseLevel leaves to the administrator how much the exempt level lends.
func reviseLevel(stored, wanted *flowcontrolv1.PriorityLevelConfiguration, specToo bool) (*flowcontrolv1.PriorityLevelConfiguration, bool) {
	revised := stored.DeepCopy()
	if !specToo {
		return revised, false
	}
	spec := wanted.Spec.DeepCopy()
	if wanted.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt && stored.Spec.Exempt != nil {
		spec.Exempt = stored.Spec.Exempt.DeepCopy()
	}
	if equality.Semantic.DeepEqual(stored.Spec, *spec) {
		return revised, false
	}
	revised.Spec = *spec
	return revised, true
}
