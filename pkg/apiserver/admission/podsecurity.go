// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	podsecurity "k8s.io/pod-security-admission/admission"
	podsecurityload "k8s.io/pod-security-admission/admission/api/load"
	podsecurityapi "k8s.io/pod-security-admission/api"
	podsecuritymetrics "k8s.io/pod-security-admission/metrics"
	podsecuritypolicy "k8s.io/pod-security-admission/policy"
)

// PodSecurity holds pods to the Pod Security Standard that their namespace's labels ask for, and warns of workloads whose pods would not
// meet it. It is the library's plugin. See https://kubernetes.io/docs/concepts/security/pod-security-admission/.
type PodSecurity struct {
	*admission.Handler
	library *podsecurity.Admission
}

// NewPodSecurity returns the plugin. A namespace that asks for nothing is privileged, as by Kubernetes' default.
func NewPodSecurity(client kubernetes.Interface, namespaces corelisters.NamespaceLister, pods corelisters.PodLister) (*PodSecurity, error) {
	configuration, err := podsecurityload.LoadFromReader(nil)
	if err != nil {
		return nil, fmt.Errorf("prepare admission by pod security: %w", err)
	}
	checks, err := podsecuritypolicy.NewEvaluator(podsecuritypolicy.DefaultChecks(), nil)
	if err != nil {
		return nil, fmt.Errorf("prepare admission by pod security: %w", err)
	}
	library := &podsecurity.Admission{
		Configuration: configuration, Evaluator: checks,
		Metrics:          podsecuritymetrics.NewPrometheusRecorder(podsecurityapi.GetAPIVersion()),
		PodSpecExtractor: podsecurity.DefaultPodSpecExtractor{},
		NamespaceGetter:  podsecurity.NamespaceGetterFromListerAndClient(namespaces, client),
		PodLister:        podsecurity.PodListerFromInformer(pods),
	}
	if err := errors.Join(library.CompleteConfiguration(), library.ValidateConfiguration()); err != nil {
		return nil, fmt.Errorf("prepare admission by pod security: %w", err)
	}
	return &PodSecurity{admission.NewHandler(admission.Create, admission.Update), library}, nil
}

// Validate implements admission.ValidationInterface.
func (p *PodSecurity) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	resource := a.GetResource().GroupResource()
	if resource != corev1.Resource("pods") && resource != corev1.Resource("namespaces") && !p.library.PodSpecExtractor.HasPodSpec(resource) {
		return nil
	}
	answer := p.library.Validate(ctx, reviewed{a})
	for _, w := range answer.Warnings {
		warning.AddWarning(ctx, "", w)
	}
	for key, value := range answer.AuditAnnotations {
		audit.AddAuditAnnotation(ctx, podsecurityapi.AuditAnnotationPrefix+key, value)
	}
	if answer.Allowed {
		return nil
	}
	refusal := admission.NewForbidden(a, errors.New("Not allowed by PodSecurity")).(*apierrors.StatusError)
	if why := answer.Result; why != nil {
		refusal.ErrStatus.Message = first(why.Message, refusal.ErrStatus.Message)
		refusal.ErrStatus.Reason = first(why.Reason, refusal.ErrStatus.Reason)
		refusal.ErrStatus.Details = first(why.Details, refusal.ErrStatus.Details)
		refusal.ErrStatus.Code = first(why.Code, refusal.ErrStatus.Code)
	}
	return refusal
}

// first is a, or b where a says nothing.
func first[T comparable](a, b T) T {
	var nothing T
	if a == nothing {
		return b
	}
	return a
}

// reviewed is a request as the library reads it.
type reviewed struct{ admission.Attributes }

func (r reviewed) GetObject() (runtime.Object, error)    { return r.Attributes.GetObject(), nil }
func (r reviewed) GetOldObject() (runtime.Object, error) { return r.Attributes.GetOldObject(), nil }
func (r reviewed) GetOperation() admissionv1.Operation {
	return admissionv1.Operation(r.Attributes.GetOperation())
}
func (r reviewed) GetUserName() string { return r.GetUserInfo().GetName() }

var _ admission.ValidationInterface = (*PodSecurity)(nil)
