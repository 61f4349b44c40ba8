// SPDX-License-Identifier: Apache-2.0

// Package controller makes websites what their specs say.
package controller

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	websitev1 "github.com/hivemind-project/hivemind/examples/operator/api/v1"
)

// Finalizer keeps a website until its domain has been given back.
const Finalizer = "example.com/domain"

// Domains is where domains are registered, outside of the cluster.
type Domains interface {
	// Register makes domain lead to a website, named as namespace/name. It may be called again.
	Register(ctx context.Context, domain, website string) error
	// Release gives back the domains of a website.
	Release(ctx context.Context, website string) error
}

// Reconciler runs each website as a Deployment, and registers its domain.
type Reconciler struct {
	Client  client.Client
	Domains Domains
}

// SetupWithManager has the manager call the reconciler when a website or its Deployment changes.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).For(&websitev1.Website{}).Owns(&appsv1.Deployment{}).Complete(r)
}

// What the operator may do, which config/rbac/role.yaml is made from:
//
// +kubebuilder:rbac:groups=example.com,resources=websites,verbs=get;list;watch;update;patch
// +kubebuilder:rbac:groups=example.com,resources=websites/status,verbs=update;patch
// +kubebuilder:rbac:groups=apps,resources=deployments,verbs=get;list;watch;create;update

// Reconcile looks at one website.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	site := &websitev1.Website{}
	if err := r.Client.Get(ctx, request.NamespacedName, site); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !site.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.release(ctx, site)
	}
	if controllerutil.AddFinalizer(site, Finalizer) {
		if err := r.Client.Update(ctx, site); err != nil {
			return ctrl.Result{}, fmt.Errorf("add finalizer: %w", err)
		}
	}
	if err := r.Domains.Register(ctx, site.Spec.Domain, request.String()); err != nil {
		return ctrl.Result{}, fmt.Errorf("register domain %s: %w", site.Spec.Domain, err)
	}
	deployment, err := r.deploy(ctx, site)
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.report(ctx, site, deployment)
}

// release gives back what is outside of the cluster, and lets the website go. The Deployment, which it owns, is collected.
func (r *Reconciler) release(ctx context.Context, site *websitev1.Website) error {
	if !controllerutil.ContainsFinalizer(site, Finalizer) {
		return nil
	}
	if err := r.Domains.Release(ctx, client.ObjectKeyFromObject(site).String()); err != nil {
		return fmt.Errorf("release domain %s: %w", site.Spec.Domain, err)
	}
	controllerutil.RemoveFinalizer(site, Finalizer)
	return client.IgnoreNotFound(r.Client.Update(ctx, site))
}

// deploy makes the website's Deployment as the website says.
func (r *Reconciler) deploy(ctx context.Context, site *websitev1.Website) (*appsv1.Deployment, error) {
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: site.Name}}
	_, err := controllerutil.CreateOrUpdate(ctx, r.Client, deployment, func() error {
		labels := map[string]string{"example.com/website": site.Name}
		deployment.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
		deployment.Spec.Replicas = site.Spec.Replicas
		deployment.Spec.Template.Labels = labels
		if len(deployment.Spec.Template.Spec.Containers) == 0 {
			deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: "web"}}
		}
		deployment.Spec.Template.Spec.Containers[0].Image = site.Spec.Image
		return controllerutil.SetControllerReference(site, deployment, r.Client.Scheme())
	})
	if err != nil {
		return nil, fmt.Errorf("make Deployment: %w", err)
	}
	return deployment, nil
}

// report writes the website's status.
func (r *Reconciler) report(ctx context.Context, site *websitev1.Website, deployment *appsv1.Deployment) error {
	before := site.DeepCopy()
	site.Status.AvailableReplicas = deployment.Status.AvailableReplicas
	wanted, current := *site.Spec.Replicas, deployment.Status.ObservedGeneration == deployment.Generation
	condition := metav1.Condition{Type: websitev1.Ready, Status: metav1.ConditionTrue, Reason: "Served", ObservedGeneration: site.Generation,
		Message: fmt.Sprintf("%d replicas serve %s", wanted, site.Spec.Domain)}
	if !current || deployment.Status.UpdatedReplicas < wanted || deployment.Status.AvailableReplicas < wanted {
		condition.Status, condition.Reason = metav1.ConditionFalse, "RollingOut"
		condition.Message = fmt.Sprintf("%d of %d replicas are available", deployment.Status.AvailableReplicas, wanted)
	}
	meta.SetStatusCondition(&site.Status.Conditions, condition)
	if err := r.Client.Status().Patch(ctx, site, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("write status: %w", client.IgnoreNotFound(err))
	}
	return nil
}
