// SPDX-License-Identifier: Apache-2.0

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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	coreinformers "k8s.io/client-go/informers/core/v1"
	networkinginformers "k8s.io/client-go/informers/networking/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	netutils "k8s.io/utils/net"

	"github.com/hivemind-project/hivemind/apis/networking"
	"github.com/hivemind-project/hivemind/controllers/internal/loop"
)

const (
	// inCreation is how long an address may be without its service: it is written first, and a request takes no longer than this.
	inCreation = 60 * time.Second
	// inRevert is how long an address may name a service that has another: the creation of a service that there is gives its address back.
	inRevert = 5 * time.Second
)

// Repair has every cluster address of a service held by an IPAddress, and no IPAddress hold one for a service that has not got it: a server
// that stopped in the middle of a write, or a person, may have left it so. It also makes the default range again where that was deleted. It is
// part of an API server, as which it acts, and called ipallocator-repair-controller.
//
// Cost: a look into the caches for each change of a service or an address, and another a minute after an address was made before its service.
type Repair struct {
	client            kubernetes.Interface
	services          corelisters.ServiceLister
	addresses         networkinglisters.IPAddressLister
	cidrs             networkinglisters.ServiceCIDRLister
	synced            []cache.InformerSynced
	recorder          record.EventRecorder
	prefix            string
	ofServices, ofIPs *loop.Loop
	defaults          *loop.Loop
	now               func() time.Time
}

// NewRepair returns the controller. prefix is that of the default range.
func NewRepair(client kubernetes.Interface, services coreinformers.ServiceInformer, ranges networkinginformers.Interface, prefix string, recorder record.EventRecorder) (*Repair, error) {
	addresses, cidrs := ranges.IPAddresses(), ranges.ServiceCIDRs()
	r := &Repair{
		client: client, services: services.Lister(), addresses: addresses.Lister(), cidrs: cidrs.Lister(), recorder: recorder, prefix: prefix, now: time.Now,
		synced: []cache.InformerSynced{services.Informer().HasSynced, addresses.Informer().HasSynced, cidrs.Informer().HasSynced},
	}
	r.ofServices, r.ofIPs, r.defaults = loop.New("ipallocator-repair", r.syncService), loop.New("ipallocator-repair", r.syncAddress), loop.New("default-service-cidr", r.syncDefault)
	_, errServices := services.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: r.ofServices.Enqueue,
		UpdateFunc: func(old, cur any) {
			r.ofServices.Enqueue(cur)
			r.leave(old, cur)
		},
		DeleteFunc: func(obj any) { r.leave(obj, nil) },
	})
	_, errAddresses := addresses.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: r.ofIPs.Enqueue,
		UpdateFunc: func(_, cur any) {
			r.ofIPs.Enqueue(cur)
			r.enqueueParent(cur)
		},
		DeleteFunc: r.enqueueParent,
	})
	_, errCIDRs := cidrs.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: r.defaults.Enqueue})
	return r, errors.Join(errServices, errAddresses, errCIDRs)
}

// Run works until ctx ends, with that many workers on services and on addresses each.
func (r *Repair) Run(ctx context.Context, workers int) {
	done := make(chan struct{}, 2)
	for _, l := range []*loop.Loop{r.ofIPs, r.defaults} {
		go func() {
			l.Run(ctx, workers, r.synced...)
			done <- struct{}{}
		}()
	}
	r.ofServices.Run(ctx, workers, r.synced...)
	<-done
	<-done
}

// leave looks at the addresses that a service had and has no more, after the server that wrote the service has had time to give them back.
func (r *Repair) leave(old, cur any) {
	was, ok := loop.Object[*v1.Service](old)
	if !ok {
		return
	}
	now, _ := cur.(*v1.Service)
	for _, ip := range was.Spec.ClusterIPs {
		if addr, ok := parse(ip); ok && (now == nil || !slices.Contains(now.Spec.ClusterIPs, ip)) {
			r.ofIPs.AddAfter(addr.String(), inRevert)
		}
	}
}

