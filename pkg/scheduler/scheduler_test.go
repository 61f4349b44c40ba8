// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/pkg/scheduler/state"
)

// world is a scheduler at work on an API server in memory that knows what a binding does.
type world struct {
	t      *testing.T
	client *fake.Clientset
	binds  atomic.Int32
	// failBind is asked before each binding.
	failBind func(pod string) error
}

func newWorld(t *testing.T, objects ...runtime.Object) *world {
	t.Helper()
	w := &world{t: t, client: fake.NewClientset(objects...)}
	w.client.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if action.GetSubresource() != "binding" {
			return false, nil, nil
		}
		binding := action.(clienttesting.CreateAction).GetObject().(*v1.Binding)
		if w.failBind != nil {
			if err := w.failBind(binding.Name); err != nil {
				return true, nil, err
			}
		}
		w.binds.Add(1)
		tracker, gvr := w.client.Tracker(), v1.SchemeGroupVersion.WithResource("pods")
		object, err := tracker.Get(gvr, binding.Namespace, binding.Name)
		if err != nil {
			return true, nil, err
		}
		pod := object.(*v1.Pod).DeepCopy()
		pod.Spec.NodeName = binding.Target.Name
		return true, binding, tracker.Update(gvr, pod, binding.Namespace)
	})
	return w
}

// run starts the scheduler; it ends, and must leave nothing running, with the test.
func (w *world) run(options Options) *world {
	w.t.Helper()
	factory := informers.NewSharedInformerFactory(w.client, 0)
	options.Budgets = factory.Policy().V1().PodDisruptionBudgets()
	options.Budgets.Informer()
	s := New(w.client, factory, options)
	ctx, cancel := context.WithCancel(context.Background())
	factory.Start(ctx.Done())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
		factory.Shutdown()
	})
	return w
}

func (w *world) create(pod *v1.Pod) {
	w.t.Helper()
	if _, err := w.client.CoreV1().Pods(pod.Namespace).Create(w.t.Context(), pod, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) pod(name string) *v1.Pod {
	w.t.Helper()
	pod, err := w.client.CoreV1().Pods("default").Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return pod
}

// until waits for something to be so; what tells what it was.
func (w *world) until(what string, check func() bool) {
	w.t.Helper()
	err := wait.PollUntilContextTimeout(w.t.Context(), 2*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) { return check(), nil })
	if err != nil {
		w.t.Fatalf("waited in vain for %s", what)
	}
}

func (w *world) untilOn(name, node string) {
	w.t.Helper()
	w.until(name+" on "+node, func() bool { return w.pod(name).Spec.NodeName == node })
}

// untilEvent waits for an event about the object and returns its note.
func (w *world) untilEvent(name, reason string) string {
	w.t.Helper()
	var note string
	w.until("event "+reason+" of "+name, func() bool {
		list, err := w.client.EventsV1().Events("default").List(w.t.Context(), metav1.ListOptions{})
		if err != nil {
			w.t.Fatal(err)
		}
		i := slices.IndexFunc(list.Items, func(e eventsv1.Event) bool { return e.Regarding.Name == name && e.Reason == reason })
		if i >= 0 {
			note = list.Items[i].Note
		}
		return i >= 0
	})
	return note
}

func testNode(name, cpu string) *v1.Node {
	return &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1.LabelHostname: name}},
		Status: v1.NodeStatus{Allocatable: v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu),
			v1.ResourceMemory: resource.MustParse("4Gi"), v1.ResourcePods: resource.MustParse("1000")}}}
}

func testPod(name, cpu string, change ...func(*v1.Pod)) *v1.Pod {
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name)}}
	pod.Spec.SchedulerName = DefaultName
	pod.Spec.Containers = []v1.Container{{Name: "c", Image: "i", Resources: v1.ResourceRequirements{
		Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu)}}}}
	for _, c := range change {
		c(pod)
	}
	return pod
}

func onNode(name string) func(*v1.Pod) { return func(p *v1.Pod) { p.Spec.NodeName = name } }
func priority(n int32) func(*v1.Pod)   { return func(p *v1.Pod) { p.Spec.Priority = ptr.To(n) } }

