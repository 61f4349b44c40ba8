// SPDX-License-Identifier: Apache-2.0

// Package subsets brings the subsets of an Endpoints object into one canonical form, so that two of them can be compared
// and mirrored. The cost is n log n in the number of addresses times ports.
package subsets

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

type address struct {
	ip  string
	uid types.UID
}

// port is an EndpointPort that can be compared. An address without ports has the zero one.
type port struct {
	name, protocol, appProtocol string
	number                      int32
	hasAppProtocol              bool
}

// Repack returns subsets in which every address and port appears once for each pairing, ports that are served by the
// same addresses are together, and all is sorted. An address that is ready in one place and not in another, for the
// same port, is not. The input is not changed.
func Repack(subsets []corev1.EndpointSubset) []corev1.EndpointSubset {
	known := map[address]corev1.EndpointAddress{}
	ports := map[port]corev1.EndpointPort{}
	serving := map[port]map[address]bool{} // whether the address is ready
	note := func(p port, addr corev1.EndpointAddress, ready bool) {
		key := address{ip: addr.IP}
		if addr.TargetRef != nil {
			key.uid = addr.TargetRef.UID
		}
		if _, ok := known[key]; !ok {
			known[key] = addr
		}
		if serving[p] == nil {
			serving[p] = map[address]bool{}
		}
		if was, ok := serving[p][key]; !ok || was {
			serving[p][key] = ready
		}
	}
	for i := range subsets {
		list := subsets[i].Ports
		if len(list) == 0 {
			list = []corev1.EndpointPort{{}}
		}
		for _, p := range list {
			key := port{name: p.Name, protocol: string(p.Protocol), number: p.Port}
			if p.AppProtocol != nil {
				key.appProtocol, key.hasAppProtocol = *p.AppProtocol, true
			}
			ports[key] = p
			for _, addr := range subsets[i].Addresses {
				note(key, addr, true)
			}
			for _, addr := range subsets[i].NotReadyAddresses {
				note(key, addr, false)
			}
		}
	}

	together := map[string]*corev1.EndpointSubset{}
	for _, key := range slices.SortedFunc(maps.Keys(serving), comparePorts) {
		name, subset := pack(serving[key], known)
		if together[name] == nil {
			together[name] = subset
		}
		if key != (port{}) {
			together[name].Ports = append(together[name].Ports, ports[key])
		}
	}
	packed := make([]corev1.EndpointSubset, 0, len(together))
	for _, name := range slices.Sorted(maps.Keys(together)) {
		packed = append(packed, *together[name])
	}
	return packed
}

// pack returns the addresses as a subset, and a string that is the same for the same addresses.
func pack(serving map[address]bool, known map[address]corev1.EndpointAddress) (string, *corev1.EndpointSubset) {
	var name strings.Builder
	subset := &corev1.EndpointSubset{}
	for _, key := range slices.SortedFunc(maps.Keys(serving), compareAddresses) {
		ready := serving[key]
		name.WriteString(key.ip + " " + string(key.uid) + " " + strconv.FormatBool(ready) + "\n")
		if ready {
			subset.Addresses = append(subset.Addresses, known[key])
		} else {
			subset.NotReadyAddresses = append(subset.NotReadyAddresses, known[key])
		}
	}
	return name.String(), subset
}

func compareAddresses(a, b address) int {
	return cmp.Or(cmp.Compare(a.ip, b.ip), cmp.Compare(a.uid, b.uid))
}

func comparePorts(a, b port) int {
	return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.number, b.number),
		cmp.Compare(a.appProtocol, b.appProtocol))
}
