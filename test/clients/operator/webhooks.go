// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	v1 "github.com/hivemind-project/hivemind/test/clients/operator/api/v1"
)

// protected is the annotation of what may not be deleted.
const protected = "sites.example.org/protected"

// addWebhooks serves admission of Websites, their conversion, and the mark on pods.
func addWebhooks(manager ctrl.Manager) error {
	manager.GetWebhookServer().Register("/mark-pods", &webhook.Admission{Handler: admission.HandlerFunc(mark)})
	return ctrl.NewWebhookManagedBy(manager, &v1.Website{}).WithDefaulter(admitter{}).WithValidator(admitter{}).Complete()
}

// admitter decides about Websites.
type admitter struct{}

// Default implements admission.Defaulter.
func (admitter) Default(_ context.Context, site *v1.Website) error {
	if site.Spec.Image == "" {
		site.Spec.Image = "registry.hivemind.local/guestbook-web:1"
	}
	if site.Spec.Replicas == nil {
		one := int32(1)
		site.Spec.Replicas = &one
	}
	return nil
}

// ValidateCreate implements admission.Validator.
func (admitter) ValidateCreate(_ context.Context, site *v1.Website) (admission.Warnings, error) {
	var warnings admission.Warnings
	if site.Spec.Page.Title == "" {
		warnings = append(warnings, "spec.page.title: a page without a title looks unfinished")
	}
	if *site.Spec.Replicas > 5 {
		return warnings, apierrors.NewInvalid(v1.GroupVersion.WithKind("Website").GroupKind(), site.Name, field.ErrorList{
			field.Invalid(field.NewPath("spec", "replicas"), *site.Spec.Replicas, "must be less than or equal to 5")})
	}
	return warnings, nil
}

// ValidateUpdate implements admission.Validator.
func (a admitter) ValidateUpdate(ctx context.Context, _, site *v1.Website) (admission.Warnings, error) {
	return a.ValidateCreate(ctx, site)
}

// ValidateDelete implements admission.Validator.
func (admitter) ValidateDelete(_ context.Context, site *v1.Website) (admission.Warnings, error) {
	if site.Annotations[protected] != "" {
		return nil, apierrors.NewForbidden(v1.GroupVersion.WithResource("websites").GroupResource(), site.Name, field.Forbidden(
			field.NewPath("metadata", "annotations").Key(protected), "remove it first"))
	}
	return nil, nil
}

// mark annotates pods.
func mark(_ context.Context, request admission.Request) admission.Response {
	pod := &corev1.Pod{}
	if err := json.Unmarshal(request.Object.Raw, pod); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations["sites.example.org/admitted-for"] = request.UserInfo.Username
	changed, err := json.Marshal(pod)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(request.Object.Raw, changed)
}
