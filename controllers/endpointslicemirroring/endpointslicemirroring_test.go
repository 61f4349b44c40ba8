// SPDX-License-Identifier: Apache-2.0

package endpointslicemirroring

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

func TestMirrors(t *testing.T) {
	ctx := context.Background()
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db", UID: "svc"}}
	selected := service.DeepCopy()
	selected.Name, selected.Spec.Selector = "auto", map[string]string{"app": "auto"}
	auto, alone, skipped := byHand(subset(80, "10.0.0.9", "")), byHand(subset(80, "10.0.0.8", "")), byHand(subset(80, "10.0.0.7", ""))
	auto.Name, alone.Name, skipped.Name = "auto", "alone", "skipped"
	skipped.Labels["endpointslice.kubernetes.io/skip-mirror"] = "true"
	unwanted := service.DeepCopy()
	unwanted.Name = "skipped"
	c := testcluster.New(t, service, selected, unwanted, byHand(subset(80, "10.0.0.1", "")), auto, alone, skipped)
	core := c.Informers.Core().V1()
	controller, err := New(c.Client, core.Endpoints(), core.Services(), c.Informers.Discovery().V1().EndpointSlices(), c.Events)
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 1) })
	slicesAre := func(want string) func() error {
		return func() error {
			list, err := c.Client.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			got := ""
			for _, s := range list.Items {
				got += s.Labels["kubernetes.io/service-name"]
				for _, e := range s.Endpoints {
					got += " " + e.Addresses[0]
				}
			}
			if got != want {
				return fmt.Errorf("slices %q, want %q", got, want)
			}
			return nil
		}
	}
	c.Eventually("the one that is written by hand", slicesAre("db 10.0.0.1"))
	if _, err := c.Client.CoreV1().Endpoints("default").Update(ctx, byHand(subset(80, "10.0.0.1", "10.0.0.2")), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("its change", slicesAre("db 10.0.0.1 10.0.0.2"))
	service.Spec.Selector = map[string]string{"app": "db"}
	if _, err := c.Client.CoreV1().Services("default").Update(ctx, service, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("gone once the Service selects", slicesAre(""))
	service.Spec.Selector = nil
	if _, err := c.Client.CoreV1().Services("default").Update(ctx, service, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("back again", slicesAre("db 10.0.0.1 10.0.0.2"))
	if err := c.Client.CoreV1().Endpoints("default").Delete(ctx, "db", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("gone with the Endpoints", slicesAre(""))
}
