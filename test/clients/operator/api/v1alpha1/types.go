// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the older version of the operator's kind: flatter, and with other names.
package v1alpha1

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/conversion"

	v1 "github.com/hivemind-project/hivemind/test/clients/operator/api/v1"
)

// GroupVersion is where Websites are.
var GroupVersion = schema.GroupVersion{Group: v1.GroupVersion.Group, Version: "v1alpha1"}

// Website is a page and the servers that show it.
type Website struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   WebsiteSpec   `json:"spec"`
	Status WebsiteStatus `json:"status,omitempty"`
}

// WebsiteSpec is what is wanted.
type WebsiteSpec struct {
	Image     string `json:"image,omitempty"`
	Instances *int32 `json:"instances,omitempty"`
	Title     string `json:"title,omitempty"`
}

// WebsiteStatus is what there is.
type WebsiteStatus struct {
	Running    int32              `json:"running,omitempty"`
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// WebsiteList is a list of Websites.
type WebsiteList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Website `json:"items"`
}

// AddToScheme registers the version.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &Website{}, &WebsiteList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

// ConvertTo writes the newer version.
func (w *Website) ConvertTo(hub conversion.Hub) error {
	to := hub.(*v1.Website)
	to.ObjectMeta = w.ObjectMeta
	to.Spec = v1.WebsiteSpec{Image: w.Spec.Image, Replicas: w.Spec.Instances, Page: v1.Page{Title: w.Spec.Title}}
	to.Status = v1.WebsiteStatus{Available: w.Status.Running, Conditions: w.Status.Conditions}
	return nil
}

// ConvertFrom reads the newer version.
func (w *Website) ConvertFrom(hub conversion.Hub) error {
	from := hub.(*v1.Website)
	w.ObjectMeta = from.ObjectMeta
	w.Spec = WebsiteSpec{Image: from.Spec.Image, Instances: from.Spec.Replicas, Title: from.Spec.Page.Title}
	w.Status = WebsiteStatus{Running: from.Status.Available, Conditions: from.Status.Conditions}
	return nil
}

// DeepCopyObject implements runtime.Object.
func (w *Website) DeepCopyObject() runtime.Object {
	out := *w
	out.ObjectMeta = *w.ObjectMeta.DeepCopy()
	if w.Spec.Instances != nil {
		instances := *w.Spec.Instances
		out.Spec.Instances = &instances
	}
	out.Status.Conditions = slices.Clone(w.Status.Conditions)
	return &out
}

// DeepCopyObject implements runtime.Object.
func (l *WebsiteList) DeepCopyObject() runtime.Object {
	out := *l
	out.ListMeta = *l.ListMeta.DeepCopy()
	out.Items = make([]Website, len(l.Items))
	for i := range l.Items {
		out.Items[i] = *l.Items[i].DeepCopyObject().(*Website)
	}
	return &out
}
