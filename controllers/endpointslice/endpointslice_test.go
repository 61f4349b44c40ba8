// SPDX-License-Identifier: Apache-2.0

package endpointslice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

func service(name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"}, ClusterIP: "10.43.0.7", IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: "TCP"}},
		},
	}
}

func pod(name, ip string, ready bool) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: "n1"},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}},
	}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return p
}

func start(t *testing.T, prepare func(*testcluster.Cluster), objs ...runtime.Object) *testcluster.Cluster {
	t.Helper()
	c := testcluster.New(t, objs...)
	if prepare != nil {
		prepare(c)
	}
	core := c.Informers.Core().V1()
	controller, err := New(c.Client, core.Services(), core.Pods(), core.Nodes(), c.Informers.Discovery().V1().EndpointSlices(), c.Events)
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 2) })
	return c
}

// serve waits until the slices show these endpoints: service/address, in brackets if not ready.
func serve(c *testcluster.Cluster, what, want string) {
	c.Eventually(what, func() error {
		list, err := c.Client.DiscoveryV1().EndpointSlices("default").List(context.Background(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		var got []string
		for _, slice := range list.Items {
			for _, e := range slice.Endpoints {
				entry := slice.Labels[discoveryv1.LabelServiceName] + "/" + e.Addresses[0]
				if !*e.Conditions.Ready {
					entry = "(" + entry + ")"
				}
				got = append(got, entry)
			}
		}
		slices.Sort(got)
		if s := strings.Join(got, " "); s != want {
			return fmt.Errorf("%q, want %q", s, want)
		}
		return nil
	})
}

func TestFollowsPodsAndServices(t *testing.T) {
	ctx := context.Background()
	external, byHand := service("external"), service("byhand")
	external.Spec.Type, byHand.Spec.Selector = corev1.ServiceTypeExternalName, nil
	c := start(t, nil, service("web"), external, byHand, pod("a", "10.0.0.1", true),
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{corev1.LabelTopologyZone: "z"}}})
	serve(c, "at start", "web/10.0.0.1")
	if _, err := c.Client.CoreV1().Pods("default").Create(ctx, pod("b", "10.0.0.2", false), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	serve(c, "a new pod", "(web/10.0.0.2) web/10.0.0.1")
	if _, err := c.Client.CoreV1().Pods("default").Update(ctx, pod("b", "10.0.0.2", true), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	serve(c, "that becomes ready", "web/10.0.0.1 web/10.0.0.2")
	if err := c.Client.CoreV1().Pods("default").Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	serve(c, "a pod goes", "web/10.0.0.2")
	if _, err := c.Client.CoreV1().Services("default").Create(ctx, service("second"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	serve(c, "a second Service", "second/10.0.0.2 web/10.0.0.2")
	list, err := c.Client.DiscoveryV1().EndpointSlices("default").List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=web"})
	if err != nil {
		t.Fatal(err)
	}
	slice := list.Items[0]
	if slice.Labels[discoveryv1.LabelManagedBy] != ManagedBy || slice.OwnerReferences[0].Kind != "Service" || *slice.Endpoints[0].Zone != "z" {
		t.Errorf("slice %+v", slice)
	}
	if err := c.Client.DiscoveryV1().EndpointSlices("default").Delete(ctx, slice.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	serve(c, "a slice deleted by hand comes back", "second/10.0.0.2 web/10.0.0.2")
}

func TestFailureShows(t *testing.T) {
	var allowed atomic.Bool
	c := start(t, func(c *testcluster.Cluster) {
		c.Client.PrependReactor("create", "endpointslices", func(clienttesting.Action) (bool, runtime.Object, error) {
			if allowed.Load() {
				return false, nil, nil
			}
			return true, nil, errors.New("no")
		})
	}, service("web"), pod("a", "10.0.0.1", true), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	c.Eventually("event", func() error {
		if events := c.Events.Lines(); len(events) == 0 || !strings.HasPrefix(events[0], "Warning FailedToUpdateEndpointSlices Error updating Endpoint Slices for Service default/web: ") {
			return fmt.Errorf("events %v", events)
		}
		return nil
	})
	allowed.Store(true)
	serve(c, "recovers", "web/10.0.0.1")
}
