// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// connection is a subresource that is a stream.
type connection interface {
	rest.Storage
	rest.Connecter
}

// creating serves a stream that acts on a pod to those alone who may create it, whatever the method: a WebSocket is opened by GET,
// and who may read pods/exec must not run programs by that. It is the feature AuthorizePodWebsocketUpgradeCreatePermission.
type creating struct {
	connection
	authorizer authorizer.Authorizer
}

// Connect implements rest.Connecter.
func (c creating) Connect(ctx context.Context, name string, options runtime.Object, responder rest.Responder) (http.Handler, error) {
	info, ok := genericrequest.RequestInfoFrom(ctx)
	if !ok {
		return nil, apierrors.NewInternalError(errors.New("no request info in context"))
	}
	if info.Verb != "create" { // which has been authorized
		attributes, err := filters.GetAuthorizerAttributes(ctx)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		decision, reason, err := c.authorizer.Authorize(ctx, creation{attributes})
		if err != nil {
			return nil, err
		}
		if decision != authorizer.DecisionAllow {
			return nil, apierrors.NewForbidden(schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}, info.Name, errors.New(reason))
		}
	}
	return c.connection.Connect(ctx, name, options, responder)
}

// creation is a request as if its verb were create.
type creation struct{ authorizer.Attributes }

// GetVerb implements authorizer.Attributes.
func (creation) GetVerb() string { return "create" }
