// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func podWith(containers ...string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
	for _, name := range containers {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: name})
	}
	return pod
}

func TestChooseContainer(t *testing.T) {
	debugged := podWith("a")
	debugged.Spec.InitContainers = []corev1.Container{{Name: "init"}}
	debugged.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "shell"}}}
	for _, tt := range []struct {
		name, asked string
		pod         *corev1.Pod
		want, err   string
	}{
		{"the only one", "", podWith("a"), "a", ""},
		{"by name", "b", podWith("a", "b"), "b", ""},
		{"init container by name", "init", debugged, "init", ""},
		{"ephemeral container by name", "shell", debugged, "shell", ""},
		{"others do not count when none is named", "", debugged, "a", ""},
		{"several", "", podWith("a", "b"), "", "a container name must be specified for pod p, choose one of: [a b]"},
		{"unknown", "c", podWith("a", "b"), "", "container c is not valid for pod p"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := chooseContainer(tt.pod, tt.asked)
			if got != tt.want || text(err) != tt.err {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestValidateLogOptions(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options corev1.PodLogOptions
		want    string
	}{
		{"nothing asked", corev1.PodLogOptions{}, ""},
		{"no lines", corev1.PodLogOptions{TailLines: ptr.To[int64](0)}, ""},
		{"negative tail", corev1.PodLogOptions{TailLines: ptr.To[int64](-1)}, "tailLines: Invalid value: -1: must be greater than or equal to 0"},
		{"no bytes", corev1.PodLogOptions{LimitBytes: ptr.To[int64](0)}, "limitBytes: Invalid value: 0: must be greater than 0"},
		{"no seconds", corev1.PodLogOptions{SinceSeconds: ptr.To[int64](0)}, "sinceSeconds: Invalid value: 0: must be greater than 0"},
		{"two starts", corev1.PodLogOptions{SinceSeconds: ptr.To[int64](1), SinceTime: &metav1.Time{}}, "[]: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"},
		{"no such stream", corev1.PodLogOptions{Stream: ptr.To("Both")}, `stream: Unsupported value: "Both": supported values: "All", "Stderr", "Stdout"`},
		{"tail of one stream", corev1.PodLogOptions{Stream: ptr.To(corev1.LogStreamStdout), TailLines: ptr.To[int64](1)}, "[]: Forbidden: `tailLines` and specific `stream` are mutually exclusive for now"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if errs := validateLogOptions(&tt.options); len(errs) > 0 {
				got = errs.ToAggregate().Error()
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestConvertQuery(t *testing.T) {
	values, err := url.ParseQuery("container=c&follow&previous=false&sinceSeconds=5&tailLines=7&sinceTime=2026-01-02T03:04:05Z&limitBytes=9&unknown=x")
	if err != nil {
		t.Fatal(err)
	}
	got := &corev1.PodLogOptions{}
	if err := convertQuery(&values, got, nil); err != nil {
		t.Fatal(err)
	}
	at := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	want := &corev1.PodLogOptions{Container: "c", Follow: true, SinceSeconds: ptr.To[int64](5), TailLines: ptr.To[int64](7), SinceTime: &at, LimitBytes: ptr.To[int64](9)}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b metav1.Time) bool { return a.Equal(&b) })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	exec := &corev1.PodExecOptions{}
	if err := convertQuery(&url.Values{"command": {"ls", "-l"}, "stdout": {"1"}, "tty": {"true"}}, exec, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&corev1.PodExecOptions{Command: []string{"ls", "-l"}, Stdout: true, TTY: true}, exec); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	ports := &corev1.PodPortForwardOptions{}
	if err := convertQuery(&url.Values{"ports": {"80,443"}}, ports, nil); err != nil || !cmp.Equal(ports.Ports, []int32{80, 443}) {
		t.Errorf("ports %v, %v", ports.Ports, err)
	}
	if err := convertQuery(&url.Values{"sinceTime": {"yesterday"}}, got, nil); err == nil {
		t.Error("a time that is none is taken")
	}
}

func TestPodGracePeriod(t *testing.T) {
	pod := func(node string, phase corev1.PodPhase, spec *int64) *corev1.Pod {
		return &corev1.Pod{Spec: corev1.PodSpec{NodeName: node, TerminationGracePeriodSeconds: spec}, Status: corev1.PodStatus{Phase: phase}}
	}
	for _, tt := range []struct {
		name  string
		pod   *corev1.Pod
		asked *int64
		want  int64
	}{
		{"its own", pod("n", corev1.PodRunning, ptr.To[int64](30)), nil, 30},
		{"what is asked", pod("n", corev1.PodRunning, ptr.To[int64](30)), ptr.To[int64](5), 5},
		{"at once", pod("n", corev1.PodRunning, ptr.To[int64](30)), ptr.To[int64](0), 0},
		{"negative", pod("n", corev1.PodRunning, ptr.To[int64](30)), ptr.To[int64](-1), 1},
		{"on no node", pod("", corev1.PodPending, ptr.To[int64](30)), ptr.To[int64](5), 0},
		{"ended", pod("n", corev1.PodSucceeded, ptr.To[int64](30)), nil, 0},
	} {
		if got := podGracePeriod(tt.pod, &metav1.DeleteOptions{GracePeriodSeconds: tt.asked}); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestBind(t *testing.T) {
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p", Annotations: map[string]string{"a": "b"}, Labels: map[string]string{"zone": "z"}}, Target: corev1.ObjectReference{Name: "n"}}
	gated, going, bound := podWith("a"), podWith("a"), podWith("a")
	gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}}
	going.DeletionTimestamp = &metav1.Time{}
	bound.Spec.NodeName = "other"
	for _, tt := range []struct {
		pod *corev1.Pod
		err string
	}{
		{podWith("a"), ""},
		{gated, "pod p has non-empty .spec.schedulingGates"},
		{going, "pod p is being deleted, cannot be assigned to a host"},
		{bound, `pod p is already assigned to node "other"`},
	} {
		if err := bind(tt.pod, binding); text(err) != tt.err {
			t.Errorf("got %v, want %q", err, tt.err)
		}
	}
	pod := podWith("a")
	pod.Status.NominatedNodeName = "m"
	if err := bind(pod, binding); err != nil {
		t.Fatal(err)
	}
	if pod.Spec.NodeName != "n" || pod.Status.NominatedNodeName != "" || pod.Annotations["a"] != "b" || pod.Labels["zone"] != "z" {
		t.Errorf("bound: %+v", pod)
	}
	if c := pod.Status.Conditions; len(c) != 1 || c[0].Type != corev1.PodScheduled || c[0].Status != corev1.ConditionTrue {
		t.Errorf("conditions %v", c)
	}
}
