// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/simulated"
)

func TestRestartIsImmediateThenBacksOff(t *testing.T) {
	w := newWorld(t, simulated.Options{})
	w.create(newPod("web"))
	pod := w.until("web", "ready", isPodReady)
	begin := time.Now()
	w.exit(pod, "main", 1)
	pod = w.until("web", "running again", func(p *v1.Pod) bool {
		s := containerStatus(p, "main")
		return s.RestartCount == 1 && s.State.Running != nil
	})
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("the first restart took %v", took)
	}
	if last := containerStatus(pod, "main").LastTerminationState.Terminated; last == nil || last.ExitCode != 1 || last.Reason != "Error" {
		t.Errorf("last state is %+v", last)
	}
	w.exit(pod, "main", 2)
	pod = w.until("web", "backing off", waitingFor("main", "CrashLoopBackOff"))
	s := containerStatus(pod, "main")
	if want := "back-off 10s restarting failed container=main pod=web_default(uid-web)"; s.State.Waiting.Message != want {
		t.Errorf("message is %q, want %q", s.State.Waiting.Message, want)
	}
	if s.LastTerminationState.Terminated == nil || s.LastTerminationState.Terminated.ExitCode != 2 || s.RestartCount != 1 {
		t.Errorf("status is %+v", s)
	}
	if pod.Status.Phase != v1.PodRunning {
		t.Errorf("phase is %s", pod.Status.Phase)
	}
	if !w.events.has("Warning BackOff Back-off restarting failed container main in pod web_default(uid-web)") {
		t.Errorf("no BackOff event in %q", w.events.all())
	}
	// Backing off does not hold up the end.
	w.delete("web", 30)
	w.untilGone("web")
}

func TestRestartPolicies(t *testing.T) {
	w := newWorld(t, simulated.Options{})
	for _, c := range []struct {
		name     string
		policy   v1.RestartPolicy
		codes    []int32 // of two containers
		want     v1.PodPhase
		restarts bool
	}{
		{"never-ok", v1.RestartPolicyNever, []int32{0, 0}, v1.PodSucceeded, false},
		{"never-fails", v1.RestartPolicyNever, []int32{0, 3}, v1.PodFailed, false},
		{"onfailure-ok", v1.RestartPolicyOnFailure, []int32{0, 0}, v1.PodSucceeded, false},
		{"onfailure-fails", v1.RestartPolicyOnFailure, []int32{0, 1}, v1.PodRunning, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := newPod(c.name, v1.Container{Name: "a"}, v1.Container{Name: "b"})
			pod.Spec.RestartPolicy = c.policy
			w.create(pod)
			pod = w.until(c.name, "ready", isPodReady)
			w.exit(pod, "a", c.codes[0])
			w.until(c.name, "a terminated", func(p *v1.Pod) bool { return containerStatus(p, "a").State.Terminated != nil })
			w.exit(pod, "b", c.codes[1])
			pod = w.until(c.name, "as expected", func(p *v1.Pod) bool {
				return p.Status.Phase == c.want && (containerStatus(p, "b").RestartCount == 1) == c.restarts
			})
			if s := containerStatus(pod, "a"); s.RestartCount != 0 || s.State.Terminated == nil {
				t.Errorf("container a is %+v", s)
			}
			if c.want == v1.PodSucceeded && !slices.ContainsFunc(pod.Status.Conditions, func(c v1.PodCondition) bool { return c.Type == v1.PodReady && c.Reason == "PodCompleted" }) {
				t.Errorf("conditions are %+v", pod.Status.Conditions)
			}
		})
	}
}

func TestMissingConfigMapRecovers(t *testing.T) {
	w := newWorld(t, simulated.Options{})
	pod := newPod("web", v1.Container{Name: "main", EnvFrom: []v1.EnvFromSource{{ConfigMapRef: &v1.ConfigMapEnvSource{LocalObjectReference: v1.LocalObjectReference{Name: "late"}}}}},
		v1.Container{Name: "other"})
	w.create(pod)
	pod = w.until("web", "waiting for its ConfigMap", waitingFor("main", "CreateContainerConfigError"))
	if m := containerStatus(pod, "main").State.Waiting.Message; m != `configmaps "late" not found` {
		t.Errorf("message is %q", m)
	}
	w.until("web", "running its other container", func(p *v1.Pod) bool { return containerStatus(p, "other").State.Running != nil })
	w.objects.put(&v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "late"}, Data: map[string]string{"a": "b"}})
	pod = w.until("web", "ready", isPodReady)
	if n := containerStatus(pod, "main").RestartCount; n != 0 {
		t.Errorf("restarted %d times", n)
	}
	if !w.events.has(`Warning Failed Error: configmaps "late" not found`) {
		t.Errorf("no Failed event in %q", w.events.all())
	}
}

