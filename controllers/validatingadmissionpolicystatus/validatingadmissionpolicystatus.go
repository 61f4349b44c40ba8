// SPDX-License-Identifier: Apache-2.0

// Package validatingadmissionpolicystatus tells the author of a ValidatingAdmissionPolicy, in its status, what in its expressions
// does not fit the types that it is for (KEP-3488). Nothing else depends on it: the policy is in force all the same.
//
// The cost is that of compiling each expression for each type matched, at most ten, once a change of the policy; and of reading
// the types' schemas, which are fetched anew each time.
package validatingadmissionpolicystatus

import (
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	admissionapply "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	"k8s.io/client-go/discovery/cached/memory"
	admissioninformers "k8s.io/client-go/informers/admissionregistration/v1"
	"k8s.io/client-go/kubernetes"
	admissionlisters "k8s.io/client-go/listers/admissionregistration/v1"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
)

// manager is who owns the fields of the status.
const manager = "validatingadmissionpolicy-status"

// Controller keeps the statuses.
type Controller struct {
	client   kubernetes.Interface
	policies admissionlisters.ValidatingAdmissionPolicyLister
	synced   cache.InformerSynced
	// check returns what does not fit.
	check func(*admissionv1.ValidatingAdmissionPolicy) []admissionv1.ExpressionWarning
	loop  *loop.Loop
}

// New returns the controller. Types are looked up by client's discovery.
func New(client kubernetes.Interface, policies admissioninformers.ValidatingAdmissionPolicyInformer) (*Controller, error) {
	checker := &validating.TypeChecker{
		SchemaResolver: &resolver.ClientDiscoveryResolver{Discovery: client.Discovery()},
		RestMapper:     restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery())),
	}
	c := &Controller{client: client, policies: policies.Lister(), synced: policies.Informer().HasSynced, check: checker.Check}
	c.loop = loop.New("validatingadmissionpolicystatus", c.sync)
	_, err := policies.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.loop.Enqueue,
		UpdateFunc: func(_, cur any) { c.loop.Enqueue(cur) },
	})
	return c, err
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) { c.loop.Run(ctx, workers, c.synced) }

// sync takes the name of a policy.
func (c *Controller) sync(ctx context.Context, name string) error {
	policy, err := c.policies.Get(name)
	if apierrors.IsNotFound(err) || (err == nil && policy.Generation <= policy.Status.ObservedGeneration) {
		return nil
	}
	if err != nil {
		return err
	}
	types := admissionapply.TypeChecking()
	for _, w := range c.check(policy) {
		types.WithExpressionWarnings(admissionapply.ExpressionWarning().WithFieldRef(w.FieldRef).WithWarning(w.Warning))
	}
	status := admissionapply.ValidatingAdmissionPolicyStatus().WithObservedGeneration(policy.Generation).WithTypeChecking(types)
	_, err = c.client.AdmissionregistrationV1().ValidatingAdmissionPolicies().ApplyStatus(ctx,
		admissionapply.ValidatingAdmissionPolicy(name).WithStatus(status), metav1.ApplyOptions{FieldManager: manager, Force: true})
	if apierrors.IsNotFound(err) {
		return nil // gone in the meantime
	}
	if err != nil {
		return fmt.Errorf("tell of the types of ValidatingAdmissionPolicy %s: %w", name, err)
	}
	return nil
}