func TestBinds(t *testing.T) {
	w := newWorld(t, testNode("a", "1")).run(Options{})
	w.create(testPod("p", "1"))
	w.untilOn("p", "a")
	if got, want := w.untilEvent("p", "Scheduled"), "Successfully assigned default/p to a"; got != want {
		t.Errorf("event %q, want %q", got, want)
	}
}

func TestLeavesOtherPodsAlone(t *testing.T) {
	w := newWorld(t, testNode("a", "8")).run(Options{})
	w.create(testPod("theirs", "1", func(p *v1.Pod) { p.Spec.SchedulerName = "another" }))
	w.create(testPod("gated", "1", func(p *v1.Pod) { p.Spec.SchedulingGates = []v1.PodSchedulingGate{{Name: "g"}} }))
	w.create(testPod("ended", "1", func(p *v1.Pod) { p.Status.Phase = v1.PodFailed }))
	w.create(testPod("ours", "1"))
	w.untilOn("ours", "a")
	if n := w.binds.Load(); n != 1 {
		t.Errorf("%d bindings, want 1", n)
	}
	open := w.pod("gated")
	open.Spec.SchedulingGates = nil
	if _, err := w.client.CoreV1().Pods("default").Update(t.Context(), open, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.untilOn("gated", "a")
}

func TestFailedScheduling(t *testing.T) {
	tainted := testNode("tainted", "4")
	tainted.Spec.Taints = []v1.Taint{{Key: "k", Effect: v1.TaintEffectNoSchedule}}
	const noHelp = "no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
	for _, test := range []struct {
		name    string
		objects []runtime.Object
		pod     *v1.Pod
		want    string
	}{
		{"no nodes", nil, testPod("p", "1"), "no nodes available to schedule pods"},
		{"more than any node has", []runtime.Object{testNode("a", "1")}, testPod("p", "2"),
			"0/1 nodes are available: 1 Insufficient cpu. " + noHelp},
		{"nobody less important", []runtime.Object{testNode("a", "1"), testPod("q", "1", onNode("a"))}, testPod("p", "1"),
			"0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."},
		{"never preempts", []runtime.Object{testNode("a", "1"), testPod("q", "1", onNode("a"))},
			testPod("p", "1", priority(9), func(p *v1.Pod) { p.Spec.PreemptionPolicy = ptr.To(v1.PreemptNever) }),
			"0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never."},
		{"two reasons", []runtime.Object{testNode("a", "1"), tainted}, testPod("p", "2"),
			"0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."},
		{"claim missing", []runtime.Object{testNode("a", "1")}, testPod("p", "1", claims("data")),
			`0/1 nodes are available: persistentvolumeclaim "data" not found. ` + noHelp},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.objects...).run(Options{})
			w.create(test.pod)
			if got := w.untilEvent("p", "FailedScheduling"); got != test.want {
				t.Errorf("event\n%q, want\n%q", got, test.want)
			}
			w.until("condition", func() bool { return len(w.pod("p").Status.Conditions) > 0 })
			c := w.pod("p").Status.Conditions[0]
			if c.Type != v1.PodScheduled || c.Status != v1.ConditionFalse || c.Reason != v1.PodReasonUnschedulable || c.Message != test.want {
				t.Errorf("condition %+v", c)
			}
		})
	}
}

