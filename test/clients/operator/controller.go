// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	v1 "github.com/hivemind-project/hivemind/test/clients/operator/api/v1"
)

// farewell holds on to a Website until its note is written.
const farewell = "sites.example.org/farewell"

// reconciler brings about what Websites want.
type reconciler struct {
	client.Client
	scheme *runtime.Scheme
	events events.EventRecorder
}

func addController(manager ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(manager).For(&v1.Website{}).Owns(&appsv1.Deployment{}).Owns(&corev1.Service{}).Owns(&corev1.ConfigMap{}).
		Complete(&reconciler{manager.GetClient(), manager.GetScheme(), manager.GetEventRecorder("website-operator")})
}

// Reconcile implements reconcile.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	site := &v1.Website{}
	if err := r.Get(ctx, request.NamespacedName, site); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !site.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.leave(ctx, site)
	}
	if controllerutil.AddFinalizer(site, farewell) {
		return ctrl.Result{}, r.Update(ctx, site) // what is next comes with the event of it
	}
	if err := r.page(ctx, site); err != nil {
		return ctrl.Result{}, fmt.Errorf("page: %w", err)
	}
	if err := r.service(ctx, site); err != nil {
		return ctrl.Result{}, fmt.Errorf("service: %w", err)
	}
	if err := r.deployment(ctx, site); err != nil {
		return ctrl.Result{}, fmt.Errorf("deployment: %w", err)
	}
	return ctrl.Result{}, r.status(ctx, site)
}

// leave writes the note and lets go.
func (r *reconciler) leave(ctx context.Context, site *v1.Website) error {
	if !controllerutil.ContainsFinalizer(site, farewell) {
		return nil
	}
	note := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "farewell-" + site.Name, Namespace: site.Namespace}, Data: map[string]string{"title": site.Spec.Page.Title}}
	if err := client.IgnoreAlreadyExists(r.Create(ctx, note)); err != nil {
		return err
	}
	before := client.MergeFromWithOptions(site.DeepCopyObject().(*v1.Website), client.MergeFromWithOptimisticLock{})
	controllerutil.RemoveFinalizer(site, farewell)
	return client.IgnoreNotFound(r.Patch(ctx, site, before))
}

func labels(site *v1.Website) map[string]string {
	return map[string]string{"app.kubernetes.io/name": site.Name, "app.kubernetes.io/managed-by": "website-operator"}
}

func (r *reconciler) page(ctx context.Context, site *v1.Website) error {
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: site.Name, Namespace: site.Namespace}}
	_, err := controllerutil.CreateOrUpdate(ctx, r.Client, object, func() error {
		object.Labels = labels(site)
		object.Data = map[string]string{"title": site.Spec.Page.Title}
		return controllerutil.SetControllerReference(site, object, r.scheme)
	})
	return err
}

func (r *reconciler) service(ctx context.Context, site *v1.Website) error {
	object := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: site.Name, Namespace: site.Namespace}}
	_, err := controllerutil.CreateOrPatch(ctx, r.Client, object, func() error {
		object.Labels = labels(site)
		object.Spec.Selector = labels(site)
		object.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}}
		return controllerutil.SetControllerReference(site, object, r.scheme)
	})
	return err
}

// deployment declares the fields that matter here, and leaves others to others.
func (r *reconciler) deployment(ctx context.Context, site *v1.Website) error {
	gvk, err := apiutil.GVKForObject(site, r.scheme)
	if err != nil {
		return err
	}
	owner := metaapply.OwnerReference().WithAPIVersion(gvk.GroupVersion().String()).WithKind(gvk.Kind).WithName(site.Name).WithUID(site.UID).
		WithController(true).WithBlockOwnerDeletion(true)
	container := coreapply.Container().WithName("web").WithImage(site.Spec.Image).
		WithPorts(coreapply.ContainerPort().WithName("http").WithContainerPort(8080)).
		WithEnv(coreapply.EnvVar().WithName("GUESTBOOK_TITLE").WithValueFrom(coreapply.EnvVarSource().
			WithConfigMapKeyRef(coreapply.ConfigMapKeySelector().WithName(site.Name).WithKey("title"))))
	template := coreapply.PodTemplateSpec().WithLabels(labels(site)).
		WithSpec(coreapply.PodSpec().WithTerminationGracePeriodSeconds(0).WithContainers(container))
	deployment := appsapply.Deployment(site.Name, site.Namespace).WithLabels(labels(site)).WithOwnerReferences(owner).
		WithSpec(appsapply.DeploymentSpec().WithReplicas(*site.Spec.Replicas).WithTemplate(template).
			WithSelector(metaapply.LabelSelector().WithMatchLabels(maps.Clone(labels(site)))))
	return r.Apply(ctx, deployment, client.FieldOwner("website-operator"), client.ForceOwnership)
}

// status says whether all pages are served.
func (r *reconciler) status(ctx context.Context, site *v1.Website) error {
	deployment := &appsv1.Deployment{}
	if err := r.Get(ctx, client.ObjectKeyFromObject(site), deployment); err != nil {
		return client.IgnoreNotFound(err) // the cache is behind; its event comes
	}
	before := site.DeepCopyObject().(*v1.Website)
	site.Status.Available = deployment.Status.AvailableReplicas
	ready := metav1.Condition{Type: v1.Ready, ObservedGeneration: site.Generation, Status: metav1.ConditionFalse, Reason: "Deploying",
		Message: fmt.Sprintf("%d of %d servers are available", site.Status.Available, *site.Spec.Replicas)}
	if site.Status.Available == *site.Spec.Replicas && deployment.Status.ObservedGeneration == deployment.Generation {
		ready.Status, ready.Reason = metav1.ConditionTrue, "Served"
	}
	if !meta.SetStatusCondition(&site.Status.Conditions, ready) && before.Status.Available == site.Status.Available {
		return nil
	}
	if err := r.Status().Patch(ctx, site, client.MergeFrom(before)); err != nil {
		return client.IgnoreNotFound(err)
	}
	r.events.Eventf(site, nil, corev1.EventTypeNormal, ready.Reason, "Reconcile", "%s", ready.Message)
	return nil
}
