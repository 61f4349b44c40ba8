// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
)

// A request is served by up to three goroutines, one after the other, each of which starts with a stack of a few KB. Serving needs 10 KB and more,
// and the runtime doubles a stack when it is full, which copies all frames that are on it: a tenth of the CPU time of a get. So
// what comes early in each of them asks for all at once, while there is little to copy.

// GrowStack makes the stack of this goroutine 16 KB large, if it is smaller. It costs a tenth of a microsecond.
//
//go:noinline
func GrowStack() byte {
	var frame [11 << 10]byte
	return last(&frame)
}

//go:noinline
func last(frame *[11 << 10]byte) byte { return frame[len(frame)-1] }

// Creater makes objects. It is the first of ours that the goroutine comes by in which an object is created.
type Creater struct{ runtime.ObjectCreater }

// New implements runtime.ObjectCreater.
func (c Creater) New(kind schema.GroupVersionKind) (runtime.Object, error) {
	GrowStack()
	return c.ObjectCreater.New(kind)
}

// Update is the generic store's, within what the row has around it.
func (s *Store) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc,
	updateValidation rest.ValidateObjectUpdateFunc, forceAllowCreate bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	GrowStack()
	if s.aroundUpdate == nil {
		return s.Store.Update(ctx, name, info, createValidation, updateValidation, forceAllowCreate, options)
	}
	ctx, done := s.aroundUpdate(ctx)
	out, created, err := s.Store.Update(ctx, name, info, createValidation, updateValidation, forceAllowCreate, options)
	done(err == nil)
	return out, created, err
}