// TestPlacedPodIsToldNothing writes notices whose pods have got a node, have gone, or were made anew while the notices waited.
func TestPlacedPodIsToldNothing(t *testing.T) {
	waiting, placed, anew := testPod("waiting", "1"), testPod("placed", "1"), testPod("anew", "1")
	placed.Spec.NodeName, anew.UID = "a", "another"
	client := fake.NewClientset(waiting, placed, anew)
	factory := informers.NewSharedInformerFactory(client, 0)
	s := New(client, factory, Options{Budgets: factory.Policy().V1().PodDisruptionBudgets()})
	ctx, cancel := context.WithCancel(t.Context())
	factory.Start(ctx.Done())
	t.Cleanup(factory.Shutdown)
	t.Cleanup(cancel)
	factory.WaitForCacheSync(ctx.Done())
	for _, name := range []string{"waiting", "placed", "anew", "gone"} {
		if err := s.patchUnplaced(ctx, notice{pod: testPod(name, "1"), condition: v1.PodCondition{Type: v1.PodScheduled}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	told := []string{}
	for _, a := range client.Actions() {
		if patch, ok := a.(clienttesting.PatchAction); ok {
			told = append(told, patch.GetName())
		}
	}
	if !slices.Equal(told, []string{"waiting"}) {
		t.Errorf("told %q, want the one that waits", told)
	}
}

func claims(name string) func(*v1.Pod) {
	return func(p *v1.Pod) {
		p.Spec.Volumes = []v1.Volume{{Name: name, VolumeSource: v1.VolumeSource{
			PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: name}}}}
	}
}

// TestWakes lets a pod fail, and then changes the cluster so that it fits.
func TestWakes(t *testing.T) {
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	cordoned := testNode("a", "1")
	cordoned.Spec.Unschedulable = true
	for _, test := range []struct {
		name    string
		objects []runtime.Object
		change  func(t *testing.T, w *world)
	}{
		{"a node comes", nil, func(t *testing.T, w *world) {
			_, err := w.client.CoreV1().Nodes().Create(t.Context(), testNode("a", "1"), metav1.CreateOptions{})
			must(t, err)
		}},
		{"a node grows", []runtime.Object{testNode("a", "500m")}, func(t *testing.T, w *world) {
			_, err := w.client.CoreV1().Nodes().Update(t.Context(), testNode("a", "1"), metav1.UpdateOptions{})
			must(t, err)
		}},
		{"a node is uncordoned", []runtime.Object{cordoned}, func(t *testing.T, w *world) {
			_, err := w.client.CoreV1().Nodes().Update(t.Context(), testNode("a", "1"), metav1.UpdateOptions{})
			must(t, err)
		}},
		{"a pod goes", []runtime.Object{testNode("a", "1"), testPod("q", "1", onNode("a"))}, func(t *testing.T, w *world) {
			must(t, w.client.CoreV1().Pods("default").Delete(t.Context(), "q", metav1.DeleteOptions{}))
		}},
		{"a pod ends", []runtime.Object{testNode("a", "1"), testPod("q", "1", onNode("a"))}, func(t *testing.T, w *world) {
			_, err := w.client.CoreV1().Pods("default").Update(t.Context(), testPod("q", "1", onNode("a"), func(p *v1.Pod) { p.Status.Phase = v1.PodSucceeded }), metav1.UpdateOptions{})
			must(t, err)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.objects...).run(Options{})
			w.create(testPod("p", "1"))
			w.untilEvent("p", "FailedScheduling")
			test.change(t, w)
			w.untilOn("p", "a")
		})
	}
}

func TestBindErrorIsRetried(t *testing.T) {
	w := newWorld(t, testNode("a", "1"))
	var failed atomic.Bool
	w.failBind = func(string) error {
		if failed.CompareAndSwap(false, true) {
			return errors.New("no quorum")
		}
		return nil
	}
	w.run(Options{})
	w.create(testPod("p", "1"))
	if note := w.untilEvent("p", "FailedScheduling"); note != `running Bind plugin "DefaultBinder": no quorum` {
		t.Errorf("event %q", note)
	}
	w.untilOn("p", "a")
}

func TestPreemption(t *testing.T) {
	budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: "default"},
		Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "guarded"}}}}
	guarded := func(p *v1.Pod) { p.Labels = map[string]string{"app": "guarded"} }
	for _, test := range []struct {
		name    string
		objects []runtime.Object
		node    string
		victims []string
	}{
		{"as few as it takes", []runtime.Object{testNode("a", "3"), testPod("q", "1", onNode("a"), priority(1)),
			testPod("r", "1", onNode("a"), priority(2)), testPod("s", "1", onNode("a"), priority(3))}, "a", []string{"q", "r"}},
		{"the node where least is lost", []runtime.Object{testNode("a", "2"), testNode("b", "2"),
			testPod("q", "2", onNode("a"), priority(5)), testPod("r", "2", onNode("b"), priority(4))}, "b", []string{"r"}},
		{"not whom a budget protects", []runtime.Object{testNode("a", "2"), testNode("b", "2"), budget,
			testPod("q", "2", onNode("a"), priority(1), guarded), testPod("r", "2", onNode("b"), priority(4))}, "b", []string{"r"}},
		{"if need be, whom a budget protects", []runtime.Object{testNode("a", "2"), budget, testPod("q", "2", onNode("a"), guarded)}, "a", []string{"q"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.objects...).run(Options{})
			before, err := w.client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			w.create(testPod("p", "2", priority(9)))
			w.untilOn("p", test.node)
			var gone []string
			for _, p := range before.Items {
				if _, err := w.client.CoreV1().Pods("default").Get(t.Context(), p.Name, metav1.GetOptions{}); err != nil {
					gone = append(gone, p.Name)
				}
			}
			if !slices.Equal(gone, test.victims) {
				t.Errorf("victims %v, want %v", gone, test.victims)
			}
			if note := w.untilEvent(test.victims[0], "Preempted"); note != "Preempted by pod p on node "+test.node {
				t.Errorf("event %q", note)
			}
		})
	}
}

