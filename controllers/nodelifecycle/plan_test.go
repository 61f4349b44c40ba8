// SPDX-License-Identifier: Apache-2.0

package nodelifecycle

import (
	"slices"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

type nodeOption func(*v1.Node)

func newNode(name string, options ...nodeOption) *v1.Node {
	n := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "node-uid"}}
	for _, o := range options {
		o(n)
	}
	return n
}

func is(kind v1.NodeConditionType, status v1.ConditionStatus) nodeOption {
	return func(n *v1.Node) {
		n.Status.Conditions = append(n.Status.Conditions, v1.NodeCondition{Type: kind, Status: status, LastHeartbeatTime: metav1.Unix(1, 0)})
	}
}

func tainted(key string, effect v1.TaintEffect) nodeOption {
	return func(n *v1.Node) { n.Spec.Taints = append(n.Spec.Taints, v1.Taint{Key: key, Effect: effect}) }
}

func inZone(zone string) nodeOption {
	return func(n *v1.Node) { n.Labels = map[string]string{v1.LabelTopologyZone: zone} }
}

func TestTaintsFor(t *testing.T) {
	ready, down, unknown := is(v1.NodeReady, v1.ConditionTrue), is(v1.NodeReady, v1.ConditionFalse), is(v1.NodeReady, v1.ConditionUnknown)
	const keep, away = v1.TaintEffectNoExecute, v1.TaintEffectNoSchedule
	for _, test := range []struct {
		name    string
		node    *v1.Node
		company disruption
		want    []string // nil: nothing to do
	}{
		{"well", newNode("n", ready), healthy, nil},
		{"no conditions yet", newNode("n"), healthy, nil},
		{"not ready", newNode("n", down), healthy, []string{"node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"}},
		{"not ready, and it says so", newNode("n", down, tainted(v1.TaintNodeNotReady, away), tainted(v1.TaintNodeNotReady, keep)), healthy, nil},
		{"unreachable", newNode("n", unknown), healthy, []string{"node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"}},
		{"from not ready to unreachable", newNode("n", unknown, tainted(v1.TaintNodeNotReady, away), tainted(v1.TaintNodeNotReady, keep)), healthy,
			[]string{"node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"}},
		{"well again", newNode("n", ready, tainted(v1.TaintNodeUnreachable, away), tainted(v1.TaintNodeUnreachable, keep)), healthy, []string{}},
		{"alone in trouble with all others", newNode("n", unknown), full, []string{"node.kubernetes.io/unreachable:NoSchedule"}},
		{"then nobody is evicted any more", newNode("n", unknown, tainted(v1.TaintNodeUnreachable, away), tainted(v1.TaintNodeUnreachable, keep)), full,
			[]string{"node.kubernetes.io/unreachable:NoSchedule"}},
		{"with most of the zone: nobody else is evicted", newNode("n", unknown), partial, []string{"node.kubernetes.io/unreachable:NoSchedule"}},
		{"with most of the zone: who is being evicted goes on", newNode("n", unknown, tainted(v1.TaintNodeUnreachable, away), tainted(v1.TaintNodeUnreachable, keep)), partial, nil},
		{"pressure", newNode("n", ready, is(v1.NodeMemoryPressure, v1.ConditionTrue), is(v1.NodeDiskPressure, v1.ConditionFalse)), healthy,
			[]string{"node.kubernetes.io/memory-pressure:NoSchedule"}},
		{"pressure gone", newNode("n", ready, is(v1.NodeDiskPressure, v1.ConditionFalse), tainted(v1.TaintNodeDiskPressure, away)), healthy, []string{}},
		{"cordoned", newNode("n", ready, func(n *v1.Node) { n.Spec.Unschedulable = true }), healthy, []string{"node.kubernetes.io/unschedulable:NoSchedule"}},
		{"somebody's own taints are left alone", newNode("n", ready, tainted("mine", keep), tainted(v1.TaintNodeUnschedulable, away)), healthy, []string{"mine:NoExecute"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			taints := taintsFor(test.node, test.company, metav1.Unix(9, 0))
			if (taints == nil) != (test.want == nil) {
				t.Fatalf("got %v, want %v", taints, test.want)
			}
			var got []string
			for _, taint := range taints {
				got = append(got, taint.Key+":"+string(taint.Effect))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestDisrupted(t *testing.T) {
	up, down := is(v1.NodeReady, v1.ConditionTrue), is(v1.NodeReady, v1.ConditionUnknown)
	n := newNode("n", down, inZone("a"))
	for _, test := range []struct {
		name string
		all  []*v1.Node
		want disruption
	}{
		{"the only node", []*v1.Node{n}, full},
		{"one of two", []*v1.Node{n, newNode("o", up, inZone("a"))}, healthy},
		{"the whole zone, which is small", []*v1.Node{n, newNode("o", up, inZone("b"))}, healthy},
		{"most of the zone", []*v1.Node{n, newNode("o", down, inZone("a")), newNode("p", down, inZone("a")), newNode("q", up, inZone("a"))}, partial},
		{"other zones do not count", []*v1.Node{n, newNode("o", down, inZone("b")), newNode("p", down, inZone("b")), newNode("q", up, inZone("a"))}, healthy},
		{"everywhere", []*v1.Node{n, newNode("o", down, inZone("b"))}, full},
	} {
		if got := disrupted(n, test.all); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
	}
}

func TestStay(t *testing.T) {
	unreachable, mine := v1.Taint{Key: v1.TaintNodeUnreachable, Effect: v1.TaintEffectNoExecute}, v1.Taint{Key: "mine", Effect: v1.TaintEffectNoExecute}
	forever := v1.Toleration{Key: v1.TaintNodeUnreachable, Operator: v1.TolerationOpExists}
	seconds := func(key string, n int64) v1.Toleration {
		return v1.Toleration{Key: key, Operator: v1.TolerationOpExists, Effect: v1.TaintEffectNoExecute, TolerationSeconds: ptr.To(n)}
	}
	for _, test := range []struct {
		name        string
		taints      []v1.Taint
		tolerations []v1.Toleration
		left        time.Duration
		evict       bool
	}{
		{"no taints", nil, nil, 0, false},
		{"not tolerated", []v1.Taint{unreachable}, nil, 0, true},
		{"tolerated for ever", []v1.Taint{unreachable}, []v1.Toleration{forever}, 0, false},
		{"tolerated for a while", []v1.Taint{unreachable}, []v1.Toleration{seconds(v1.TaintNodeUnreachable, 300)}, 5 * time.Minute, true},
		{"the shortest counts", []v1.Taint{unreachable, mine}, []v1.Toleration{seconds(v1.TaintNodeUnreachable, 300), seconds("mine", 10)}, 10 * time.Second, true},
		{"one of two not tolerated", []v1.Taint{unreachable, mine}, []v1.Toleration{forever}, 0, true},
		{"no time at all", []v1.Taint{unreachable}, []v1.Toleration{seconds(v1.TaintNodeUnreachable, -1)}, 0, true},
		{"everything tolerated", []v1.Taint{unreachable, mine}, []v1.Toleration{{Operator: v1.TolerationOpExists}}, 0, false},
	} {
		if left, evict := stay(test.taints, test.tolerations); left != test.left || evict != test.evict {
			t.Errorf("%s: got %v, %v, want %v, %v", test.name, left, evict, test.left, test.evict)
		}
	}
}

func TestListen(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	beat := func(s int) *v1.Node {
		n := newNode("n", is(v1.NodeReady, v1.ConditionTrue))
		n.Status.Conditions[0].LastHeartbeatTime = metav1.NewTime(at(s))
		return n
	}
	lease := func(s int) *coordinationv1.Lease {
		return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{RenewTime: ptr.To(metav1.NewMicroTime(at(s)))}}
	}
	type step struct {
		node  *v1.Node
		lease *coordinationv1.Lease
		now   int
		want  int
	}
	newborn := newNode("n")
	newborn.CreationTimestamp = metav1.NewTime(at(-30))
	for _, test := range []struct {
		name  string
		steps []step
	}{
		{"first seen counts as heard, however old its lease", []step{{beat(-500), lease(-500), 0, 0}, {beat(-500), lease(-500), 40, 0}}},
		{"lease renewed", []step{{beat(0), lease(0), 0, 0}, {beat(0), lease(10), 12, 12}, {beat(0), lease(10), 60, 12}}},
		{"status renewed", []step{{beat(0), nil, 0, 0}, {beat(20), nil, 21, 21}}},
		{"never said anything", []step{{newborn, nil, 0, -30}, {newborn, nil, 5, -30}}},
		{"its clock runs behind", []step{{beat(0), lease(-900), 0, 0}, {beat(0), lease(-890), 10, 10}}},
	} {
		var h heard
		for i, s := range test.steps {
			h = h.listen(s.node, s.lease, at(s.now))
			if !h.at.Equal(at(s.want)) {
				t.Errorf("%s, step %d: heard at %v, want %v", test.name, i, h.at.Sub(begin), at(s.want).Sub(begin))
			}
		}
	}
}
