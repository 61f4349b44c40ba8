// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"

	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/hivemind-project/hivemind/apis/scheduling"
)

// priorityClassREST serves priority classes, of which those that every cluster has stay.
type priorityClassREST struct{ *Store }

func (r priorityClassREST) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	for _, known := range scheduling.SystemPriorityClasses() {
		if known.Name == name {
			return nil, false, apierrors.NewForbidden(schedulingv1.Resource("priorityclasses"), name, errors.New("this is a system priority class and cannot be deleted"))
		}
	}
	return r.Store.Delete(ctx, name, validate, options)
}

var _ rest.StandardStorage = priorityClassREST{}
