// SPDX-License-Identifier: Apache-2.0

package admission

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	webhooks "k8s.io/apiserver/pkg/admission/plugin/webhook/initializer"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Extensions makes the plugins that act by what users have stored: webhooks and policies. They are the API machinery's own.
// Informers of what they act by are asked for when the plugin is made, so that they have synced before the first request.
type Extensions struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	// Authorizer answers the checks that expressions make.
	Authorizer authorizer.Authorizer
	// Services and Authentication are how webhooks are reached.
	Services       webhook.ServiceResolver
	Authentication webhook.AuthenticationInfoResolverWrapper
	// Stop is closed when the server ends.
	Stop <-chan struct{}
}

// MutatingWebhooks is the plugin MutatingAdmissionWebhook.
func (e Extensions) MutatingWebhooks() admission.MutationInterface {
	configurations := e.Informers.Admissionregistration().V1().MutatingWebhookConfigurations().Informer()
	return lateMutation{&late{name: mutatingwebhook.PluginName, objects: []cache.Store{configurations.GetStore()}, build: func() (admission.Interface, error) {
		plugin, err := mutatingwebhook.NewMutatingWebhook(nil)
		if err != nil {
			return nil, err
		}
		return plugin, e.initialize(plugin)
	}}}
}

// ValidatingWebhooks is the plugin ValidatingAdmissionWebhook.
func (e Extensions) ValidatingWebhooks() admission.ValidationInterface {
	configurations := e.Informers.Admissionregistration().V1().ValidatingWebhookConfigurations().Informer()
	return lateValidation{&late{name: validatingwebhook.PluginName, objects: []cache.Store{configurations.GetStore()}, build: func() (admission.Interface, error) {
		plugin, err := validatingwebhook.NewValidatingAdmissionWebhook(nil)
		if err != nil {
			return nil, err
		}
		return plugin, e.initialize(plugin)
	}}}
}

// initialize gives plugin what it asks for by the interfaces it has.
func (e Extensions) initialize(plugin admission.Interface) error {
	initializer.New(e.Client, nil, e.Informers, e.Authorizer, utilfeature.DefaultFeatureGate, nil, e.Stop, nil).Initialize(plugin)
	webhooks.NewPluginInitializer(e.Authentication, e.Services).Initialize(plugin)
	if wants, ok := plugin.(initializer.WantsExcludedAdmissionResources); ok {
		wants.SetExcludedAdmissionResources(questions)
	}
	return admission.ValidateInitialization(plugin)
}

// questions are what is asked of the server and not stored. Whoever could refuse them could lock everyone out.
var questions = []schema.GroupResource{
	authenticationv1.Resource("selfsubjectreviews"),
	authenticationv1.Resource("tokenreviews"),
	authorizationv1.Resource("localsubjectaccessreviews"),
	authorizationv1.Resource("selfsubjectaccessreviews"),
	authorizationv1.Resource("selfsubjectrulesreviews"),
	authorizationv1.Resource("subjectaccessreviews"),
}
