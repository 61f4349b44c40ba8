// SPDX-License-Identifier: Apache-2.0

package endpoints

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

func TestFollowsPodsAndServices(t *testing.T) {
	ctx := context.Background()
	leftover := plan(with(service(http()), func(s *corev1.Service) { s.Name = "gone" }), nil, nil, time.Time{})
	byHand := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "manual"}}
	c := testcluster.New(t, service(http()), pod("a", true, "10.0.0.1"), leftover, byHand)
	core := c.Informers.Core().V1()
	controller, err := New(c.Client, core.Services(), core.Pods(), core.Endpoints(), c.Events)
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 2) })
	are := func(want string) func() error {
		return func() error {
			list, err := c.Client.CoreV1().Endpoints("default").List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			got := ""
			for i := range list.Items {
				got += list.Items[i].Name + "[" + show(&list.Items[i]) + "] "
			}
			if got != want {
				return fmt.Errorf("%s, want %s", got, want)
			}
			return nil
		}
	}
	c.Eventually("at start; what lost its Service goes", are("manual[] web[10.0.0.1 :8080] "))
	if _, err := c.Client.CoreV1().Pods("default").Create(ctx, pod("b", false, "10.0.0.2"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("a new pod", are("manual[] web[10.0.0.1 (10.0.0.2) :8080] "))
	if _, err := c.Client.CoreV1().Pods("default").Update(ctx, pod("b", true, "10.0.0.2"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("that becomes ready", are("manual[] web[10.0.0.1 10.0.0.2 :8080] "))
	if err := c.Client.CoreV1().Pods("default").Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("a pod goes", are("manual[] web[10.0.0.2 :8080] "))
	if err := c.Client.CoreV1().Endpoints("default").Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("deleted by hand", are("manual[] web[10.0.0.2 :8080] "))
	if err := c.Client.CoreV1().Services("default").Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("the Service goes", are("manual[] "))
}