func TestImageProblems(t *testing.T) {
	w := newWorld(t, simulated.Options{Missing: func(image string) error {
		if strings.Contains(image, "missing") {
			return errors.New("not found")
		}
		return nil
	}})
	for _, c := range []struct {
		name, image string
		policy      v1.PullPolicy
		reasons     []string
		message     string
	}{
		{"missing", "registry.test/missing:1", v1.PullIfNotPresent, []string{"ErrImagePull", "ImagePullBackOff"},
			`Back-off pulling image "registry.test/missing:1": ErrImagePull: not found`},
		{"never", "registry.test/absent:1", v1.PullNever, []string{"ErrImageNeverPull"}, `Container image "registry.test/absent:1" is not present with pull policy of Never`},
		{"invalid", "UPPER//case", v1.PullAlways, []string{"InvalidImageName"},
			`Failed to apply default image tag "UPPER//case": couldn't parse image name "UPPER//case": invalid reference format`},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := newPod(c.name, v1.Container{Name: "main", Image: c.image})
			pod.Spec.Containers[0].ImagePullPolicy = c.policy
			w.create(pod)
			var last *v1.Pod
			for _, reason := range c.reasons {
				last = w.until(c.name, "waiting for "+reason, waitingFor("main", reason))
			}
			if m := containerStatus(last, "main").State.Waiting.Message; m != c.message {
				t.Errorf("message is %q, want %q", m, c.message)
			}
			if last.Status.Phase != v1.PodPending {
				t.Errorf("phase is %s", last.Status.Phase)
			}
			if !w.events.has("Warning Failed Error: " + c.reasons[0]) {
				t.Errorf("no Failed event in %q", w.events.all())
			}
		})
	}
	w.create(newPod("unharmed"))
	w.until("unharmed", "ready", isPodReady)
}

func TestInitContainersRunInOrder(t *testing.T) {
	w := newWorld(t, simulated.Options{})
	pod := newPod("web")
	pod.Spec.InitContainers = []v1.Container{{Name: "first", Command: []string{"sleep", "0.05"}}, {Name: "second", Command: []string{"sleep", "inf"}}}
	for i := range pod.Spec.InitContainers {
		setDefaults(&pod.Spec.InitContainers[i])
	}
	w.create(pod)
	pod = w.until("web", "at its second init container", func(p *v1.Pod) bool { return containerStatus(p, "second").State.Running != nil })
	if s := containerStatus(pod, "first"); s.State.Terminated == nil || !s.Ready {
		t.Errorf("first is %+v", s)
	}
	if s := containerStatus(pod, "main"); s.State.Waiting == nil || s.State.Waiting.Reason != "PodInitializing" {
		t.Errorf("main is %+v", s)
	}
	i := slices.IndexFunc(pod.Status.Conditions, func(c v1.PodCondition) bool { return c.Type == v1.PodInitialized })
	if c := pod.Status.Conditions[i]; c.Status != v1.ConditionFalse || c.Reason != "ContainersNotInitialized" || c.Message != "containers with incomplete status: [second]" {
		t.Errorf("Initialized is %+v", c)
	}
	w.exit(pod, "second", 1)
	w.until("web", "trying its init container again", func(p *v1.Pod) bool {
		s := containerStatus(p, "second")
		return s.RestartCount == 1 && s.State.Running != nil
	})
	w.exit(pod, "second", 0)
	w.until("web", "ready", isPodReady)
}

