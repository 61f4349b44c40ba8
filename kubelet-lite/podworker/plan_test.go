// SPDX-License-Identifier: Apache-2.0

package podworker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/hivemind-project/hivemind/kubelet-lite/criconfig"
	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
	"github.com/hivemind-project/hivemind/kubelet-lite/prober"
)

func podOf(policy v1.RestartPolicy, names ...string) *v1.Pod {
	pod := &v1.Pod{Spec: v1.PodSpec{RestartPolicy: policy}}
	for _, name := range names {
		switch kind, name, _ := strings.Cut(name, ":"); kind {
		case "init":
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, v1.Container{Name: name})
		case "sidecar":
			always := v1.ContainerRestartPolicyAlways
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, v1.Container{Name: name, RestartPolicy: &always})
		default:
			pod.Spec.Containers = append(pod.Spec.Containers, v1.Container{Name: kind})
		}
	}
	return pod
}

// runtimeOf builds a state from words: s (a ready sandbox), s! (one that stopped), name (runs), name=3 (ended with 3), name? (created).
// Containers belong to the sandbox before them; the last sandbox is the newest.
func runtimeOf(words string) *pleg.Pod {
	p := &pleg.Pod{}
	clock := time.Unix(1000, 0)
	sandbox := ""
	for i, word := range strings.Fields(words) {
		clock = clock.Add(time.Second)
		if word == "s" || word == "s!" {
			sandbox = fmt.Sprint("s", i)
			box := pleg.Sandbox{ID: sandbox, Ready: word == "s", IPs: []string{"10.0.0.1"}, CreatedAt: clock}
			if len(p.Sandboxes) > 0 {
				box.Attempt = p.Sandboxes[0].Attempt + 1
			}
			p.Sandboxes = append([]pleg.Sandbox{box}, p.Sandboxes...)
			continue
		}
		c := pleg.Container{SandboxID: sandbox, CreatedAt: clock, FinishedAt: clock}
		name, code, ended := strings.Cut(word, "=")
		switch {
		case ended:
			c.State = pleg.Exited
			fmt.Sscan(code, &c.ExitCode)
		case strings.HasSuffix(name, "?"):
			name = strings.TrimSuffix(name, "?")
		default:
			c.State = pleg.Running
		}
		c.Name, c.ID = name, name
		p.Containers = append([]pleg.Container{c}, p.Containers...)
	}
	return p
}

func (a actions) String() string {
	var words []string
	if a.finished {
		words = append(words, "finished")
	}
	if a.createSandbox {
		words = append(words, fmt.Sprint("sandbox#", a.attempt))
	}
	for _, k := range a.kill {
		words = append(words, "kill "+k.spec.Name)
	}
	for _, s := range a.start {
		words = append(words, "start "+s.container.Name)
	}
	for _, r := range a.resize {
		words = append(words, "resize "+r.spec.Name)
	}
	return strings.Join(words, ", ")
}

func TestPlan(t *testing.T) {
	always, onFailure, never := v1.RestartPolicyAlways, v1.RestartPolicyOnFailure, v1.RestartPolicyNever
	for _, c := range []struct {
		name    string
		pod     *v1.Pod
		runtime string
		want    string
	}{
		{"new", podOf(always, "a"), "", "sandbox#0"},
		{"sandbox is there", podOf(always, "a", "b"), "s", "start a, start b"},
		{"runs", podOf(always, "a"), "s a", ""},
		{"ended", podOf(always, "a"), "s a=0", "start a"},
		{"created and never started", podOf(always, "a"), "s a?", "start a"},
		{"one of two ended", podOf(always, "a", "b"), "s a b=1", "start b"},
		{"failed, on failure", podOf(onFailure, "a"), "s a=1", "start a"},
		{"done, on failure", podOf(onFailure, "a"), "s a=0", "finished"},
		{"one done, one runs", podOf(onFailure, "a", "b"), "s a=0 b", ""},
		{"failed, never", podOf(never, "a"), "s a=1", "finished"},
		{"sandbox lost", podOf(always, "a"), "s! a=137", "sandbox#1"},
		{"sandbox lost while it runs", podOf(always, "a"), "s! a", "sandbox#1"},
		{"sandbox lost, done", podOf(onFailure, "a"), "s! a=0", "finished"},
		{"sandbox lost, never", podOf(never, "a"), "s! a=137", "finished"},
		{"sandbox lost before anything ran, never", podOf(never, "a"), "s!", "sandbox#1"},
		{"new sandbox, done before", podOf(onFailure, "a", "b"), "s! a=0 b=1 s", "start b"},
		{"two sandboxes", podOf(always, "a"), "s s", "sandbox#2"},
		{"init first", podOf(always, "init:i", "a"), "s", "start i"},
		{"init runs", podOf(always, "init:i", "a"), "s i", ""},
		{"init done", podOf(always, "init:i", "init:j", "a"), "s i=0", "start j"},
		{"all init done", podOf(always, "init:i", "init:j", "a"), "s i=0 j=0", "start a"},
		{"init failed", podOf(always, "init:i", "a"), "s i=1", "start i"},
		{"init failed, never", podOf(never, "init:i", "a"), "s i=1", "finished"},
		{"init again in a new sandbox", podOf(always, "init:i", "a"), "s! i=0 a=137 s", "start i"},
		{"init removed, container runs", podOf(always, "init:i", "a"), "s a", ""},
		{"init removed, container ended", podOf(always, "init:i", "a"), "s a=1", "start a"},
		{"sidecar first", podOf(always, "sidecar:x", "init:i", "a"), "s", "start x"},
		{"sidecar up", podOf(always, "sidecar:x", "init:i", "a"), "s x", "start i"},
		{"sidecar down during init", podOf(always, "sidecar:x", "init:i", "a"), "s x=1", "start x"},
		{"sidecar down later", podOf(never, "sidecar:x", "a"), "s x=0 a", "start x"},
		{"container done, sidecar runs", podOf(never, "sidecar:x", "a"), "s x a=0", "finished"},
		{"container done, sidecar down", podOf(never, "sidecar:x", "a"), "s x=1 a=0", "finished"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := plan(c.pod, runtimeOf(c.runtime), world{
				failed:   func(string) (prober.Kind, bool) { return "", false },
				started:  func(string) bool { return true },
				stopping: func(string) bool { return false },
			})
			if got.String() != c.want {
				t.Errorf("planned %q, want %q", got, c.want)
			}
		})
	}
}

