// SPDX-License-Identifier: Apache-2.0

package pleg_test

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubetypes "k8s.io/kubelet/pkg/types"

	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
	"github.com/hivemind-project/hivemind/kubelet-lite/simulated"
)

func status(id string, state runtimeapi.ContainerState, created int64) *runtimeapi.ContainerStatus {
	s := &runtimeapi.ContainerStatus{Id: id, Metadata: &runtimeapi.ContainerMetadata{Name: "a"}, State: state, CreatedAt: created}
	if state == runtimeapi.ContainerState_CONTAINER_EXITED {
		s.FinishedAt = created + 1
	}
	return s
}

func TestOlderStateNeverReplacesNewer(t *testing.T) {
	c := pleg.NewCache()
	running, exited := runtimeapi.ContainerState_CONTAINER_RUNNING, runtimeapi.ContainerState_CONTAINER_EXITED
	for _, step := range []struct {
		state   runtimeapi.ContainerState
		changes bool
		want    pleg.State
	}{
		{running, true, pleg.Running},
		{runtimeapi.ContainerState_CONTAINER_CREATED, false, pleg.Running},
		{running, false, pleg.Running},
		{exited, true, pleg.Exited},
		{running, false, pleg.Exited},
	} {
		if got := c.PutContainer("u", "s", status("1", step.state, 1)); got != step.changes {
			t.Errorf("%v: changed is %v", step.state, got)
		}
		if have, _ := c.Get("u").Latest("a"); have.State != step.want {
			t.Errorf("after %v the state is %v", step.state, have.State)
		}
	}
	c.PutContainer("u", "s", status("2", running, 5))
	if have, _ := c.Get("u").Latest("a"); have.ID != "2" {
		t.Errorf("the newest is %s", have.ID)
	}
	c.DropSandbox("u", "s")
	if n := len(c.UIDs()); n != 0 {
		t.Errorf("%d pods are left", n)
	}
}

func TestWatcherFollows(t *testing.T) {
	runtime, cache := simulated.New(simulated.Options{}), pleg.NewCache()
	woken := make(chan types.UID, 64)
	w := pleg.NewWatcher(runtime, cache, func(uid types.UID) { woken <- uid }, nil)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	run := func(uid string) (sandbox, container string) {
		config := &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: "p", Uid: uid}, Labels: map[string]string{kubetypes.KubernetesPodUIDLabel: uid}}
		sandbox, err := runtime.RunPodSandbox(ctx, config, "")
		if err != nil {
			t.Fatal(err)
		}
		container, err = runtime.CreateContainer(ctx, sandbox, &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: "a"}, Labels: config.Labels}, config)
		if err != nil {
			t.Fatal(err)
		}
		if err := runtime.StartContainer(ctx, container); err != nil {
			t.Fatal(err)
		}
		return sandbox, container
	}
	_, before := run("before")
	go func() { w.Run(ctx); close(ended) }()
	until := func(what string, ok func() bool) {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for !ok() {
			select {
			case <-woken:
			case <-deadline:
				t.Fatal(what)
			}
		}
	}
	state := func(uid types.UID) pleg.State {
		c, _ := cache.Get(uid).Latest("a")
		return c.State
	}
	until("what ran before is not seen", func() bool { return state("before") == pleg.Running })
	sandbox, after := run("after")
	until("what started later is not seen", func() bool { return state("after") == pleg.Running })
	runtime.Exit(before, 3)
	runtime.Exit(after, 4)
	until("the ends are not seen", func() bool { return state("before") == pleg.Exited && state("after") == pleg.Exited })
	if err := runtime.RemovePodSandbox(ctx, sandbox); err != nil {
		t.Fatal(err)
	}
	until("the removal is not seen", func() bool { return len(cache.Get("after").Sandboxes) == 0 && len(cache.Get("after").Containers) == 0 })
	run("") // without our labels it is not ours
	if err := w.Relist(ctx); err != nil {
		t.Fatal(err)
	}
	if uids := cache.UIDs(); len(uids) != 1 || uids[0] != "before" {
		t.Errorf("pods are %v", uids)
	}
	cancel()
	<-ended
}

func TestRelistFindsWhatWasMissed(t *testing.T) {
	runtime, cache := simulated.New(simulated.Options{}), pleg.NewCache()
	var woken []types.UID
	w := pleg.NewWatcher(runtime, cache, func(uid types.UID) { woken = append(woken, uid) }, nil)
	ctx := context.Background()
	config := &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: "p", Uid: "u"}, Labels: map[string]string{kubetypes.KubernetesPodUIDLabel: "u"}}
	id, err := runtime.RunPodSandbox(ctx, config, "")
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		change func() error
		wakes  int
	}{
		{func() error { return nil }, 1},
		{func() error { return nil }, 0},
		{func() error { return runtime.StopPodSandbox(ctx, id) }, 1},
		{func() error { return runtime.RemovePodSandbox(ctx, id) }, 1},
	} {
		woken = nil
		if err := step.change(); err != nil {
			t.Fatal(err)
		}
		if err := w.Relist(ctx); err != nil {
			t.Fatal(err)
		}
		if len(woken) != step.wakes {
			t.Errorf("step %d woke %v", i, woken)
		}
	}
	if n := len(cache.UIDs()); n != 0 {
		t.Errorf("%d pods are left", n)
	}
}
