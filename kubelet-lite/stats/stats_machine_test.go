// SPDX-License-Identifier: Apache-2.0

//go:build containers

package stats

import (
	"testing"
	"time"

	"github.com/hivemind-project/hivemind/kubelet-lite/containerd/containerdtest"
)

func TestSummaryOfRealPods(t *testing.T) {
	n := containerdtest.Start(t)
	pod, config := n.Pod(t, "busy", "u1")
	n.Container(t, pod, config, "burner", 0, nil, "burn")
	n.Container(t, pod, config, "idle", 0, nil, "wait")
	gone := n.Container(t, pod, config, "gone", 0, nil, "exit", "0")
	n.Ended(t, gone)
	p := New(n.Runtime, n.Images, "node", n.Options.DataDir)

	first, err := p.Summary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Pods) != 1 || first.Pods[0].PodRef.Name != "busy" || first.Pods[0].PodRef.UID != "u1" || len(first.Pods[0].Containers) != 2 {
		t.Fatalf("pods %+v", first.Pods)
	}
	if age := time.Since(first.Pods[0].StartTime.Time); age < 0 || age > time.Minute {
		t.Errorf("pod is %v old", age)
	}
	usage := func() (pod, burner uint64) {
		s, err := p.Summary(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range s.Pods[0].Containers {
			if c.Name == "burner" && c.CPU != nil && c.CPU.UsageCoreNanoSeconds != nil {
				burner = *c.CPU.UsageCoreNanoSeconds
			}
			if c.Memory == nil || c.Memory.WorkingSetBytes == nil {
				t.Fatalf("container %s without memory", c.Name)
			}
		}
		if c := s.Pods[0].CPU; c != nil && c.UsageCoreNanoSeconds != nil {
			pod = *c.UsageCoreNanoSeconds
		}
		return pod, burner
	}
	containerdtest.Eventually(t, "half a second of cpu is seen", func() bool {
		pod, burner := usage()
		return burner > 5e8 && pod >= burner
	})
	containerdtest.Eventually(t, "the node's rate is known", func() bool {
		s, err := p.Summary(t.Context())
		return err == nil && s.Node.CPU.UsageNanoCores != nil && *s.Node.CPU.UsageNanoCores > 1e8
	})
	s, err := p.Summary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Node.Runtime == nil || s.Node.Runtime.ImageFs == nil || s.Node.Runtime.ImageFs.CapacityBytes == nil || s.Node.Fs == nil {
		t.Errorf("file systems: %+v, %+v", s.Node.Runtime, s.Node.Fs)
	}
	t.Logf("memory of the node: working set %d, available %d", *s.Node.Memory.WorkingSetBytes, *s.Node.Memory.AvailableBytes)
}
