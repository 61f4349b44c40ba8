// SPDX-License-Identifier: Apache-2.0

package endpoints

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func service(ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Labels: map[string]string{"team": "a"}},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"}, ClusterIP: "10.43.0.7", IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, Ports: ports,
		},
	}
}

func http() corev1.ServicePort {
	return corev1.ServicePort{Name: "http", Port: 80, Protocol: "TCP", TargetPort: intstr.FromInt32(8080)}
}

func pod(name string, ready bool, ips ...string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{NodeName: "n1", Hostname: name, Containers: []corev1.Container{{
			Ports: []corev1.ContainerPort{{Name: "admin", ContainerPort: 9000, Protocol: "TCP"}},
		}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	for _, ip := range ips {
		p.Status.PodIP = ips[0]
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	return p
}

func with[T any](obj *T, edit func(*T)) *T { edit(obj); return obj }

func show(ep *corev1.Endpoints) string {
	if ep == nil {
		return "unchanged"
	}
	var out []string
	for _, s := range ep.Subsets {
		line := ""
		for _, a := range s.Addresses {
			line += a.IP + a.Hostname + " "
		}
		for _, a := range s.NotReadyAddresses {
			line += "(" + a.IP + a.Hostname + ") "
		}
		for _, p := range s.Ports {
			line += fmt.Sprintf(":%d", p.Port)
		}
		out = append(out, strings.TrimSpace(line))
	}
	return strings.Join(out, "; ")
}

func TestPlan(t *testing.T) {
	headless := with(service(), func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone })
	named := service(corev1.ServicePort{Name: "admin", Port: 1, Protocol: "TCP", TargetPort: intstr.FromString("admin")})
	for _, tc := range []struct {
		name    string
		service *corev1.Service
		pods    []*corev1.Pod
		current *corev1.Endpoints
		want    string
	}{
		{"no pods still makes an object", service(http()), nil, nil, ""},
		{"ready and not", service(http()), []*corev1.Pod{pod("b", false, "10.0.0.2"), pod("a", true, "10.0.0.1")}, nil, "10.0.0.1 (10.0.0.2) :8080"},
		{"without an address", service(http()), []*corev1.Pod{pod("a", false)}, nil, ""},
		{"ended or being deleted", service(http()), []*corev1.Pod{
			with(pod("a", true, "10.0.0.1"), func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }),
			with(pod("b", true, "10.0.0.2"), func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }),
		}, nil, ""},
		{"not ready but published", with(service(http()), func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }),
			[]*corev1.Pod{pod("a", false, "10.0.0.1")}, nil, "10.0.0.1 :8080"},
		{"port by name, of those that have it", named, []*corev1.Pod{pod("a", true, "10.0.0.1"), with(pod("b", true, "10.0.0.2"), func(p *corev1.Pod) { p.Spec.Containers = nil })}, nil, "10.0.0.1 :9000"},
		{"the Service's family", with(service(http()), func(s *corev1.Service) { s.Spec.IPFamilies[0] = corev1.IPv6Protocol }),
			[]*corev1.Pod{pod("a", true, "10.0.0.1", "fd00::1"), pod("b", true, "10.0.0.2")}, nil, "fd00::1 :8080"},
		{"headless without ports", headless, []*corev1.Pod{pod("a", true, "10.0.0.1")}, nil, "10.0.0.1"},
		{"host names within the Service's domain", headless, []*corev1.Pod{with(pod("a", true, "10.0.0.1"), func(p *corev1.Pod) { p.Spec.Subdomain = "web" })}, nil, "10.0.0.1a"},
		{"as it is", service(http()), []*corev1.Pod{pod("a", true, "10.0.0.1")}, plan(service(http()), []*corev1.Pod{pod("a", true, "10.0.0.1")}, nil, time.Unix(1, 0)), "unchanged"},
		{"labels changed", service(http()), nil, plan(with(service(http()), func(s *corev1.Service) { s.Labels["team"] = "b" }), nil, nil, time.Time{}), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := show(plan(tc.service, tc.pods, tc.current, time.Time{})); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}

	ep := plan(headless, nil, nil, time.Unix(1, 0))
	if _, ok := ep.Labels[corev1.IsHeadlessService]; !ok || ep.Labels["team"] != "a" || ep.Labels[ManagedByLabel] != ManagedBy ||
		ep.Annotations[corev1.EndpointsLastChangeTriggerTime] != "1970-01-01T00:00:01Z" {
		t.Errorf("labels %v, annotations %v", ep.Labels, ep.Annotations)
	}
	if len(headless.Labels) != 1 {
		t.Error("the Service's own labels were changed")
	}
}

func TestTruncate(t *testing.T) {
	subset := func(ready, notReady int) corev1.EndpointSubset {
		return corev1.EndpointSubset{Addresses: make([]corev1.EndpointAddress, ready), NotReadyAddresses: make([]corev1.EndpointAddress, notReady)}
	}
	for _, tc := range []struct {
		name     string
		list     []corev1.EndpointSubset
		want     string
		truncate bool
	}{
		{"fits", []corev1.EndpointSubset{subset(900, 100)}, "900+100", false},
		{"not ready ones go first", []corev1.EndpointSubset{subset(900, 200)}, "900+100", true},
		{"ready ones in proportion", []corev1.EndpointSubset{subset(1500, 5), subset(500, 5)}, "750+0 250+0", true},
		{"not ready ones in proportion", []corev1.EndpointSubset{subset(400, 300), subset(400, 300)}, "400+100 400+100", true},
		{"the last comes short", []corev1.EndpointSubset{subset(334, 0), subset(334, 0), subset(334, 0)}, "334+0 334+0 332+0", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			list, truncated := truncate(tc.list)
			var got []string
			for _, s := range list {
				got = append(got, fmt.Sprintf("%d+%d", len(s.Addresses), len(s.NotReadyAddresses)))
			}
			if strings.Join(got, " ") != tc.want || truncated != tc.truncate {
				t.Errorf("got %v, %v; want %s, %v", got, truncated, tc.want, tc.truncate)
			}
		})
	}
}
