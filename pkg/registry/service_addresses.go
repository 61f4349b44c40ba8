// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	networkinginformers "k8s.io/client-go/informers/networking/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/klog/v2"
	netutils "k8s.io/utils/net"

	"github.com/hivemind-project/hivemind/apis/networking"
	"github.com/hivemind-project/hivemind/pkg/registry/allocator"
)

// serviceAddresses gives services their cluster addresses (KEP-1880). The ranges are the ServiceCIDRs; an address is held by an IPAddress of its
// name, and it is the creation of that object that decides who has it: of several servers, and of requests at the same time, one succeeds.
//
// Which address to try is read from informers, which may be behind by a moment. A service costs one write more than its own, a deletion
// one deletion; nothing is kept here.
type serviceAddresses struct {
	book addressBook
}

// addressBook is where ranges and addresses are kept.
type addressBook interface {
	// ranges returns the ServiceCIDRs; fresh ones are read from the storage.
	ranges(ctx context.Context, fresh bool) ([]*networkingv1.ServiceCIDR, error)
	// taken says whether an address is known to be held.
	taken(name string) bool
	// create writes an IPAddress; the error is allocator.ErrAllocated where there is one.
	create(ctx context.Context, address *networkingv1.IPAddress) error
	// remove deletes the IPAddress of that name if parent has it.
	remove(ctx context.Context, name string, parent *networkingv1.ParentReference) error
}

// take has svc hold the address ip. A dry run takes nothing and, as with kube-apiserver,
// does not ask whether it is free.
func (a *serviceAddresses) take(ctx context.Context, svc *corev1.Service, ip string, dryRun bool) error {
	addr, err := parseAddress(ip)
	if err != nil {
		return err
	}
	subnets, err := a.subnetsFor(ctx, addr)
	switch {
	case err != nil:
		return err
	case slices.ContainsFunc(subnets, func(s allocator.Subnet) bool { return s.Contains(addr) }):
		if dryRun {
			return nil
		}
		return a.book.create(ctx, newIPAddress(addr, svc))
	case !dryRun:
		return allocator.ErrMismatchedNetwork
	case len(subnets) == 0:
		return allocator.ErrNotReady
	}
	return &allocator.NotInRangeError{IP: addr, Range: subnets[0].Prefix}
}

// next has svc hold a free address of any range. A dry run only finds one. Ranges that are not known yet are tried when all others are full.
func (a *serviceAddresses) next(ctx context.Context, svc *corev1.Service, dryRun bool) (string, error) {
	var full []netip.Prefix
	for _, fresh := range []bool{false, true} {
		subnets, err := a.read(ctx, fresh)
		if err != nil {
			return "", err
		}
		for _, subnet := range subnets {
			if slices.Contains(full, subnet.Prefix) {
				continue
			}
			if ip, err := a.nextOf(ctx, subnet, svc, dryRun); !errors.Is(err, allocator.ErrFull) {
				return ip, err
			}
			full = append(full, subnet.Prefix)
		}
	}
	return "", allocator.ErrFull
}

// nextOf has svc hold a free address of one range.
func (a *serviceAddresses) nextOf(ctx context.Context, subnet allocator.Subnet, svc *corev1.Service, dryRun bool) (string, error) {
	for addr := range subnet.Candidates() {
		if a.book.taken(addr.String()) {
			continue
		}
		if dryRun {
			return addr.String(), nil
		}
		// That somebody was faster is no reason to give up.
		if err := a.book.create(ctx, newIPAddress(addr, svc)); !errors.Is(err, allocator.ErrAllocated) {
			return addr.String(), err
		}
	}
	return "", allocator.ErrFull
}

// subnetsFor are the ranges that give out addresses. Where none of those that are known has the one wanted, they are read from the storage: one
// may have been made a moment ago.
func (a *serviceAddresses) subnetsFor(ctx context.Context, wanted netip.Addr) ([]allocator.Subnet, error) {
	subnets, err := a.read(ctx, false)
	if err != nil || slices.ContainsFunc(subnets, func(s allocator.Subnet) bool { return s.Contains(wanted) }) {
		return subnets, err
	}
	return a.read(ctx, true)
}

