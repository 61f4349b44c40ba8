// SPDX-License-Identifier: Apache-2.0

package nodelifecycle

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

// TestSilentNode has one of two nodes fall silent: it becomes unknown, its pods are taken out of service, and those that do not
// tolerate that are evicted.
func TestSilentNode(t *testing.T) {
	ctx := t.Context()
	pod := func(name string, tolerations ...v1.Toleration) *v1.Pod {
		p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: "u"}}
		p.Spec.NodeName, p.Spec.Tolerations = "quiet", tolerations
		p.Status.Conditions = []v1.PodCondition{{Type: v1.PodReady, Status: v1.ConditionTrue}}
		return p
	}
	c := testcluster.New(t, newNode("quiet", is(v1.NodeReady, v1.ConditionTrue)), newNode("lively", is(v1.NodeReady, v1.ConditionTrue)),
		pod("frail"), pod("daemon", v1.Toleration{Operator: v1.TolerationOpExists}),
		pod("patient", v1.Toleration{Key: v1.TaintNodeUnreachable, Operator: v1.TolerationOpExists, TolerationSeconds: ptr.To[int64](300)}))
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	options := Options{Clock: clock}
	core := c.Informers.Core().V1()
	controller, err := New(c.Client, core.Nodes(), c.Informers.Coordination().V1().Leases(), core.Pods(), c.Events, options)
	if err != nil {
		t.Fatal(err)
	}
	evictor, err := NewEvictor(c.Client, core.Nodes(), core.Pods(), c.Events, options)
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) {
		var wg sync.WaitGroup
		wg.Go(func() { controller.Run(ctx, 1) })
		wg.Go(func() { evictor.Run(ctx, 1) })
		wg.Wait()
	})

	c.Eventually("both nodes seen", func() error {
		if !slices.Contains(c.Events.Lines(), "Normal RegisteredNode Node quiet event: Registered Node quiet in Controller") {
			return fmt.Errorf("events %q", c.Events.Lines())
		}
		return nil
	})
	lively, err := c.Client.CoreV1().Nodes().Get(ctx, "lively", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.Eventually("unknown and tainted", func() error {
		lively.Status.Conditions[0].LastHeartbeatTime = metav1.NewTime(clock.Now()) // the other one goes on
		if lively, err = c.Client.CoreV1().Nodes().UpdateStatus(ctx, lively, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		clock.Step(10 * time.Second)
		quiet, err := c.Client.CoreV1().Nodes().Get(ctx, "quiet", metav1.GetOptions{})
		if err != nil || readiness(quiet) != v1.ConditionUnknown || len(quiet.Spec.Taints) != 2 {
			return fmt.Errorf("%v, taints %v: %w", quiet.Status.Conditions, quiet.Spec.Taints, err)
		}
		if c := condition(quiet, v1.NodeReady); c.Reason != "NodeStatusUnknown" || c.Message != "Kubelet stopped posting node status." {
			t.Errorf("condition %+v", c)
		}
		return nil
	})
	c.Eventually("the frail pod evicted", func() error {
		_, err := c.Client.CoreV1().Pods("default").Get(ctx, "frail", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("got %w", err)
		}
		return nil
	})
	c.Eventually("the others not ready", func() error {
		for _, name := range []string{"daemon", "patient"} {
			p, err := c.Client.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
			if err != nil || p.Status.Conditions[0].Status != v1.ConditionFalse {
				return fmt.Errorf("%s: %v: %w", name, p.Status.Conditions, err)
			}
		}
		return nil
	})
	for _, want := range []string{"Normal NodeNotReady Node quiet status is now: NodeNotReady", "Warning NodeNotReady Node is not ready",
		"Normal TaintManagerEviction Marking for deletion Pod default/frail"} {
		if !slices.Contains(c.Events.Lines(), want) {
			t.Errorf("no event %q in %q", want, c.Events.Lines())
		}
	}

	// It is heard of again in time for the patient one.
	c.Eventually("well again", func() error {
		quiet, err := c.Client.CoreV1().Nodes().Get(ctx, "quiet", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for i := range quiet.Status.Conditions {
			quiet.Status.Conditions[i].Status = v1.ConditionFalse
		}
		condition(quiet, v1.NodeReady).Status = v1.ConditionTrue
		condition(quiet, v1.NodeReady).LastHeartbeatTime = metav1.NewTime(clock.Now())
		_, err = c.Client.CoreV1().Nodes().UpdateStatus(ctx, quiet, metav1.UpdateOptions{})
		return err
	})
	c.Eventually("eviction called off", func() error {
		if !slices.Contains(c.Events.Lines(), "Normal TaintManagerEviction Cancelling deletion of Pod default/patient") {
			return fmt.Errorf("events %q", c.Events.Lines())
		}
		return nil
	})
}