func TestSidecars(t *testing.T) {
	w := newWorld(t, simulated.Options{})
	always := v1.ContainerRestartPolicyAlways
	pod := newPod("job", v1.Container{Name: "main"})
	pod.Spec.RestartPolicy = v1.RestartPolicyNever
	pod.Spec.InitContainers = []v1.Container{{Name: "one", RestartPolicy: &always}, {Name: "two", RestartPolicy: &always}}
	for i := range pod.Spec.InitContainers {
		setDefaults(&pod.Spec.InitContainers[i])
	}
	w.create(pod)
	pod = w.until("job", "ready", isPodReady)
	w.exit(pod, "one", 1)
	pod = w.until("job", "with its sidecar again", func(p *v1.Pod) bool {
		s := containerStatus(p, "one")
		return s.RestartCount == 1 && s.State.Running != nil
	})
	if pod.Status.Phase != v1.PodRunning {
		t.Errorf("phase is %s", pod.Status.Phase)
	}
	w.exit(pod, "main", 0)
	pod = w.until("job", "succeeded", func(p *v1.Pod) bool { return p.Status.Phase == v1.PodSucceeded })
	one, two := containerStatus(pod, "one").State.Terminated, containerStatus(pod, "two").State.Terminated
	if one == nil || two == nil {
		t.Fatalf("sidecars run on: %+v", pod.Status.InitContainerStatuses)
	}
	if stopped := w.runtime.Stopped(); !slices.Equal(stopped, []string{"two", "one"}) {
		t.Errorf("sidecars were stopped in the order %v", stopped)
	}
}

func TestProbes(t *testing.T) {
	var ready, live atomic.Bool
	live.Store(true)
	w := newWorld(t, simulated.Options{Exec: func(_ string, command []string) (string, int) {
		ok := map[string]bool{"ready": ready.Load(), "live": live.Load(), "started": true}[command[0]]
		if !ok {
			return "no", 1
		}
		return "", 0
	}})
	probe := func(command string) *v1.Probe {
		return &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{command}}}, PeriodSeconds: 1, TimeoutSeconds: 1, FailureThreshold: 1, SuccessThreshold: 1}
	}
	w.create(newPod("web", v1.Container{Name: "main", StartupProbe: probe("started"), ReadinessProbe: probe("ready"), LivenessProbe: probe("live")}))
	pod := w.until("web", "started", func(p *v1.Pod) bool { s := containerStatus(p, "main"); return s.Started != nil && *s.Started })
	if isPodReady(pod) {
		t.Error("ready before its probe succeeded")
	}
	w.eventually(func() bool { return w.events.has("Warning Unhealthy Readiness probe failed: no") }, func() string { return "no event of readiness" })
	ready.Store(true)
	w.until("web", "ready", isPodReady)
	ready.Store(false)
	w.until("web", "not ready any more", func(p *v1.Pod) bool { return !isPodReady(p) })
	live.Store(false)
	for _, want := range []string{"Warning Unhealthy Liveness probe failed: no", "Normal Killing Container main failed liveness probe, will be restarted"} {
		w.eventually(func() bool { return w.events.has(want) }, func() string { return fmt.Sprintf("no event %q in %q", want, w.events.all()) })
	}
	live.Store(true)
	w.until("web", "restarted", func(p *v1.Pod) bool { return containerStatus(p, "main").RestartCount == 1 })
	ready.Store(true)
	w.until("web", "ready again", isPodReady)
}

func TestRestartedAgentDisturbsNothing(t *testing.T) {
	w := newWorld(t, simulated.Options{Exec: func(string, []string) (string, int) { return "", 0 }})
	pod := newPod("web", v1.Container{Name: "main", ReadinessProbe: &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"x"}}},
		PeriodSeconds: 60, TimeoutSeconds: 1, FailureThreshold: 1, SuccessThreshold: 1}})
	w.create(pod)
	w.create(newPod("deleted-meanwhile"))
	pod = w.until("web", "ready", isPodReady)
	gone := w.until("deleted-meanwhile", "ready", isPodReady)
	w.exit(pod, "main", 1)
	before := w.until("web", "ready again", func(p *v1.Pod) bool { return containerStatus(p, "main").RestartCount == 1 && isPodReady(p) })
	w.stop()
	if err := w.client.CoreV1().Pods("default").Delete(context.Background(), gone.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	starts := w.runtime.Calls("StartContainer")
	w.start()
	w.eventually(func() bool { return len(w.kubelet.cache.Get(gone.UID).Sandboxes) == 0 }, func() string { return "an orphan is left" })
	w.create(newPod("next"))
	w.until("next", "ready", isPodReady)
	after := w.pod("web")
	if !isPodReady(after) || containerStatus(after, "main").ContainerID != containerStatus(before, "main").ContainerID || containerStatus(after, "main").RestartCount != 1 {
		t.Errorf("status was %+v, is %+v", before.Status, after.Status)
	}
	if n := w.runtime.Calls("StartContainer") - starts; n != 1 {
		t.Errorf("%d containers were started, want one", n)
	}
	w.exit(after, "main", 1)
	w.until("web", "counting on", func(p *v1.Pod) bool { return containerStatus(p, "main").RestartCount == 2 })
}