// enqueueParent looks at the service that an address was held for.
func (r *Repair) enqueueParent(obj any) {
	address, ok := loop.Object[*networkingv1.IPAddress](obj)
	if ref := parent(address); ok && ref != nil {
		r.ofServices.Add(ref.Namespace + "/" + ref.Name)
	}
}

// parent is the service that an address is held for; nil where that is something else.
func parent(address *networkingv1.IPAddress) *networkingv1.ParentReference {
	if address == nil {
		return nil
	}
	if ref := address.Spec.ParentRef; ref != nil && ref.Group == "" && ref.Resource == "services" {
		return ref
	}
	return nil
}

func parse(ip string) (netip.Addr, bool) {
	addr, ok := netip.AddrFromSlice(netutils.ParseIPSloppy(ip))
	return addr.Unmap(), ok
}

// syncService has the addresses of a service held for it.
func (r *Repair) syncService(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	svc, err := r.services.Services(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || svc.Spec.Type == v1.ServiceTypeExternalName || svc.Spec.ClusterIP == "" || svc.Spec.ClusterIP == v1.ClusterIPNone {
		return err
	}
	var errs []error
	for _, ip := range svc.Spec.ClusterIPs {
		addr, ok := parse(ip)
		if !ok {
			r.warn(svc, "ClusterIPNotValid", "Cluster IP %s is not a valid IP; please recreate Service", ip)
			continue
		}
		if err := r.hold(ctx, svc, addr); err != nil {
			errs = append(errs, fmt.Errorf("repair address %s of service %s: %w", addr, key, err))
		}
	}
	return errors.Join(errs...)
}

// hold has one address of a service held for it.
func (r *Repair) hold(ctx context.Context, svc *v1.Service, addr netip.Addr) error {
	family := networking.AddressFamily(addr)
	cidrs, err := r.cidrs.List(labels.Everything())
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(cidrs, func(cidr *networkingv1.ServiceCIDR) bool { return networking.GivesAddress(cidr, addr) }) {
		r.warn(svc, "ClusterIPOutOfRange", "Cluster IP [%v]: %s is not within any configured Service CIDR; please recreate service", family, addr)
		return nil
	}
	address, err := r.addresses.Get(addr.String())
	if apierrors.IsNotFound(err) {
		// The cache of services may be ahead of that of addresses.
		address, err = r.client.NetworkingV1().IPAddresses().Get(ctx, addr.String(), metav1.GetOptions{})
	}
	if apierrors.IsNotFound(err) {
		if has, err := r.has(ctx, svc.Namespace, svc.Name, addr); err != nil || !has {
			return err // it has gone, and its address with it
		}
		r.warn(svc, "ClusterIPNotAllocated", "Cluster IP [%v]: %s is not allocated; repairing", family, addr)
		return r.create(ctx, svc, addr)
	}
	if err != nil {
		r.warn(svc, "UnknownError", "Unable to allocate ClusterIP [%v]: %s due to an unknown error", family, addr)
		return err
	}
	ref := parent(address)
	if ref == nil {
		return r.recreate(ctx, svc, addr, address)
	}
	if ref.Namespace != svc.Namespace || ref.Name != svc.Name {
		other, err := r.services.Services(ref.Namespace).Get(ref.Name)
		if err != nil {
			return r.recreate(ctx, svc, addr, address)
		}
		if hasAddress(other, address.Name) { // one of the two services must go; which, a person decides
			r.warn(svc, "ClusterIPAlreadyAllocated", "Cluster IP [%v]:%s was assigned to multiple services; please recreate service", family, addr)
			return nil
		}
		return loop.RetryAfter(inRevert) // what the other does not hold is taken from it
	}
	if address.Labels[networkingv1.LabelIPAddressFamily] != string(family) || address.Labels[networkingv1.LabelManagedBy] != networking.ServiceAddressManager {
		return r.replace(ctx, svc, addr, address)
	}
	return nil
}

// has asks the API server, since the cache may be behind, whether a service has an address.
func (r *Repair) has(ctx context.Context, namespace, name string, addr netip.Addr) (bool, error) {
	svc, err := r.client.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil && hasAddress(svc, addr.String()), err
}

func hasAddress(svc *v1.Service, name string) bool {
	return slices.ContainsFunc(svc.Spec.ClusterIPs, func(ip string) bool { addr, ok := parse(ip); return ok && addr.String() == name })
}

// recreate takes an address from what has no right to it.
func (r *Repair) recreate(ctx context.Context, svc *v1.Service, addr netip.Addr, address *networkingv1.IPAddress) error {
	r.warn(svc, "ClusterIPNotAllocated", "the ClusterIP [%v]: %s for Service %s/%s has a wrong reference; repairing", networking.AddressFamily(addr), addr, svc.Namespace, svc.Name)
	return r.replace(ctx, svc, addr, address)
}

func (r *Repair) replace(ctx context.Context, svc *v1.Service, addr netip.Addr, address *networkingv1.IPAddress) error {
	if err := r.remove(ctx, address); err != nil {
		return err
	}
	return r.create(ctx, svc, addr)
}

func (r *Repair) create(ctx context.Context, svc *v1.Service, addr netip.Addr) error {
	_, err := r.client.NetworkingV1().IPAddresses().Create(ctx, networking.NewServiceAddress(addr, svc.Namespace, svc.Name), metav1.CreateOptions{})
	return err
}

// remove deletes the address as it was read, and none of its name that was made since.
func (r *Repair) remove(ctx context.Context, address *networkingv1.IPAddress) error {
	err := r.client.NetworkingV1().IPAddresses().Delete(ctx, address.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(address.UID))})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// syncAddress frees an address that the allocator made and no service has.