// read returns the ranges that give out addresses, oldest first: those of ServiceCIDRs that are ready and not being deleted.
func (a *serviceAddresses) read(ctx context.Context, fresh bool) ([]allocator.Subnet, error) {
	cidrs, err := a.book.ranges(ctx, fresh)
	if err != nil {
		return nil, fmt.Errorf("read the ranges of service addresses: %w", err)
	}
	cidrs = slices.DeleteFunc(cidrs, func(c *networkingv1.ServiceCIDR) bool { return c.DeletionTimestamp != nil || !readyRange(c) })
	slices.SortFunc(cidrs, func(a, b *networkingv1.ServiceCIDR) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	var subnets []allocator.Subnet
	for _, c := range cidrs {
		for _, text := range c.Spec.CIDRs {
			prefix, err := netip.ParsePrefix(text)
			if err != nil || !prefix.Addr().Is4() {
				continue // this cluster has IPv4 alone; that it can be parsed has been validated
			}
			subnet, err := allocator.NewSubnet(prefix)
			if err != nil {
				return nil, err
			}
			subnets = append(subnets, subnet)
		}
	}
	return subnets, nil
}

// readyRange says whether a ServiceCIDR may give out addresses. One that no controller has judged may.
func readyRange(c *networkingv1.ServiceCIDR) bool {
	condition := meta.FindStatusCondition(c.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
	return condition == nil || condition.Status == metav1.ConditionTrue
}

// release gives back an address that svc holds. What cannot be given back now is found by the controller that repairs addresses.
func (a *serviceAddresses) release(ctx context.Context, svc *corev1.Service, ip string) {
	addr, err := parseAddress(ip)
	if err == nil {
		err = a.book.remove(ctx, addr.String(), parentOf(svc))
	}
	if err != nil {
		klog.ErrorS(err, "Release of a cluster IP failed", "service", klog.KObj(svc), "ip", ip)
	}
}

// parseAddress reads an address as loosely as kube-apiserver does.
func parseAddress(text string) (netip.Addr, error) {
	addr, ok := netip.AddrFromSlice(netutils.ParseIPSloppy(text))
	if !ok {
		return addr, fmt.Errorf("%q is not a valid IP", text)
	}
	return addr.Unmap(), nil
}

func parentOf(svc *corev1.Service) *networkingv1.ParentReference {
	return &networkingv1.ParentReference{Resource: "services", Namespace: svc.Namespace, Name: svc.Name}
}

// ownedByServer are the fields of an IPAddress that newIPAddress sets, as server-side apply writes them.
var ownedByServer = []byte(`{"f:metadata":{"f:labels":{".":{},"f:ipaddress.kubernetes.io/ip-family":{},"f:ipaddress.kubernetes.io/managed-by":{}}},` +
	`"f:spec":{"f:parentRef":{".":{},"f:name":{},"f:namespace":{},"f:resource":{}}}}`)

// newIPAddress is the object by which svc holds addr. It does not pass through a request, so it says itself who manages its fields.
func newIPAddress(addr netip.Addr, svc *corev1.Service) *networkingv1.IPAddress {
	address, now := networking.NewServiceAddress(addr, svc.Namespace, svc.Name), metav1.Now()
	address.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: "hivemindd", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: networkingv1.SchemeGroupVersion.String(), Time: &now,
		FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: ownedByServer},
	}}
	return address
}

// addressStores is the addressBook of a server: writes go to the stores, reads to informers over them.
type addressStores struct {
	addresses, cidrs *Store
	cachedAddresses  networkinglisters.IPAddressLister
	cachedCIDRs      networkinglisters.ServiceCIDRLister
}

func (b *addressStores) ranges(ctx context.Context, fresh bool) ([]*networkingv1.ServiceCIDR, error) {
	if !fresh {
		return b.cachedCIDRs.List(labels.Everything())
	}
	obj, err := b.cidrs.List(clusterScoped(ctx), &metainternalversion.ListOptions{})
	if err != nil {
		return nil, err
	}
	items := obj.(*networkingv1.ServiceCIDRList).Items
	all := make([]*networkingv1.ServiceCIDR, len(items))
	for i := range items {
		all[i] = &items[i]
	}
	return all, nil
}

func (b *addressStores) taken(name string) bool {
	_, err := b.cachedAddresses.Get(name)
	return err == nil
}

// create ends its write also where the client has gone: what is written and not known would be lost until it is repaired.
func (b *addressStores) create(ctx context.Context, address *networkingv1.IPAddress) error {
	_, err := b.addresses.Create(clusterScoped(context.WithoutCancel(ctx)), address, rest.ValidateAllObjectFunc, &metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return allocator.ErrAllocated
	}
	return err
}

func (b *addressStores) remove(ctx context.Context, name string, parent *networkingv1.ParentReference) error {
	_, _, err := b.addresses.Delete(clusterScoped(context.WithoutCancel(ctx)), name, func(_ context.Context, obj runtime.Object) error {
		if ref := obj.(*networkingv1.IPAddress).Spec.ParentRef; ref == nil || *ref != *parent {
			return fmt.Errorf("IPAddress %s is of %+v, not of %+v", name, ref, parent)
		}
		return nil
	}, &metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// clusterScoped is ctx for requests to stores of objects that have no namespace.
func clusterScoped(ctx context.Context) context.Context {
	return genericrequest.WithNamespace(ctx, metav1.NamespaceNone)
}

// AllocateFrom says from which informers service addresses are chosen. It is called before the first request.
func (r *Registry) AllocateFrom(informers networkinginformers.Interface) {
	r.services.addresses.book = &addressStores{
		addresses: r.Store("networking.k8s.io", "ipaddresses"), cidrs: r.Store("networking.k8s.io", "servicecidrs"),
		cachedAddresses: informers.IPAddresses().Lister(), cachedCIDRs: informers.ServiceCIDRs().Lister(),
	}
}
