// SPDX-License-Identifier: Apache-2.0

package endpoints

import (
	"maps"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/endpointslice"
	"k8s.io/endpointslice/util"

	"github.com/hivemind-project/hivemind/controllers/internal/podstate"
	"github.com/hivemind-project/hivemind/controllers/internal/subsets"
)

const (
	// ManagedByLabel marks what this controller writes with the value ManagedBy.
	ManagedByLabel = "endpoints.kubernetes.io/managed-by"
	ManagedBy      = "endpoint-controller"
	// capacity is how many addresses are listed; where there are more, an annotation says so.
	capacity = 1000
)

// plan returns what the Endpoints of the Service are to be, nil if current is so already. since is when the change that
// is being written began; zero if unknown.
func plan(service *corev1.Service, pods []*corev1.Pod, current *corev1.Endpoints, since time.Time) *corev1.Endpoints {
	packed, cut := truncate(subsets.Repack(offered(service, pods)))
	next := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: service.Namespace, Name: service.Name}}
	if current != nil {
		next = current.DeepCopy()
	}
	next.Subsets = packed
	next.Labels = labelsOf(service)
	if next.Annotations == nil {
		next.Annotations = map[string]string{}
	}
	if delete(next.Annotations, corev1.EndpointsOverCapacity); cut {
		next.Annotations[corev1.EndpointsOverCapacity] = "truncated"
	}
	if current != nil && equality.Semantic.DeepEqual(current.Subsets, next.Subsets) &&
		maps.Equal(current.Labels, next.Labels) && maps.Equal(current.Annotations, next.Annotations) {
		return nil
	}
	if delete(next.Annotations, corev1.EndpointsLastChangeTriggerTime); !since.IsZero() {
		next.Annotations[corev1.EndpointsLastChangeTriggerTime] = since.UTC().Format(time.RFC3339Nano)
	}
	return next
}

// offered is one subset for each pod and port.
func offered(service *corev1.Service, pods []*corev1.Pod) []corev1.EndpointSubset {
	var list []corev1.EndpointSubset
	for _, pod := range pods {
		if !util.ShouldPodBeInEndpoints(pod, service.Spec.PublishNotReadyAddresses) {
			continue
		}
		ip := addressOf(service, pod)
		if ip == "" {
			continue
		}
		address := corev1.EndpointAddress{
			IP:       ip,
			NodeName: &pod.Spec.NodeName,
			TargetRef: &corev1.ObjectReference{
				Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
			},
		}
		if util.ShouldSetHostname(pod, service) {
			address.Hostname = pod.Spec.Hostname
		}
		subset := corev1.EndpointSubset{NotReadyAddresses: []corev1.EndpointAddress{address}}
		if service.Spec.PublishNotReadyAddresses || podstate.Ready(pod) {
			subset = corev1.EndpointSubset{Addresses: []corev1.EndpointAddress{address}}
		}
		if len(service.Spec.Ports) == 0 && service.Spec.ClusterIP == corev1.ClusterIPNone {
			list = append(list, subset)
		}
		for i := range service.Spec.Ports {
			port := &service.Spec.Ports[i]
			number, err := endpointslice.FindPort(pod, port)
			if err != nil {
				continue // this pod has no port by that name
			}
			subset.Ports = []corev1.EndpointPort{{
				Name: port.Name, Port: int32(number), Protocol: port.Protocol, AppProtocol: port.AppProtocol,
			}}
			list = append(list, subset)
		}
	}
	return list
}

// addressOf is the pod's address of the Service's first family; empty if it has none.
func addressOf(service *corev1.Service, pod *corev1.Pod) string {
	var six bool
	switch {
	case len(service.Spec.IPFamilies) > 0:
		six = service.Spec.IPFamilies[0] == corev1.IPv6Protocol
	case service.Spec.ClusterIP != "" && service.Spec.ClusterIP != corev1.ClusterIPNone:
		six = isIPv6(service.Spec.ClusterIP)
	default:
		six = isIPv6(pod.Status.PodIP)
	}
	for _, podIP := range pod.Status.PodIPs {
		if ip, err := netip.ParseAddr(podIP.IP); err == nil && ip.Is6() == six {
			return ip.String()
		}
	}
	return ""
}

func isIPv6(s string) bool {
	ip, err := netip.ParseAddr(s)
	return err == nil && ip.Is6()
}

func labelsOf(service *corev1.Service) map[string]string {
	labels := maps.Clone(service.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	delete(labels, corev1.IsHeadlessService)
	if service.Spec.ClusterIP == corev1.ClusterIPNone || service.Spec.ClusterIP == "" {
		labels[corev1.IsHeadlessService] = ""
	}
	labels[ManagedByLabel] = ManagedBy
	return labels
}

// truncate cuts the subsets down to capacity, ready addresses last, each in proportion to its size, and reports
// whether it had to.
func truncate(list []corev1.EndpointSubset) ([]corev1.EndpointSubset, bool) {
	var ready, notReady int
	for i := range list {
		ready += len(list[i].Addresses)
		notReady += len(list[i].NotReadyAddresses)
	}
	if ready+notReady <= capacity {
		return list, false
	}
	total, room := notReady, capacity-ready
	if ready > capacity {
		total, room = ready, capacity
	}
	left := room
	for i := range list {
		part := &list[i].NotReadyAddresses
		if ready > capacity {
			list[i].NotReadyAddresses = nil
			part = &list[i].Addresses
		}
		share := (len(*part)*room + total - 1) / total // rounded up, so the last may come short
		*part = (*part)[:min(share, left, len(*part))]
		left -= len(*part)
	}
	return list, true
}
