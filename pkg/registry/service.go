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
	"github.com/hivemind-project/hivemind/pkg/room"
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
	s.aroundUpdate = n.settle
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
	return n.begin(ctx, svc, nil, dryrun.IsDryRun(options.DryRun))
}

func (n *serviceNumbers) beginUpdate(ctx context.Context, obj, old runtime.Object, options *metav1.UpdateOptions) (genericregistry.FinishFunc, error) {
	svc, was := obj.(*corev1.Service), old.(*corev1.Service)
	keepAllocated(svc, was)
	joinClusterIPs(svc, was)
	return n.begin(ctx, svc, was, dryrun.IsDryRun(options.DryRun))
}

// settlement is what an update of a service took, and what it gives back. It is settled when the storage has answered, which the machinery does not
// wait for: an attempt that another's write came before is made again, and what is given back while the service still has it could be another's by the
// time that the write fails, or be repaired.
type settlement struct {
	svc          *corev1.Service // nil before an attempt has been decided on
	taken, freed numbers
}

type settlementKey struct{}

// settle prepares ctx for an update; done is called when it is over, and told whether it was written.
func (n *serviceNumbers) settle(ctx context.Context) (_ context.Context, done func(written bool)) {
	s := &settlement{}
	return context.WithValue(ctx, settlementKey{}, s), func(written bool) {
		if written {
			n.release(ctx, s.svc, s.freed)
		} else {
			n.release(ctx, s.svc, s.taken)
		}
	}
}

// begin allocates what svc needs beyond what it held, and returns what to do when the write has succeeded or failed, or, in an update, is about to be
// made. What a dry run took is given back in any case; of addresses it takes none. was is nil where svc is new.
func (n *serviceNumbers) begin(ctx context.Context, svc, was *corev1.Service, dryRun bool) (genericregistry.FinishFunc, error) {
	creating := was == nil
	if creating {
		was = &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName}}
	}
	update, _ := ctx.Value(settlementKey{}).(*settlement)
	if update != nil {
		n.release(ctx, update.svc, update.taken) // by an attempt before this one
		*update = settlement{}
	}
	held := numbersOf(was)
	var taken numbers
	if err := n.allocate(ctx, svc, was, creating, held, &taken, dryRun); err != nil {
		n.release(ctx, svc, taken)
		return nil, err
	}
	return func(ctx context.Context, success bool) {
		if !success || dryRun {
			n.release(ctx, svc, taken)
			return
		}
		now := numbersOf(svc)
		freed := numbers{
			ips:   slices.DeleteFunc(held.ips, func(ip string) bool { return slices.Contains(now.ips, ip) }),
			ports: slices.DeleteFunc(held.ports, func(p int32) bool { return slices.Contains(now.ports, p) }),
		}
		if update != nil {
			*update = settlement{svc: svc, taken: taken, freed: freed}
			return
		}
		n.release(ctx, svc, freed)
	}, nil
}

// allocate fills in svc; what it took from the ranges is added to taken, also where it fails.
func (n *serviceNumbers) allocate(ctx context.Context, svc, was *corev1.Service, creating bool, held numbers, taken *numbers, dryRun bool) error {
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
	if errs := n.allocatePorts(svc, creating, held, taken); len(errs) > 0 {
		return invalidService(svc, errs)
	}
	return nil
}

func invalidService(svc *corev1.Service, errs field.ErrorList) error {
	return errors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), svc.Name, room.Few(errs))
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

func (n *serviceNumbers) allocatePorts(svc *corev1.Service, creating bool, held numbers, taken *numbers) field.ErrorList {
	ports := n.updatePorts
	if creating {
		ports = n.createPorts
	}
	if hasNodePorts(svc) {
		if errs := ports(svc, held, taken); len(errs) > 0 {
			return errs
		}
	}
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal && !has(svc.Spec.HealthCheckNodePort, held, taken) {
		return n.allocatePort(&svc.Spec.HealthCheckNodePort, field.NewPath("spec", "healthCheckNodePort"), taken)
	}
	return nil
}

// createPorts allocates those of a new service. A port with two protocols gets one node port, which either of them may ask for. A load balancer that needs no node
// ports has those that it asks for.
func (n *serviceNumbers) createPorts(svc *corev1.Service, _ numbers, taken *numbers) field.ErrorList {
	byPort := map[int32]int32{}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		shared := byPort[p.Port]
		switch {
		case p.NodePort == 0 && !needsNodePorts(svc):
			continue
		case shared != 0 && p.NodePort == 0:
			p.NodePort = shared
			continue
		case shared != 0 && p.NodePort == shared:
			continue
		case p.NodePort == 0:
			if other := slices.IndexFunc(svc.Spec.Ports, func(other corev1.ServicePort) bool { return other.Port == p.Port && other.NodePort != 0 }); other >= 0 {
				p.NodePort = svc.Spec.Ports[other].NodePort
			}
		}
		if errs := n.allocatePort(&p.NodePort, nodePortPath(i), taken); len(errs) > 0 {
			return errs
		}
		if shared == 0 {
			byPort[p.Port] = p.NodePort
		}
	}
	return nil
}

// updatePorts allocates what a service has not got yet.
func (n *serviceNumbers) updatePorts(svc *corev1.Service, held numbers, taken *numbers) field.ErrorList {
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if has(p.NodePort, held, taken) || p.NodePort == 0 && !needsNodePorts(svc) {
			continue
		}
		if errs := n.allocatePort(&p.NodePort, nodePortPath(i), taken); len(errs) > 0 {
			return errs
		}
	}
	return nil
}

func nodePortPath(i int) *field.Path {
	return field.NewPath("spec", "ports").Index(i).Child("nodePort")
}

func has(port int32, held numbers, taken *numbers) bool {
	return port != 0 && (slices.Contains(held.ports, port) || slices.Contains(taken.ports, port))
}

// allocatePort takes a port, or the next where it is 0.
func (n *serviceNumbers) allocatePort(port *int32, path *field.Path, taken *numbers) field.ErrorList {
	if *port != 0 {
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

func hasNodePorts(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeNodePort || svc.Spec.Type == corev1.ServiceTypeLoadBalancer
}

// needsNodePorts tells whether ports get node ports that nobody asked for.
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
	if hasNodePorts(was) && !hasNodePorts(svc) && samePorts(svc, was) {
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
