// SPDX-License-Identifier: Apache-2.0

// Package customresources serves the objects of custom resources by the API machinery's own handler, of which it makes one for each
// definition when the first request comes, and lets go of it when memory is needed or nobody asked for a while.
//
// A definition with rules (x-kubernetes-validations) has two: one that has compiled the rules, for requests that write, and one that knows
// nothing of them, for all others. Compiled rules are what is large, a program of 16 KiB each and an environment of 64 KiB a place in the
// schema, and nobody who only reads or watches keeps them.
//
// Cost: a definition in use takes about 150 KiB and 2 KiB a place in its schema, beside its rules; a request costs two look-ups in maps.
package customresources

import (
	"context"
	"net/http"
	"time"

	apiextensionshelpers "k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	informers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/controller/finalizer"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Config is what the server is made of, most of it what the machinery's handler wants.
type Config struct {
	Definitions    informers.CustomResourceDefinitionInformer
	RESTOptions    generic.RESTOptionsGetter
	Admission      admission.Interface
	Authorizer     authorizer.UnconditionalAuthorizer
	Services       webhook.ServiceResolver
	Authentication webhook.AuthenticationInfoResolverWrapper
	// Models describes, by name, the types that those of custom resources are made of; it is asked once.
	Models func() (map[string]*spec.Schema, error)
	// RequestTimeout is how long a request may take, and MinRequestTimeout how long a watch does at least.
	RequestTimeout, MinRequestTimeout time.Duration
	MaxRequestBodyBytes               int64
	// AtEnd calls end when a request is over: a watch goes on when ServeHTTP has returned.
	AtEnd func(r *http.Request, end func())
	// Next answers what is no object of a custom resource.
	Next http.Handler
}

// Server serves the objects of all custom resources.
type Server struct {
	Config
	keeper *keeper
}

// handler is the machinery's handler of custom resources.
type handler interface {
	http.Handler
	// GetCustomResourceListerCollectionDeleter builds what requests for a definition need, unless it has it.
	GetCustomResourceListerCollectionDeleter(*apiextensionsv1.CustomResourceDefinition) (finalizer.ListerCollectionDeleter, error)
}

// New returns a server that hears of definitions from the informer.
func New(c Config) (*Server, error) {
	s := &Server{Config: c}
	s.keeper = newKeeper(c.Definitions.Lister(), s.handlerOf)
	_, err := c.Definitions.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{UpdateFunc: s.changed, DeleteFunc: s.gone})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) changed(old, now any) {
	was, is := old.(*apiextensionsv1.CustomResourceDefinition), now.(*apiextensionsv1.CustomResourceDefinition)
	if was.UID != is.UID {
		s.keeper.forget(was.UID)
	}
	if is.DeletionTimestamp != nil {
		s.keeper.ending(is.UID)
	}
	s.keeper.changed(is)
}

func (s *Server) gone(object any) {
	if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = last.Obj
	}
	if d, ok := object.(*apiextensionsv1.CustomResourceDefinition); ok {
		s.keeper.forget(d.UID)
	}
}

// Stop lets go of all handlers. A request that still comes is answered.
func (s *Server) Stop() { s.keeper.stop() }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	info, ok := apirequest.RequestInfoFrom(r.Context())
	if !ok || !info.IsResourceRequest {
		s.Next.ServeHTTP(w, r)
		return
	}
	d, err := s.Definitions.Lister().Get(info.Resource + "." + info.APIGroup)
	if err != nil {
		s.Next.ServeHTTP(w, r)
		return
	}
	if !apiextensionshelpers.IsCRDConditionTrue(d, apiextensionsv1.NamesAccepted) && !apiextensionshelpers.IsCRDConditionTrue(d, apiextensionsv1.Established) {
		http.NotFound(w, r)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	k, err := s.keeper.take(ctx, d, validates(info.Verb))
	cancel()
	if err != nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "Too many requests, please try again later.", http.StatusTooManyRequests)
		return
	}
	end := func() { s.keeper.giveBack(k) }
	if info.Verb == "watch" {
		ctx, cancel := context.WithCancel(r.Context())
		unlink := context.AfterFunc(k.life, cancel)
		r, end = r.WithContext(ctx), func() {
			unlink()
			cancel()
			s.keeper.giveBack(k)
		}
	}
	defer s.AtEnd(r, end)
	h, err := s.keeper.built(k)
	if err != nil {
		responsewriters.InternalError(w, r, err)
		return
	}
	h.ServeHTTP(w, r)
}

// validates tells whether a request of this verb asks the rules.
func validates(verb string) bool { return verb == "create" || verb == "update" || verb == "patch" }

// handlerOf makes a handler that knows one definition.
func (s *Server) handlerOf(d *one) (handler, error) {
	models, err := s.Models()
	if err != nil {
		return nil, err
	}
	objects := s.RESTOptions
	if c := d.served.Spec.Conversion; c != nil && c.Strategy == apiextensionsv1.WebhookConverter {
		objects = converting{objects}
	}
	return apiextensions.NewCustomResourceDefinitionHandler(nil, nil, d, http.NotFoundHandler(), objects, fewErrors{s.Admission, validateObject(d.served)}, nil, s.Services, s.Authentication,
		1, s.Authorizer, s.RequestTimeout, s.MinRequestTimeout, models, s.MaxRequestBodyBytes)
}