func (r *Repair) syncAddress(ctx context.Context, name string) error {
	address, err := r.addresses.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || address.Labels[networkingv1.LabelManagedBy] != networking.ServiceAddressManager {
		return err
	}
	ref := parent(address)
	if ref == nil {
		r.warn(address, "IPAddressNotAllocated", "IPAddress %s appears to have been modified, not referencing a Service %v: cleaning up", name, address.Spec.ParentRef)
		return r.remove(ctx, address)
	}
	age := r.now().Sub(address.CreationTimestamp.Time)
	svc, err := r.services.Services(ref.Namespace).Get(ref.Name)
	switch {
	case apierrors.IsNotFound(err):
		if age <= inCreation {
			return loop.RetryAfter(inCreation - age + time.Millisecond)
		}
		if addr, ok := parse(name); ok {
			if has, err := r.has(ctx, ref.Namespace, ref.Name, addr); err != nil || has {
				return err
			}
		}
		r.warn(address, "IPAddressNotAllocated", "IPAddress: %s for Service %s/%s appears to have leaked: cleaning up", name, ref.Namespace, ref.Name)
		return r.remove(ctx, address)
	case err != nil:
		return err
	case hasAddress(svc, name):
		return nil
	case svc.Spec.Type == v1.ServiceTypeExternalName && age < inCreation: // it may be about to get the address
		return loop.RetryAfter(inCreation - age)
	case address.CreationTimestamp.After(svc.CreationTimestamp.Time) && age < inRevert:
		return loop.RetryAfter(inRevert)
	}
	r.warn(address, "IPAddressWrongReference", "IPAddress: %s for Service %s/%s has a wrong reference; cleaning up", name, svc.Namespace, svc.Name)
	return r.remove(ctx, address)
}

// syncDefault makes the default range again when a range is gone.
func (r *Repair) syncDefault(ctx context.Context, name string) error {
	if name != DefaultName {
		return nil
	}
	return EnsureDefault(ctx, r.client, r.prefix)
}

// warn tells of something wrong with obj.
func (r *Repair) warn(obj runtime.Object, reason, format string, args ...any) {
	r.recorder.Eventf(obj, v1.EventTypeWarning, reason, format, args...)
}