func TestAdmission(t *testing.T) {
	w := newWorld(t, simulated.Options{})
	big := func(name v1.ResourceName, q string) []v1.Container {
		return []v1.Container{{Name: "main", Resources: v1.ResourceRequirements{Requests: v1.ResourceList{name: resource.MustParse(q)}}}}
	}
	port := []v1.Container{{Name: "main", Ports: []v1.ContainerPort{{ContainerPort: 80, HostPort: 8080}}}}
	w.create(newPod("has-port", port...))
	w.until("has-port", "ready", isPodReady)
	for _, c := range []struct {
		name            string
		pod             *v1.Pod
		reason, message string
	}{
		{"cpu", newPod("cpu", big(v1.ResourceCPU, "5")...), "OutOfcpu", "Node didn't have enough resource: cpu, requested: 5000, used: 0, capacity: 4000"},
		{"memory", newPod("memory", big(v1.ResourceMemory, "9Gi")...), "OutOfmemory", "Node didn't have enough resource: memory, requested: 9663676416, used: 0, capacity: 8589934592"},
		{"port", newPod("port", port...), "NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"},
		{"selector", func() *v1.Pod {
			p := newPod("selector")
			p.Spec.NodeSelector = map[string]string{"disk": "ssd"}
			return p
		}(),
			"NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.create(c.pod)
			pod := w.until(c.name, "failed", func(p *v1.Pod) bool { return p.Status.Phase == v1.PodFailed })
			if pod.Status.Reason != c.reason || pod.Status.Message != "Pod was rejected: "+c.message {
				t.Errorf("status says %s: %s", pod.Status.Reason, pod.Status.Message)
			}
			if !w.events.has("Warning " + c.reason + " " + c.message) {
				t.Errorf("no event in %q", w.events.all())
			}
			w.delete(c.name, 0)
			w.untilGone(c.name)
		})
	}
}

func TestDeadline(t *testing.T) {
	w := newWorld(t, simulated.Options{})
	pod := newPod("slow")
	second := int64(1)
	pod.Spec.ActiveDeadlineSeconds = &second
	w.create(pod)
	pod = w.until("slow", "failed", func(p *v1.Pod) bool { return p.Status.Phase == v1.PodFailed })
	if pod.Status.Reason != "DeadlineExceeded" || containerStatus(pod, "main").State.Running != nil {
		t.Errorf("status is %+v", pod.Status)
	}
}

