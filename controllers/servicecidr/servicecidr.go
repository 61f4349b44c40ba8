// SPDX-License-Identifier: Apache-2.0

// Package servicecidr keeps the ranges that services get their addresses from, and the addresses themselves (KEP-1880).
//
// Controller says which ServiceCIDRs are ready, and keeps one that is being deleted as long as addresses need it (this file). Repair finds
// addresses that are held by nothing, and services whose address is not held (repair.go). EnsureDefault makes the first range (default.go).
//
// Cost: a ServiceCIDR is looked at when it changes, and, while one is being deleted, when an address goes; that reads all IPAddresses.
package servicecidr

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	networkingapply "k8s.io/client-go/applyconfigurations/networking/v1"
	networkinginformers "k8s.io/client-go/informers/networking/v1"
	"k8s.io/client-go/kubernetes"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/hivemind-project/hivemind/apis/networking"
	"github.com/hivemind-project/hivemind/controllers/internal/loop"
)

const (
	// protection is the finalizer that keeps a range while addresses need it.
	protection = "networking.k8s.io/service-cidr-finalizer"
	// allocatorsHear is how long after the deletion of a range every server has stopped to give out its addresses.
	allocatorsHear = 10 * time.Second
	// cidrManager is the controller's name as the manager of conditions.
	cidrManager = "service-cidr-controller"
)

// ofServices selects the IPAddresses that were made for services.
var ofServices = labels.SelectorFromSet(labels.Set{networkingv1.LabelManagedBy: networking.ServiceAddressManager})

// Controller says which ServiceCIDRs are ready, and ends those that are being deleted; it is called service-cidrs-controller.
type Controller struct {
	client    kubernetes.Interface
	cidrs     networkinglisters.ServiceCIDRLister
	addresses networkinglisters.IPAddressLister
	synced    []cache.InformerSynced
	recorder  record.EventRecorder
	loop      *loop.Loop
	now       func() time.Time
}

// New returns the controller.
func New(client kubernetes.Interface, cidrs networkinginformers.ServiceCIDRInformer, addresses networkinginformers.IPAddressInformer, recorder record.EventRecorder) (*Controller, error) {
	c := &Controller{
		client: client, cidrs: cidrs.Lister(), addresses: addresses.Lister(), recorder: recorder, now: time.Now,
		synced: []cache.InformerSynced{cidrs.Informer().HasSynced, addresses.Informer().HasSynced},
	}
	c.loop = loop.New("service-cidrs", c.sync)
	_, errCIDRs := cidrs.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			c.loop.Enqueue(obj)
			c.enqueueDeleted(func(*networkingv1.ServiceCIDR) bool { return true }) // the new range may have what another is kept for
		},
		UpdateFunc: func(_, cur any) { c.loop.Enqueue(cur) },
	})
	address := func(obj any) {
		a, ok := loop.Object[*networkingv1.IPAddress](obj)
		if !ok || a.Labels[networkingv1.LabelManagedBy] != networking.ServiceAddressManager {
			return
		}
		if addr, err := netip.ParseAddr(a.Name); err == nil {
			c.enqueueDeleted(func(cidr *networkingv1.ServiceCIDR) bool { return networking.GivesAddress(cidr, addr) })
		}
	}
	_, errAddresses := addresses.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: address, DeleteFunc: address})
	return c, errors.Join(errCIDRs, errAddresses)
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) {
	c.loop.Run(ctx, workers, c.synced...)
}

// enqueueDeleted adds the ranges that are being deleted and that concerns.
func (c *Controller) enqueueDeleted(concerns func(*networkingv1.ServiceCIDR) bool) {
	cidrs, _ := c.cidrs.List(labels.Everything()) // reading a cache does not fail
	for _, cidr := range cidrs {
		if cidr.DeletionTimestamp != nil && concerns(cidr) {
			c.loop.Add(cidr.Name)
		}
	}
}

