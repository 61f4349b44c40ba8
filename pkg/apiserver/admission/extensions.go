// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	webhooks "k8s.io/apiserver/pkg/admission/plugin/webhook/initializer"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Extensions makes the plugins that act by what users have stored: webhooks and policies. They are the API machinery's own.
// Informers of what they act by are asked for when the plugin is made, so that they have synced before the first request.
type Extensions struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	// Authorizer answers the checks that expressions make.
	Authorizer authorizer.Authorizer
	// Custom is a client's configuration that reaches custom resources too, which policies may have as parameters.
	Custom *rest.Config
	// Services and Authentication are how webhooks are reached.
	Services       webhook.ServiceResolver
	Authentication webhook.AuthenticationInfoResolverWrapper
	// Life ends with the server.
	Life context.Context
}

// MutatingWebhooks is the plugin MutatingAdmissionWebhook.
func (e Extensions) MutatingWebhooks() admission.MutationInterface {
	configurations := e.Informers.Admissionregistration().V1().MutatingWebhookConfigurations()
	return lateMutation{e.late(mutatingwebhook.PluginName, func() (admission.Interface, error) { return mutatingwebhook.NewMutatingWebhook(nil) },
		configurations.Informer())}
}

// ValidatingWebhooks is the plugin ValidatingAdmissionWebhook.
func (e Extensions) ValidatingWebhooks() admission.ValidationInterface {
	configurations := e.Informers.Admissionregistration().V1().ValidatingWebhookConfigurations()
	return lateValidation{e.late(validatingwebhook.PluginName, func() (admission.Interface, error) { return validatingwebhook.NewValidatingAdmissionWebhook(nil) },
		configurations.Informer())}
}

// MutatingPolicies is the plugin MutatingAdmissionPolicy. A policy without a binding does nothing.
func (e Extensions) MutatingPolicies() admission.MutationInterface {
	v1 := e.Informers.Admissionregistration().V1()
	return lateMutation{e.late(mutatingpolicy.PluginName, func() (admission.Interface, error) { return mutatingpolicy.NewPlugin(nil) },
		v1.MutatingAdmissionPolicies().Informer(), v1.MutatingAdmissionPolicyBindings().Informer())}
}

// ValidatingPolicies is the plugin ValidatingAdmissionPolicy.
func (e Extensions) ValidatingPolicies() admission.ValidationInterface {
	v1 := e.Informers.Admissionregistration().V1()
	return lateValidation{e.late(validatingpolicy.PluginName, func() (admission.Interface, error) { return validatingpolicy.NewPlugin(nil) },
		v1.ValidatingAdmissionPolicies().Informer(), v1.ValidatingAdmissionPolicyBindings().Informer())}
}

// late returns a plugin that is made and initialized when all of objects hold something.
func (e Extensions) late(name string, make func() (admission.Interface, error), objects ...cache.SharedIndexInformer) *late {
	l := &late{name: name, build: func() (admission.Interface, error) {
		plugin, err := make()
		if err != nil {
			return nil, err
		}
		return plugin, e.initialize(plugin)
	}}
	for _, informer := range objects {
		l.objects = append(l.objects, informer.GetStore())
	}
	return l
}

// initialize gives plugin what it asks for by the interfaces it has.
func (e Extensions) initialize(plugin admission.Interface) error {
	custom, err := dynamic.NewForConfig(e.Custom)
	if err != nil {
		return err
	}
	for _, i := range []admission.PluginInitializer{
		initializer.New(e.Client, custom, parameters{e.Informers, e.Life}, e.Authorizer, utilfeature.DefaultFeatureGate, nil, e.Life.Done(), newKinds(e.Client.Discovery())),
		webhooks.NewPluginInitializer(e.Authentication, e.Services),
	} {
		i.Initialize(plugin)
	}
	if wants, ok := plugin.(initializer.WantsExcludedAdmissionResources); ok {
		wants.SetExcludedAdmissionResources(questions)
	}
	return admission.ValidateInitialization(plugin)
}

// parameters are informers as policies start them. A policy would stop the informer of its parameters when it goes; others may
// read that one, and it could not be started again.
type parameters struct {
	informers.SharedInformerFactory
	life context.Context
}

// Start implements informers.SharedInformerFactory.
func (p parameters) Start(<-chan struct{}) { p.StartWithContext(p.life) }

// questions are what is asked of the server and not stored. Whoever could refuse them could lock everyone out.
var questions = []schema.GroupResource{
	authenticationv1.Resource("selfsubjectreviews"),
	authenticationv1.Resource("tokenreviews"),
	authorizationv1.Resource("localsubjectaccessreviews"),
	authorizationv1.Resource("selfsubjectaccessreviews"),
	authorizationv1.Resource("selfsubjectrulesreviews"),
	authorizationv1.Resource("subjectaccessreviews"),
}