func TestSandboxLost(t *testing.T) {
	w := newWorld(t, simulated.Options{})
	w.create(newPod("web"))
	pod := w.until("web", "ready", isPodReady)
	id, _ := w.kubelet.SandboxID(pod.UID)
	if err := w.runtime.StopPodSandbox(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	w.until("web", "in a new sandbox", func(p *v1.Pod) bool {
		now, _ := w.kubelet.SandboxID(pod.UID)
		return now != id && isPodReady(p) && containerStatus(p, "main").RestartCount == 1
	})
	if !w.events.has("Normal SandboxChanged Pod sandbox changed, it will be killed and re-created.") {
		t.Errorf("no SandboxChanged event in %q", w.events.all())
	}
}

func TestImageChange(t *testing.T) {
	w := newWorld(t, simulated.Options{})
	w.create(newPod("web"))
	pod := w.until("web", "ready", isPodReady)
	pod.Spec.Containers[0].Image = "registry.test/app:2"
	if _, err := w.client.CoreV1().Pods("default").Update(context.Background(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.until("web", "running the new image", func(p *v1.Pod) bool {
		s := containerStatus(p, "main")
		return s.State.Running != nil && s.RestartCount == 1 && s.Image == "registry.test/app:2"
	})
	if !w.events.has("Normal Killing Container main definition changed, will be restarted") {
		t.Errorf("no Killing event in %q", w.events.all())
	}
}

// A pod whose new image is on the node stays ready while its container is replaced.
func TestImageChangeDoesNotShow(t *testing.T) {
	w := newWorld(t, simulated.Options{})
	w.create(newPod("other", v1.Container{Name: "main", Image: "registry.test/app:2"}))
	w.until("other", "ready", isPodReady)
	w.create(newPod("web"))
	pod := w.until("web", "ready", isPodReady)
	watch, err := w.client.CoreV1().Pods("default").Watch(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	pod.Spec.Containers[0].Image = "registry.test/app:2"
	if _, err := w.client.CoreV1().Pods("default").Update(context.Background(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(patience)
	for {
		select {
		case e := <-watch.ResultChan():
			pod, ok := e.Object.(*v1.Pod)
			if !ok || pod.Name != "web" {
				continue
			}
			if !isPodReady(pod) {
				t.Fatalf("not ready with %+v", pod.Status.ContainerStatuses)
			}
			if containerStatus(pod, "main").RestartCount == 1 {
				return
			}
		case <-deadline:
			t.Fatal("the container was not replaced")
		}
	}
}

func TestEphemeralContainer(t *testing.T) {
	w := newWorld(t, simulated.Options{})
	w.create(newPod("web"))
	pod := w.until("web", "ready", isPodReady)
	pod.Spec.EphemeralContainers = []v1.EphemeralContainer{{TargetContainerName: "main",
		EphemeralContainerCommon: v1.EphemeralContainerCommon{Name: "debug", Image: "registry.test/tools:1", ImagePullPolicy: v1.PullIfNotPresent}}}
	if _, err := w.client.CoreV1().Pods("default").Update(context.Background(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.until("web", "running its ephemeral container", func(p *v1.Pod) bool {
		return len(p.Status.EphemeralContainerStatuses) == 1 && p.Status.EphemeralContainerStatuses[0].State.Running != nil
	})
	w.exit(pod, "debug", 0)
	pod = w.until("web", "done with it", func(p *v1.Pod) bool { return p.Status.EphemeralContainerStatuses[0].State.Terminated != nil })
	if !isPodReady(pod) {
		t.Error("the end of an ephemeral container made the pod unready")
	}
}

func TestHooks(t *testing.T) {
	var mu sync.Mutex
	var ran []string
	w := newWorld(t, simulated.Options{Exec: func(_ string, command []string) (string, int) {
		mu.Lock()
		defer mu.Unlock()
		ran = append(ran, command[0])
		if command[0] == "broken" {
			return "why", 1
		}
		return "", 0
	}})
	hook := func(command string) *v1.LifecycleHandler {
		return &v1.LifecycleHandler{Exec: &v1.ExecAction{Command: []string{command}}}
	}
	w.create(newPod("good", v1.Container{Name: "main", Lifecycle: &v1.Lifecycle{PostStart: hook("hello"), PreStop: hook("goodbye")}}))
	w.until("good", "ready", isPodReady)
	w.delete("good", 30)
	w.untilGone("good")
	mu.Lock()
	if !slices.Equal(ran, []string{"hello", "goodbye"}) {
		t.Errorf("hooks ran: %v", ran)
	}
	mu.Unlock()
	w.create(newPod("bad", v1.Container{Name: "main", Lifecycle: &v1.Lifecycle{PostStart: hook("broken")}}))
	w.until("bad", "restarting", func(p *v1.Pod) bool { return containerStatus(p, "main").RestartCount > 0 })
	if !w.events.has("Warning FailedPostStartHook PostStartHook failed") {
		t.Errorf("no FailedPostStartHook event in %q", w.events.all())
	}
}

func TestForcedDeletion(t *testing.T) {
	w := newWorld(t, simulated.Options{})
	w.create(newPod("web"))
	pod := w.until("web", "ready", isPodReady)
	if err := w.client.CoreV1().Pods("default").Delete(context.Background(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually(func() bool {
		return len(w.kubelet.cache.Get(pod.UID).Sandboxes) == 0 && !w.kubelet.workers.Known(pod.UID)
	},
		func() string { return "a pod that was removed from the API runs on" })
}

func TestManyPodsStartTogether(t *testing.T) {
	const count, each = 40, 100 * time.Millisecond
	w := newWorld(t, simulated.Options{StartDelay: each})
	begin := time.Now()
	for i := range count {
		w.create(newPod(fmt.Sprintf("web-%d", i)))
	}
	for i := range count {
		w.until(fmt.Sprintf("web-%d", i), "ready", isPodReady)
	}
	// Eight pods at once; one after another they would take 4 s.
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("%d pods took %v", count, took)
	}
}