func TestPlanWaitsForStartedSidecar(t *testing.T) {
	w := world{failed: func(string) (prober.Kind, bool) { return "", false }, started: func(string) bool { return false }, stopping: func(string) bool { return false }}
	if got := plan(podOf(v1.RestartPolicyAlways, "sidecar:x", "a"), runtimeOf("s x"), w); got.String() != "" {
		t.Errorf("planned %q before the sidecar had started", got)
	}
}

func TestPlanKills(t *testing.T) {
	grace := int64(7)
	probe := &v1.Probe{TerminationGracePeriodSeconds: &grace}
	for _, c := range []struct {
		name    string
		policy  v1.RestartPolicy
		failed  prober.Kind
		hash    string
		message string
		grace   bool
	}{
		{"liveness", v1.RestartPolicyAlways, prober.Liveness, "", "Container a failed liveness probe, will be restarted", true},
		{"liveness, never", v1.RestartPolicyNever, prober.Liveness, "", "Container a failed liveness probe", true},
		{"startup", v1.RestartPolicyOnFailure, prober.Startup, "", "Container a failed startup probe, will be restarted", true},
		{"image changed", v1.RestartPolicyNever, "", "other", "Container a definition changed, will be restarted", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := podOf(c.policy, "a")
			pod.Spec.Containers[0].LivenessProbe, pod.Spec.Containers[0].StartupProbe = probe, probe
			runtime := runtimeOf("s a")
			runtime.Containers[0].Hash = c.hash
			w := world{started: func(string) bool { return true }, stopping: func(string) bool { return false },
				failed: func(string) (prober.Kind, bool) { return c.failed, c.failed != "" }}
			got := plan(pod, runtime, w)
			if len(got.kill) != 1 || got.kill[0].message != c.message || (got.kill[0].grace == &grace) != c.grace {
				t.Fatalf("kills %+v", got.kill)
			}
			w.stopping = func(string) bool { return true }
			if got := plan(pod, runtime, w); len(got.kill) != 0 {
				t.Errorf("kills twice: %+v", got.kill)
			}
		})
	}
}

func TestPlanResizes(t *testing.T) {
	pod := podOf(v1.RestartPolicyAlways, "a")
	c := &pod.Spec.Containers[0]
	c.Resources.Limits = v1.ResourceList{v1.ResourceMemory: resource.MustParse("64Mi")}
	runtime := runtimeOf("s a")
	runtime.Containers[0].Resources = criconfig.Resizable(pod, c)
	w := world{failed: func(string) (prober.Kind, bool) { return "", false }, started: func(string) bool { return true }, stopping: func(string) bool { return false }}
	if got := plan(pod, runtime, w); got.String() != "" {
		t.Errorf("planned %q where nothing changed", got)
	}
	c.Resources.Limits = v1.ResourceList{v1.ResourceMemory: resource.MustParse("128Mi")}
	got := plan(pod, runtime, w)
	if got.String() != "resize a" || got.resize[0].restart {
		t.Errorf("planned %q", got)
	}
	c.ResizePolicy = []v1.ContainerResizePolicy{{ResourceName: v1.ResourceMemory, RestartPolicy: v1.RestartContainer}}
	if got := plan(pod, runtime, w); len(got.resize) != 1 || !got.resize[0].restart {
		t.Errorf("planned %q, without a restart", got)
	}
}
