// SPDX-License-Identifier: Apache-2.0

package endpointslicemirroring

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/endpointslice/util"

	"github.com/hivemind-project/hivemind/controllers/internal/subsets"
)

// perSubset is how many addresses of a subset are mirrored, so that each subset makes one slice an address family.
const perSubset = 1000

// changes is what makes the slices equal to the Endpoints. Addresses skipped include those that are invalid.
type changes struct {
	create, update, remove, kept []*discoveryv1.EndpointSlice
	invalid, skipped             int
}

// group is what a slice has one of.
type group struct {
	family discoveryv1.AddressType
	ports  util.PortMapKey
}

// plan compares the slices that endpoints should have with those that exist.
func plan(endpoints *corev1.Endpoints, existing []*discoveryv1.EndpointSlice) changes {
	var p changes
	desired := p.desired(endpoints)
	have := map[group][]*discoveryv1.EndpointSlice{}
	for _, slice := range slices.SortedFunc(slices.Values(existing), byName) {
		key := group{slice.AddressType, util.NewPortMapKey(slice.Ports)}
		have[key] = append(have[key], slice)
	}
	for _, want := range desired {
		key := group{want.AddressType, util.NewPortMapKey(want.Ports)}
		if len(have[key]) == 0 {
			p.create = append(p.create, want)
			continue
		}
		first := have[key][0]
		have[key] = have[key][1:]
		if same(first, want) {
			p.kept = append(p.kept, first)
			continue
		}
		want.Name, want.GenerateName = first.Name, ""
		p.update = append(p.update, want)
	}
	for _, surplus := range have {
		p.remove = append(p.remove, surplus...)
	}
	slices.SortFunc(p.remove, byName)
	p.recycle()
	return p
}

// recycle turns a creation and a deletion of the same address family into an update: watchers then see one change, and
// never a Service without endpoints.
func (p *changes) recycle() {
	p.create = slices.DeleteFunc(p.create, func(want *discoveryv1.EndpointSlice) bool {
		i := slices.IndexFunc(p.remove, func(old *discoveryv1.EndpointSlice) bool { return old.AddressType == want.AddressType })
		if i < 0 {
			return false
		}
		want.Name, want.GenerateName = p.remove[i].Name, ""
		p.update = append(p.update, want)
		p.remove = slices.Delete(p.remove, i, i+1)
		return true
	})
}

// desired returns one slice for each subset and address family that has addresses.
func (p *changes) desired(endpoints *corev1.Endpoints) []*discoveryv1.EndpointSlice {
	var list []*discoveryv1.EndpointSlice
	for _, subset := range subsets.Repack(endpoints.Subsets) {
		ports := make([]discoveryv1.EndpointPort, 0, len(subset.Ports))
		for i := range subset.Ports {
			port := &subset.Ports[i]
			ports = append(ports, discoveryv1.EndpointPort{Name: &port.Name, Port: &port.Port, Protocol: &port.Protocol, AppProtocol: port.AppProtocol})
		}
		families := map[discoveryv1.AddressType][]discoveryv1.Endpoint{}
		mirrored := 0
		for i := range len(subset.Addresses) + len(subset.NotReadyAddresses) {
			ready := i < len(subset.Addresses)
			address := &subset.NotReadyAddresses
			if ready {
				address = &subset.Addresses
			} else {
				i -= len(subset.Addresses)
			}
			if mirrored >= perSubset {
				p.skipped++
				continue
			}
			family, endpoint, ok := convert(&(*address)[i], ready)
			if !ok {
				p.invalid++
				p.skipped++
				continue
			}
			mirrored++
			families[family] = append(families[family], endpoint)
		}
		for _, family := range slices.Sorted(maps.Keys(families)) {
			slice := blank(endpoints)
			slice.AddressType, slice.Ports, slice.Endpoints = family, ports, families[family]
			list = append(list, slice)
		}
	}
	return list
}

// blank is a slice that belongs to endpoints, with their labels and annotations.
func blank(endpoints *corev1.Endpoints) *discoveryv1.EndpointSlice {
	labels, annotations := maps.Clone(endpoints.Labels), maps.Clone(endpoints.Annotations)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[discoveryv1.LabelServiceName] = endpoints.Name
	labels[discoveryv1.LabelManagedBy] = ManagedBy
	delete(annotations, corev1.EndpointsLastChangeTriggerTime)
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Namespace: endpoints.Namespace, GenerateName: endpoints.Name + "-", Labels: labels, Annotations: annotations,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(endpoints, corev1.SchemeGroupVersion.WithKind("Endpoints"))},
	}}
}

func convert(address *corev1.EndpointAddress, ready bool) (discoveryv1.AddressType, discoveryv1.Endpoint, bool) {
	ip, err := netip.ParseAddr(address.IP)
	if err != nil {
		return "", discoveryv1.Endpoint{}, false
	}
	family := discoveryv1.AddressTypeIPv4
	if ip.Unmap().Is6() {
		family = discoveryv1.AddressTypeIPv6
	}
	endpoint := discoveryv1.Endpoint{
		Addresses:  []string{ip.Unmap().String()},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		TargetRef:  address.TargetRef,
		NodeName:   address.NodeName,
	}
	if address.Hostname != "" {
		endpoint.Hostname = &address.Hostname
	}
	return family, endpoint, true
}

// same reports whether a slice is as it is to be, in whatever order its endpoints are.
func same(have, want *discoveryv1.EndpointSlice) bool {
	if !maps.Equal(have.Labels, want.Labels) || !maps.Equal(have.Annotations, want.Annotations) ||
		len(have.OwnerReferences) != 1 || have.OwnerReferences[0].UID != want.OwnerReferences[0].UID {
		return false
	}
	return equality.Semantic.DeepEqual(sorted(have.Endpoints), sorted(want.Endpoints))
}

func sorted(list []discoveryv1.Endpoint) []discoveryv1.Endpoint {
	return slices.SortedStableFunc(slices.Values(list), func(a, b discoveryv1.Endpoint) int {
		return cmp.Or(slices.Compare(a.Addresses, b.Addresses), cmp.Compare(uid(a), uid(b)))
	})
}

func uid(e discoveryv1.Endpoint) string {
	if e.TargetRef == nil {
		return ""
	}
	return string(e.TargetRef.UID)
}

func byName(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) }