// TestNominatedNodeIsKept has a less important pod not slip into the room that was made for another.
func TestNominatedNodeIsKept(t *testing.T) {
	w := newWorld(t, testNode("a", "1"), testPod("waiting", "1", priority(5), func(p *v1.Pod) {
		p.Status.NominatedNodeName = "a"
		p.Spec.SchedulingGates = []v1.PodSchedulingGate{{Name: "hold"}}
	})).run(Options{})
	w.create(testPod("lesser", "1"))
	if note := w.untilEvent("lesser", "FailedScheduling"); !strings.HasPrefix(note, "0/1 nodes are available: 1 Insufficient cpu.") {
		t.Errorf("event %q", note)
	}
	w.create(testPod("greater", "1", priority(9)))
	w.untilOn("greater", "a")
}

func TestWaitsForVolume(t *testing.T) {
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "local"}, Provisioner: "hivemind.dev/local",
		VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer)}
	claim := &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data", Namespace: "default", UID: "data"},
		Spec: v1.PersistentVolumeClaimSpec{StorageClassName: ptr.To("local"), AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}}}
	w := newWorld(t, testNode("a", "1"), class, claim).run(Options{})
	w.create(testPod("p", "1", claims("data")))
	pvcs := w.client.CoreV1().PersistentVolumeClaims("default")
	var chosen *v1.PersistentVolumeClaim
	w.until("selected node", func() bool {
		var err error
		if chosen, err = pvcs.Get(t.Context(), "data", metav1.GetOptions{}); err != nil {
			t.Fatal(err)
		}
		return chosen.Annotations[volume.AnnSelectedNode] == "a"
	})
	if node := w.pod("p").Spec.NodeName; node != "" {
		t.Fatalf("bound to %s before its volume was there", node)
	}
	if _, err := w.client.CoreV1().PersistentVolumes().Create(t.Context(), &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bound := chosen.DeepCopy()
	bound.Spec.VolumeName = "pv"
	bound.Annotations[volume.AnnBindCompleted] = "yes"
	if _, err := pvcs.Update(t.Context(), bound, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.untilOn("p", "a")
}

func TestMessageIsShortened(t *testing.T) {
	if got := shorten(strings.Repeat("x", 2000)); len(got) != longestNote || !strings.HasSuffix(got, " ...") {
		t.Errorf("%d characters, end %q", len(got), got[len(got)-4:])
	}
}

func BenchmarkCycle(b *testing.B) {
	for _, nodes := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
			s := New(fake.NewClientset(), factory, Options{})
			for i := range nodes {
				s.cluster.SetNode(testNode(fmt.Sprint("n", i), "1000000"))
			}
			template := testPod("p", "1m")
			b.ResetTimer()
			for i := range b.N {
				object := *template
				object.UID = types.UID(fmt.Sprint(i))
				pod, err := state.NewPod(&object)
				if err != nil {
					b.Fatal(err)
				}
				if _, f := s.search(pod); f != nil && !strings.Contains(f.message, "Too many pods") {
					b.Fatal(f.message)
				}
				if i%500 == 499 { // a node holds no more
					b.StopTimer()
					for j := i - 499; j <= i; j++ {
						s.cluster.DeletePod(types.UID(fmt.Sprint(j)))
					}
					b.StartTimer()
				}
			}
		})
	}
}
