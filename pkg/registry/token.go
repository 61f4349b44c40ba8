// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/hivemind-project/hivemind/pkg/auth/token"
)

// tokenREST serves serviceaccounts/token: it makes a token for the account, bound to a pod if asked.
type tokenREST struct{ requests *token.Requests }

func (r *tokenREST) New() runtime.Object { return &authenticationv1.TokenRequest{} }
func (r *tokenREST) Destroy()            {}

func (r *tokenREST) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")
}

func (r *tokenREST) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	request, ok := obj.(*authenticationv1.TokenRequest)
	if !ok {
		return nil, errors.NewBadRequest(fmt.Sprintf("not a TokenRequest: %T", obj))
	}
	return r.requests.Create(ctx, genericrequest.NamespaceValue(ctx), name, request, func(t *authenticationv1.TokenRequest) error {
		if validate == nil {
			return nil
		}
		return validate(ctx, t.DeepCopy())
	})
}

// Getters reads what tokens speak of, from the storage itself.
func (r *Registry) Getters() token.Getters {
	nodes := namespacedGetter[corev1.Node](r, "nodes")
	return token.Getters{
		ServiceAccount: namespacedGetter[corev1.ServiceAccount](r, "serviceaccounts"),
		Pod:            namespacedGetter[corev1.Pod](r, "pods"),
		Secret:         namespacedGetter[corev1.Secret](r, "secrets"),
		Node:           func(ctx context.Context, name string) (*corev1.Node, error) { return nodes(ctx, "", name) },
	}
}

// namespacedGetter reads objects of a resource for a request that is about another one, so that an error names the right one.
func namespacedGetter[T any](r *Registry, resource string) func(ctx context.Context, namespace, name string) (*T, error) {
	store, info := r.Store("", resource), &genericrequest.RequestInfo{IsResourceRequest: true, Verb: "get", APIVersion: "v1", Resource: resource}
	return func(ctx context.Context, namespace, name string) (*T, error) {
		ctx = genericrequest.WithRequestInfo(genericrequest.WithNamespace(ctx, namespace), info)
		obj, err := store.Get(ctx, name, &metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return any(obj).(*T), nil
	}
}

var _ rest.NamedCreater = (*tokenREST)(nil)
