// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	stderrors "errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/util/dryrun"
	netutils "k8s.io/utils/net"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
	"github.com/hivemind-project/hivemind/pkg/registry/allocator"
)

// serviceNumbers gives services their cluster addresses and node ports as they are written, and takes them back when a write
// fails, a service changes its type, or goes.
type serviceNumbers struct {
	addresses serviceAddresses
	ports     *allocator.Ports
	loaded    []corev1.Service // what is stored at start, until adoptAddresses has looked at it
}

func newServiceNumbers(firstPort, lastPort int32) *serviceNumbers {
	return &serviceNumbers{ports: allocator.NewPorts(firstPort, lastPort)}
}

// attach hooks the allocation into the store.
func (n *serviceNumbers) attach(s *Store) {
	s.BeginCreate = n.beginCreate
	s.BeginUpdate = n.beginUpdate
	s.AfterDelete = func(obj runtime.Object, options *metav1.DeleteOptions) {
		if !dryrun.IsDryRun(options.DryRun) {
			svc := obj.(*corev1.Service)
			n.release(context.Background(), svc, numbersOf(svc))
		}
	}
}

// load takes the node ports that the stored services hold. It must run before the first write.
func (n *serviceNumbers) load(ctx context.Context, services *Store) error {
	obj, err := services.List(genericrequest.WithNamespace(ctx, metav1.NamespaceAll), &metainternalversion.ListOptions{})
	if err != nil {
		return fmt.Errorf("list services to learn which numbers are taken: %w", err)
	}
	n.loaded = obj.(*corev1.ServiceList).Items
	for i := range n.loaded {
		for _, p := range numbersOf(&n.loaded[i]).ports {
			_ = n.ports.Take(p) // one that the configured range no longer has is kept by its service, but not handed out
		}
	}
	return nil
}

// numbers are what one service holds.
type numbers struct {
	ips   []string
	ports []int32
}

func numbersOf(svc *corev1.Service) numbers {
	var held numbers
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return held
	}
	for _, ip := range svc.Spec.ClusterIPs {
		if ip != corev1.ClusterIPNone && ip != "" {
			held.ips = append(held.ips, ip)
		}
	}
	for _, p := range svc.Spec.Ports {
		if p.NodePort != 0 && !slices.Contains(held.ports, p.NodePort) { // two protocols may share a port
			held.ports = append(held.ports, p.NodePort)
		}
	}
	if svc.Spec.HealthCheckNodePort != 0 {
		held.ports = append(held.ports, svc.Spec.HealthCheckNodePort)
	}
	return held
}

// release gives back what svc held.
func (n *serviceNumbers) release(ctx context.Context, svc *corev1.Service, held numbers) {
	for _, ip := range held.ips {
		n.addresses.release(ctx, svc, ip)
	}
	for _, p := range held.ports {
		n.ports.Free(p)
	}
}

func (n *serviceNumbers) beginCreate(ctx context.Context, obj runtime.Object, options *metav1.CreateOptions) (genericregistry.FinishFunc, error) {
	svc := obj.(*corev1.Service)
	if svc.Spec.ClusterIP != "" && len(svc.Spec.ClusterIPs) == 0 { // of a client that knows the one field alone
		svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
	}
	return n.begin(ctx, svc, &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName}}, dryrun.IsDryRun(options.DryRun))
}

func (n *serviceNumbers) beginUpdate(ctx context.Context, obj, old runtime.Object, options *metav1.UpdateOptions) (genericregistry.FinishFunc, error) {
	svc, was := obj.(*corev1.Service), old.(*corev1.Service)
	keepAllocated(svc, was)
	joinClusterIPs(svc, was)
	return n.begin(ctx, svc, was, dryrun.IsDryRun(options.DryRun))
}

// begin allocates what svc needs beyond what it held, and returns what to do when the write has succeeded or failed. What a dry run took is
// given back in any case; of addresses it takes none.
func (n *serviceNumbers) begin(ctx context.Context, svc, was *corev1.Service, dryRun bool) (genericregistry.FinishFunc, error) {
	held := numbersOf(was)
	var taken numbers
	if err := n.allocate(ctx, svc, was, held, &taken, dryRun); err != nil {
		n.release(ctx, svc, taken)
		return nil, err
	}
	return func(ctx context.Context, success bool) {
		if !success || dryRun {
			n.release(ctx, svc, taken)
			return
		}
		now := numbersOf(svc)
		n.release(ctx, svc, numbers{
			ips:   slices.DeleteFunc(held.ips, func(ip string) bool { return slices.Contains(now.ips, ip) }),
			ports: slices.DeleteFunc(held.ports, func(p int32) bool { return slices.Contains(now.ports, p) }),
		})
	}, nil
}

