// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/registry/rest"
)

// A request is served by up to three goroutines, one after the other, each of which starts with a stack of a few KB. Serving needs 10 KB and more,
// and the runtime doubles a stack when it is full, which copies all frames that are on it: a tenth of the CPU time of a get. So
// what comes early in each of them asks for all at once, while there is little to copy. To write what has the spec of a pod in it takes more
// than the 16 KB that do for all others, for each level of an object is some ten frames of whoever compares or encodes it.

// GrowStack makes the stack of this goroutine 16 KB large, if it is smaller. It costs a tenth of a microsecond.
//
//go:noinline
func GrowStack() byte {
	var frame [11 << 10]byte
	return last(frame[:])
}

// GrowDeepStack makes the stack of this goroutine 32 KB large, if it is smaller. It costs a microsecond: the runtime keeps no such stacks at hand.
//
//go:noinline
func GrowDeepStack() byte {
	var frame [20 << 10]byte
	return last(frame[:])
}

//go:noinline
func last(frame []byte) byte { return frame[len(frame)-1] }

// GrowStackFor makes the stack of this goroutine as large as a request for that resource wants it.
func GrowStackFor(verb, resource string) {
	if deepResources.Has(resource) && writes.Has(verb) {
		GrowDeepStack()
	} else {
		GrowStack()
	}
}

var (
	writes        = sets.New("create", "update", "patch")
	deepResources = sets.New("pods", "podtemplates", "replicationcontrollers", "deployments", "replicasets", "statefulsets", "daemonsets", "jobs", "cronjobs")
	deepKinds     = sets.New("Pod", "PodTemplate", "ReplicationController", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob")
)

// Creater makes objects. It is the first of ours that the goroutine comes by in which an object is created.
type Creater struct{ runtime.ObjectCreater }

// New implements runtime.ObjectCreater.
func (c Creater) New(kind schema.GroupVersionKind) (runtime.Object, error) {
	if deepKinds.Has(kind.Kind) {
		GrowDeepStack()
	} else {
		GrowStack()
	}
	return c.ObjectCreater.New(kind)
}

// Update is the generic store's.
func (s *Store) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc,
	updateValidation rest.ValidateObjectUpdateFunc, forceAllowCreate bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	GrowStackFor("update", s.DefaultQualifiedResource.Resource)
	return s.Store.Update(ctx, name, info, createValidation, updateValidation, forceAllowCreate, options)
}
