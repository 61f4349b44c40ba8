// SPDX-License-Identifier: Apache-2.0

package servicecidr

import (
	"context"
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
)

const (
	// DefaultName is the name of the range that the cluster is configured with.
	DefaultName = "kubernetes"
	// defaultManager is who says that the default range is ready before the controller does.
	defaultManager = "kubernetes-service-cidr-controller"
)

// EnsureDefault makes the default range, of the prefix that the cluster is configured with. One of another prefix is made anew, whatever needs
// it: services keep the addresses that they have, and new ones get theirs from the new range.
func EnsureDefault(ctx context.Context, client kubernetes.Interface, prefix string) error {
	cidrs := client.NetworkingV1().ServiceCIDRs()
	cidr, err := cidrs.Get(ctx, DefaultName, metav1.GetOptions{})
	if err == nil && !slices.Contains(cidr.Spec.CIDRs, prefix) {
		klog.InfoS("Making the default ServiceCIDR anew", "was", cidr.Spec.CIDRs, "configured", prefix)
		err = removeNow(ctx, client, cidr)
	}
	if apierrors.IsNotFound(err) {
		cidr, err = cidrs.Create(ctx, &networkingv1.ServiceCIDR{
			ObjectMeta: metav1.ObjectMeta{Name: DefaultName}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{prefix}},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("make the default ServiceCIDR of %s: %w", prefix, err)
	}
	if cidr.DeletionTimestamp != nil || meta.FindStatusCondition(cidr.Status.Conditions, networkingv1.ServiceCIDRConditionReady) != nil {
		return nil
	}
	return setReady(ctx, client, cidr, defaultManager, metav1.Condition{Status: metav1.ConditionTrue, Message: "Kubernetes default Service CIDR is ready"})
}

// removeNow deletes a range without waiting for its protection to end. The error says that it is not found, if nothing is wrong.
func removeNow(ctx context.Context, client kubernetes.Interface, cidr *networkingv1.ServiceCIDR) error {
	cidrs := client.NetworkingV1().ServiceCIDRs()
	if len(cidr.Finalizers) > 0 {
		free := cidr.DeepCopy()
		free.Finalizers = nil
		if _, err := cidrs.Update(ctx, free, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	if err := cidrs.Delete(ctx, cidr.Name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return apierrors.NewNotFound(networkingv1.Resource("servicecidrs"), cidr.Name)
}