// allocate fills in svc; what it took from the ranges is added to taken, also where it fails.
func (n *serviceNumbers) allocate(ctx context.Context, svc, was *corev1.Service, held numbers, taken *numbers, dryRun bool) error {
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	if errs := core.ValidateServiceClusterIPs(svc, was); len(errs) > 0 {
		return invalidService(svc, errs)
	}
	if errs := setFamilies(svc); len(errs) > 0 {
		return invalidService(svc, errs)
	}
	// An address is for life: validation refuses to change it, so only a service that had none gets one.
	if was.Spec.Type == corev1.ServiceTypeExternalName || svc.Spec.ClusterIP == "" {
		if err := n.allocateIP(ctx, svc, taken, dryRun); err != nil {
			return err
		}
	}
	if errs := n.allocatePorts(svc, held, taken); len(errs) > 0 {
		return invalidService(svc, errs)
	}
	return nil
}

func invalidService(svc *corev1.Service, errs field.ErrorList) error {
	return errors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), svc.Name, errs)
}

// setFamilies fills in the address families; this cluster has IPv4 alone.
func setFamilies(svc *corev1.Service) field.ErrorList {
	spec, path := &svc.Spec, field.NewPath("spec")
	if spec.IPFamilyPolicy == nil {
		policy := corev1.IPFamilyPolicySingleStack
		if selectorlessHeadless(svc) {
			policy = corev1.IPFamilyPolicyRequireDualStack
		}
		spec.IPFamilyPolicy = &policy
	}
	var l check.List
	if *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack {
		if len(spec.ClusterIPs) == 2 {
			l.Invalid(path.Child("ipFamilyPolicy"), *spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified")
		}
		if len(spec.IPFamilies) == 2 {
			l.Invalid(path.Child("ipFamilyPolicy"), *spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified")
		}
	}
	for i, ip := range spec.ClusterIPs {
		if i >= len(spec.IPFamilies) && netutils.IsIPv6String(ip) {
			l.Invalid(path.Child("clusterIPs").Index(i), spec.ClusterIPs, "IPv6 is not configured on this cluster")
		}
	}
	if len(l.Errors()) > 0 {
		return l.Errors()
	}
	if !selectorlessHeadless(svc) {
		if *spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack {
			l.Invalid(path.Child("ipFamilyPolicy"), *spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services")
		}
		for i, family := range spec.IPFamilies {
			if family == corev1.IPv6Protocol {
				l.Invalid(path.Child("ipFamilies").Index(i), family, "not configured on this cluster")
			}
		}
		if len(l.Errors()) > 0 {
			return l.Errors()
		}
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	if selectorlessHeadless(svc) && *spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack && len(spec.IPFamilies) == 1 {
		other := corev1.IPv6Protocol
		if spec.IPFamilies[0] == corev1.IPv6Protocol {
			other = corev1.IPv4Protocol
		}
		spec.IPFamilies = append(spec.IPFamilies, other)
	}
	return nil
}

func selectorlessHeadless(svc *corev1.Service) bool {
	return svc.Spec.ClusterIP == corev1.ClusterIPNone && len(svc.Spec.Selector) == 0
}

func (n *serviceNumbers) allocateIP(ctx context.Context, svc *corev1.Service, taken *numbers, dryRun bool) error {
	spec := &svc.Spec
	path := field.NewPath("spec", "clusterIPs")
	switch {
	case spec.ClusterIP == corev1.ClusterIPNone:
		return nil
	case spec.ClusterIP != "":
		if err := n.addresses.take(ctx, svc, spec.ClusterIP, dryRun); err != nil {
			return invalidService(svc, field.ErrorList{field.Invalid(path, []string{spec.ClusterIP}, fmt.Sprintf("failed to allocate IP %v: %v", spec.ClusterIP, err))})
		}
	default:
		ip, err := n.addresses.next(ctx, svc, dryRun)
		if stderrors.Is(err, allocator.ErrFull) {
			return errors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP for Service %q: %w", svc.Name, err))
		}
		if err != nil {
			return invalidService(svc, field.ErrorList{field.Invalid(path, []string{""}, fmt.Sprintf("failed to allocate IP: %v", err))})
		}
		spec.ClusterIP, spec.ClusterIPs = ip, []string{ip}
	}
	if !dryRun {
		taken.ips = append(taken.ips, spec.ClusterIP)
	}
	return nil
}

func (n *serviceNumbers) allocatePorts(svc *corev1.Service, held numbers, taken *numbers) field.ErrorList {
	if svc.Spec.Type == corev1.ServiceTypeNodePort || svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
		byPort := map[int32]int32{} // TCP and UDP of one port get one node port
		for i := range svc.Spec.Ports {
			p := &svc.Spec.Ports[i]
			if p.NodePort == 0 && !needsNodePorts(svc) {
				continue // one that the client names is taken in any case
			}
			if p.NodePort == 0 && byPort[p.Port] != 0 {
				p.NodePort = byPort[p.Port]
			}
			if errs := n.allocatePort(&p.NodePort, field.NewPath("spec", "ports").Index(i).Child("nodePort"), held, taken); len(errs) > 0 {
				return errs
			}
			byPort[p.Port] = p.NodePort
		}
	}
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		return n.allocatePort(&svc.Spec.HealthCheckNodePort, field.NewPath("spec", "healthCheckNodePort"), held, taken)
	}
	return nil
}

func (n *serviceNumbers) allocatePort(port *int32, path *field.Path, held numbers, taken *numbers) field.ErrorList {
	if *port != 0 {
		if slices.Contains(held.ports, *port) || slices.Contains(taken.ports, *port) {
			return nil
		}
		if err := n.ports.Take(*port); err != nil {
			return field.ErrorList{field.Invalid(path, *port, err.Error())}
		}
	} else {
		next, err := n.ports.Next()
		if err != nil {
			return field.ErrorList{field.InternalError(path, fmt.Errorf("failed to allocate a nodePort: %w", err))}
		}
		*port = next
	}
	taken.ports = append(taken.ports, *port)
	return nil
}

func needsNodePorts(svc *corev1.Service) bool {
	switch svc.Spec.Type {
	case corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeLoadBalancer:
		return svc.Spec.AllocateLoadBalancerNodePorts == nil || *svc.Spec.AllocateLoadBalancerNodePorts
	}
	return false
}

// keepAllocated carries over what the server had filled in and the client left out, so that a manifest without addresses and
// ports can be applied again; and drops what the client did not ask for where the new type does not need it.
func keepAllocated(svc, was *corev1.Service) {
	if svc.Spec.Type != corev1.ServiceTypeExternalName && was.Spec.Type != corev1.ServiceTypeExternalName {
		if svc.Spec.ClusterIP == "" {
			svc.Spec.ClusterIP = was.Spec.ClusterIP
		}
		if len(svc.Spec.ClusterIPs) == 0 && svc.Spec.ClusterIP == was.Spec.ClusterIP {
			svc.Spec.ClusterIPs = was.Spec.ClusterIPs
		}
		if len(svc.Spec.IPFamilies) == 0 {
			svc.Spec.IPFamilies = was.Spec.IPFamilies
		}
		if svc.Spec.IPFamilyPolicy == nil {
			svc.Spec.IPFamilyPolicy = was.Spec.IPFamilyPolicy
		}
	}
	if needsNodePorts(svc) && needsNodePorts(was) {
		keepNodePorts(svc, was)
	}
	if svc.Spec.HealthCheckNodePort == 0 && svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		svc.Spec.HealthCheckNodePort = was.Spec.HealthCheckNodePort
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName && was.Spec.Type != corev1.ServiceTypeExternalName {
		if svc.Spec.ClusterIP == was.Spec.ClusterIP {
			svc.Spec.ClusterIP, svc.Spec.ClusterIPs, svc.Spec.IPFamilies, svc.Spec.IPFamilyPolicy = "", nil, nil, nil
		}
	}
	if needsNodePorts(was) && !needsNodePorts(svc) && samePorts(svc, was) {
		for i := range svc.Spec.Ports {
			svc.Spec.Ports[i].NodePort = 0
		}
	}
}

// joinClusterIPs has the two fields that name a service's addresses say the same where a client changed the older one alone.
func joinClusterIPs(svc, was *corev1.Service) {
	if svc.Spec.ClusterIP == was.Spec.ClusterIP || !slices.Equal(svc.Spec.ClusterIPs, was.Spec.ClusterIPs) {
		return
	}
	if svc.Spec.ClusterIP == "" {
		svc.Spec.ClusterIPs = nil
	} else {
		svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
	}
}

func keepNodePorts(svc, was *corev1.Service) {
	type key struct {
		port     int32
		protocol corev1.Protocol
	}
	before := map[key]int32{}
	used := map[int32]bool{}
	for _, p := range was.Spec.Ports {
		before[key{p.Port, p.Protocol}] = p.NodePort
	}
	for _, p := range svc.Spec.Ports {
		used[p.NodePort] = true
	}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if kept := before[key{p.Port, p.Protocol}]; p.NodePort == 0 && kept != 0 && !used[kept] {
			p.NodePort = kept
		}
	}
}

// samePorts says whether the client left the node ports as they were.
func samePorts(svc, was *corev1.Service) bool {
	now, before := numbersOf(svc).ports, numbersOf(was).ports
	for _, p := range now {
		if !slices.Contains(before, p) {
			return false
		}
	}
	return true
}