func (c *Controller) sync(ctx context.Context, name string) error {
	cidr, err := c.cidrs.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if cidr.DeletionTimestamp != nil {
		return c.end(ctx, cidr)
	}
	if !slices.Contains(cidr.Finalizers, protection) {
		if err := c.writeFinalizers(ctx, cidr, append(slices.Clone(cidr.Finalizers), protection)); err != nil {
			return err
		}
	}
	err = setReady(ctx, c.client, cidr, cidrManager, metav1.Condition{Status: metav1.ConditionTrue, Message: "Kubernetes Service CIDR is ready"})
	if err != nil {
		c.recorder.Eventf(cidr, v1.EventTypeWarning, "KubernetesServiceCIDRError", "The ServiceCIDR Status can not be set to Ready=True")
	}
	return err
}

// end lets a range go that is being deleted, once no address needs it and all servers have heard of it.
func (c *Controller) end(ctx context.Context, cidr *networkingv1.ServiceCIDR) error {
	needed, err := c.needed(cidr)
	if err != nil {
		return err
	}
	if needed {
		return setReady(ctx, c.client, cidr, cidrManager, metav1.Condition{
			Status: metav1.ConditionFalse, Reason: networkingv1.ServiceCIDRReasonTerminating,
			Message: "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
		})
	}
	if left := allocatorsHear - c.now().Sub(cidr.DeletionTimestamp.Time); left > 0 {
		return loop.RetryAfter(left)
	}
	if !slices.Contains(cidr.Finalizers, protection) {
		return nil
	}
	return c.writeFinalizers(ctx, cidr, slices.DeleteFunc(slices.Clone(cidr.Finalizers), func(f string) bool { return f == protection }))
}

// needed says whether an address of a service would be of no range without cidr.
func (c *Controller) needed(cidr *networkingv1.ServiceCIDR) (bool, error) {
	all, err := c.cidrs.List(labels.Everything())
	if err != nil {
		return false, err
	}
	others := slices.DeleteFunc(all, func(other *networkingv1.ServiceCIDR) bool { return other.Name == cidr.Name })
	if !slices.ContainsFunc(cidr.Spec.CIDRs, func(text string) bool { return !within(text, others) }) {
		return false, nil
	}
	addresses, err := c.addresses.List(ofServices)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(addresses, func(a *networkingv1.IPAddress) bool {
		addr, err := netip.ParseAddr(a.Name)
		return err == nil && networking.GivesAddress(cidr, addr) &&
			!slices.ContainsFunc(others, func(other *networkingv1.ServiceCIDR) bool { return networking.GivesAddress(other, addr) })
	}), nil
}

// within says whether one of the ranges contains all of the prefix given as text.
func within(text string, cidrs []*networkingv1.ServiceCIDR) bool {
	inner, err := netip.ParsePrefix(text)
	return err == nil && slices.ContainsFunc(cidrs, func(cidr *networkingv1.ServiceCIDR) bool {
		return slices.ContainsFunc(cidr.Spec.CIDRs, func(text string) bool {
			outer, err := netip.ParsePrefix(text)
			return err == nil && outer.Overlaps(inner) && outer.Bits() <= inner.Bits()
		})
	})
}

func (c *Controller) writeFinalizers(ctx context.Context, cidr *networkingv1.ServiceCIDR, finalizers []string) error {
	update := cidr.DeepCopy()
	update.Finalizers = finalizers
	_, err := c.client.NetworkingV1().ServiceCIDRs().Update(ctx, update, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write protection of ServiceCIDR %s: %w", cidr.Name, err)
	}
	return nil
}

// setReady applies the condition Ready as manager, unless it is there.
func setReady(ctx context.Context, client kubernetes.Interface, cidr *networkingv1.ServiceCIDR, manager string, ready metav1.Condition) error {
	now := meta.FindStatusCondition(cidr.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
	if now != nil && now.Status == ready.Status && now.Reason == ready.Reason && now.Message == ready.Message {
		return nil
	}
	condition := metaapply.Condition().WithType(networkingv1.ServiceCIDRConditionReady).WithStatus(ready.Status).
		WithReason(ready.Reason).WithMessage(ready.Message).WithLastTransitionTime(metav1.Now())
	status := networkingapply.ServiceCIDR(cidr.Name).WithStatus(networkingapply.ServiceCIDRStatus().WithConditions(condition))
	_, err := client.NetworkingV1().ServiceCIDRs().ApplyStatus(ctx, status, metav1.ApplyOptions{FieldManager: manager, Force: true})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write condition Ready of ServiceCIDR %s: %w", cidr.Name, err)
	}
	return nil
}
