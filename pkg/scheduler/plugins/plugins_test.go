// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/pkg/scheduler/state"
)

// verdict runs one plugin for pod on the named node of a cluster. "" is a yes; "!" before the reason says that it is final.
func verdict(t *testing.T, plugin Plugin, pod *v1.Pod, cluster *state.Cluster, node string) string {
	t.Helper()
	judge, v := plugin.Start(ready(t, pod), cluster)
	if v == nil && judge != nil && judge.Only != nil && !judge.Only.Has(node) {
		return "elsewhere"
	}
	if v == nil && judge != nil && judge.Filter != nil {
		v = judge.Filter(cluster.Node(node))
	}
	if v == nil {
		return ""
	}
	reason := strings.Join(v.Reasons, ", ")
	if v.Final {
		return "!" + reason
	}
	return reason
}

func scores(t *testing.T, plugin Plugin, pod *v1.Pod, cluster *state.Cluster) []int64 {
	t.Helper()
	judge, v := plugin.Start(ready(t, pod), cluster)
	if v != nil {
		t.Fatalf("refused: %v", v.Reasons)
	}
	if judge == nil || judge.Score == nil {
		return nil
	}
	return judge.Score(cluster.Nodes())
}

func ready(t *testing.T, pod *v1.Pod) *state.Pod {
	t.Helper()
	p, err := state.NewPod(pod)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// cluster puts nodes and pods together; pods must name their nodes.
func cluster(t *testing.T, objects ...metav1.Object) *state.Cluster {
	t.Helper()
	c := state.NewCluster(func(name string) labels.Set { return labels.Set{"kubernetes.io/metadata.name": name} })
	for _, o := range objects {
		switch o := o.(type) {
		case *v1.Node:
			c.SetNode(o)
		case *v1.Pod:
			c.SetPod(ready(t, o))
		}
	}
	return c
}

type nodeOption func(*v1.Node)

func node(name string, options ...nodeOption) *v1.Node {
	n := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1.LabelHostname: name}}}
	n.Status.Allocatable = v1.ResourceList{
		v1.ResourceCPU: resource.MustParse("2"), v1.ResourceMemory: resource.MustParse("4Gi"),
		v1.ResourcePods: resource.MustParse("3"), v1.ResourceEphemeralStorage: resource.MustParse("10Gi"),
	}
	for _, o := range options {
		o(n)
	}
	return n
}

func label(key, value string) nodeOption { return func(n *v1.Node) { n.Labels[key] = value } }

func taint(key string, effect v1.TaintEffect) nodeOption {
	return func(n *v1.Node) { n.Spec.Taints = append(n.Spec.Taints, v1.Taint{Key: key, Effect: effect}) }
}

type podOption func(*v1.Pod)

func pod(name string, options ...podOption) *v1.Pod {
	p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name), Labels: map[string]string{}}}
	p.Spec.Containers = []v1.Container{{Name: "c", Image: "web:1"}}
	for _, o := range options {
		o(p)
	}
	return p
}

func on(node string) podOption             { return func(p *v1.Pod) { p.Spec.NodeName = node } }
func labelled(key, value string) podOption { return func(p *v1.Pod) { p.Labels[key] = value } }
func in(namespace string) podOption        { return func(p *v1.Pod) { p.Namespace = namespace } }

func asks(name v1.ResourceName, amount string) podOption {
	return func(p *v1.Pod) {
		r := &p.Spec.Containers[0].Resources
		if r.Requests == nil {
			r.Requests = v1.ResourceList{}
		}
		r.Requests[name] = resource.MustParse(amount)
	}
}

func hostPort(ip string, protocol v1.Protocol, port int32) podOption {
	return func(p *v1.Pod) {
		p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, v1.ContainerPort{HostIP: ip, Protocol: protocol, HostPort: port, ContainerPort: 80})
	}
}

func tolerating(t v1.Toleration) podOption {
	return func(p *v1.Pod) { p.Spec.Tolerations = append(p.Spec.Tolerations, t) }
}

func claiming(claim string) podOption {
	return func(p *v1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, v1.Volume{Name: claim, VolumeSource: v1.VolumeSource{
			PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}})
	}
}

func nodeAffinity(required *v1.NodeSelector, preferred ...v1.PreferredSchedulingTerm) podOption {
	return func(p *v1.Pod) {
		p.Spec.Affinity = &v1.Affinity{NodeAffinity: &v1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: required, PreferredDuringSchedulingIgnoredDuringExecution: preferred}}
	}
}

func term(key, app string, change ...func(*v1.PodAffinityTerm)) v1.PodAffinityTerm {
	out := v1.PodAffinityTerm{TopologyKey: key, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}}
	for _, c := range change {
		c(&out)
	}
	return out
}

func near(terms ...v1.PodAffinityTerm) podOption {
	return func(p *v1.Pod) {
		p.Spec.Affinity = &v1.Affinity{PodAffinity: &v1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
	}
}

func apart(terms ...v1.PodAffinityTerm) podOption {
	return func(p *v1.Pod) {
		p.Spec.Affinity = &v1.Affinity{PodAntiAffinity: &v1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
	}
}

func TestFilter(t *testing.T) {
	zone := v1.LabelTopologyZone
	twoZones := []metav1.Object{node("a", label(zone, "z1")), node("b", label(zone, "z1")), node("c", label(zone, "z2")), node("bare")}
	with := func(objects []metav1.Object, more ...metav1.Object) []metav1.Object {
		return append(slices.Clone(objects), more...)
	}
	spreadOver := func(key string, skew int32, change ...func(*v1.TopologySpreadConstraint)) podOption {
		return func(p *v1.Pod) {
			c := v1.TopologySpreadConstraint{MaxSkew: skew, TopologyKey: key, WhenUnsatisfiable: v1.DoNotSchedule,
				LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}
			for _, f := range change {
				f(&c)
			}
			p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, c)
		}
	}
	const (
		noAffinity   = "!node(s) didn't match Pod's node affinity/selector"
		noPort       = "node(s) didn't have free ports for the requested pod ports"
		noTaint      = "!node(s) had untolerated taint(s)"
		noCompany    = "!node(s) didn't match pod affinity rules"
		noDistance   = "node(s) didn't match pod anti-affinity rules"
		notWelcome   = "node(s) didn't satisfy existing pods anti-affinity rules"
		noSpread     = "node(s) didn't match pod topology spread constraints"
		unscheduable = "!node(s) were unschedulable"
	)
	cordoned := func(n *v1.Node) { n.Spec.Unschedulable = true }
	gpu := func(n *v1.Node) { n.Status.Allocatable["example.com/gpu"] = resource.MustParse("1") }
	for _, test := range []struct {
		name    string
		plugin  Plugin
		pod     *v1.Pod
		objects []metav1.Object
		node    string
		want    string
	}{
		{"resources: fits", NodeResourcesFit{}, pod("p", asks("cpu", "1")), with(nil, node("a")), "a", ""},
		{"resources: exactly what is left", NodeResourcesFit{}, pod("p", asks("cpu", "1500m")),
			with(nil, node("a"), pod("q", on("a"), asks("cpu", "500m"))), "a", ""},
		{"resources: a little too much", NodeResourcesFit{}, pod("p", asks("cpu", "1501m")),
			with(nil, node("a"), pod("q", on("a"), asks("cpu", "500m"))), "a", "Insufficient cpu"},
		{"resources: more than the node ever has", NodeResourcesFit{}, pod("p", asks("cpu", "3")), with(nil, node("a")), "a", "!Insufficient cpu"},
		{"resources: two short, one for ever", NodeResourcesFit{}, pod("p", asks("cpu", "2"), asks("memory", "5Gi")),
			with(nil, node("a"), pod("q", on("a"), asks("cpu", "1"))), "a", "!Insufficient cpu, Insufficient memory"},
		{"resources: disk", NodeResourcesFit{}, pod("p", asks("ephemeral-storage", "11Gi")), with(nil, node("a")), "a", "!Insufficient ephemeral-storage"},
		{"resources: extended, present", NodeResourcesFit{}, pod("p", asks("example.com/gpu", "1")), with(nil, node("a", gpu)), "a", ""},
		{"resources: extended, taken", NodeResourcesFit{}, pod("p", asks("example.com/gpu", "1")),
			with(nil, node("a", gpu), pod("q", on("a"), asks("example.com/gpu", "1"))), "a", "Insufficient example.com/gpu"},
		{"resources: extended, unknown", NodeResourcesFit{}, pod("p", asks("example.com/gpu", "1")), with(nil, node("a")), "a", "!Insufficient example.com/gpu"},
		{"resources: pod count", NodeResourcesFit{}, pod("p"),
			with(nil, node("a"), pod("q", on("a")), pod("r", on("a")), pod("s", on("a"))), "a", "Too many pods"},
		{"resources: the largest init container counts", NodeResourcesFit{}, pod("p", func(p *v1.Pod) {
			p.Spec.InitContainers = []v1.Container{{Name: "i", Resources: v1.ResourceRequirements{Requests: v1.ResourceList{"cpu": resource.MustParse("3")}}}}
		}), with(nil, node("a")), "a", "!Insufficient cpu"},

		{"name: other", NodeName{}, pod("p", on("b")), with(nil, node("a")), "a", "!node(s) didn't match the requested node name"},
		{"name: same", NodeName{}, pod("p", on("a")), with(nil, node("a")), "a", ""},

		{"no claims to devices", DynamicResources{}, pod("p"), with(nil, node("a")), "a", ""},
		{"a claim to a device", DynamicResources{}, pod("p", func(p *v1.Pod) {
			p.Spec.ResourceClaims = []v1.PodResourceClaim{{Name: "gpu", ResourceClaimName: ptr.To("gpu")}}
		}), with(nil, node("a")), "a", "!cannot allocate all claims"},

		{"cordoned", NodeUnschedulable{}, pod("p"), with(nil, node("a", cordoned)), "a", unscheduable},
		{"cordoned, tolerated", NodeUnschedulable{}, pod("p", tolerating(v1.Toleration{Key: v1.TaintNodeUnschedulable, Operator: v1.TolerationOpExists})),
			with(nil, node("a", cordoned)), "a", ""},

		{"taint", TaintToleration{}, pod("p"), with(nil, node("a", taint("k", v1.TaintEffectNoSchedule))), "a", noTaint},
		{"taint: NoExecute", TaintToleration{}, pod("p"), with(nil, node("a", taint("k", v1.TaintEffectNoExecute))), "a", noTaint},
		{"taint: preference only", TaintToleration{}, pod("p"), with(nil, node("a", taint("k", v1.TaintEffectPreferNoSchedule))), "a", ""},
		{"taint: everything tolerated", TaintToleration{}, pod("p", tolerating(v1.Toleration{Operator: v1.TolerationOpExists})),
			with(nil, node("a", taint("k", v1.TaintEffectNoExecute))), "a", ""},
		{"taint: other effect tolerated", TaintToleration{}, pod("p", tolerating(v1.Toleration{Key: "k", Operator: v1.TolerationOpExists, Effect: v1.TaintEffectNoSchedule})),
			with(nil, node("a", taint("k", v1.TaintEffectNoExecute))), "a", noTaint},

		{"selector: match", NodeAffinity{}, pod("p", func(p *v1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }),
			with(nil, node("a", label("disk", "ssd"))), "a", ""},
		{"selector: no match", NodeAffinity{}, pod("p", func(p *v1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }),
			with(nil, node("a")), "a", noAffinity},
		{"affinity: greater than", NodeAffinity{}, pod("p", nodeAffinity(&v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{
			{MatchExpressions: []v1.NodeSelectorRequirement{{Key: "cores", Operator: v1.NodeSelectorOpGt, Values: []string{"4"}}}}}})),
			with(nil, node("a", label("cores", "4"))), "a", noAffinity},
		{"affinity: one of two terms", NodeAffinity{}, pod("p", nodeAffinity(&v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{
			{MatchExpressions: []v1.NodeSelectorRequirement{{Key: "x", Operator: v1.NodeSelectorOpExists}}},
			{MatchExpressions: []v1.NodeSelectorRequirement{{Key: "y", Operator: v1.NodeSelectorOpDoesNotExist}}}}})),
			with(nil, node("a")), "a", ""},
		{"affinity: a daemon's node is elsewhere", NodeAffinity{}, pod("p", nodeAffinity(named("b"))), with(nil, node("a"), node("b")), "a", "elsewhere"},
		{"affinity: a daemon's own node", NodeAffinity{}, pod("p", nodeAffinity(named("b"))), with(nil, node("a"), node("b")), "b", ""},

		{"port: taken", NodePorts{}, pod("p", hostPort("", "", 80)), with(nil, node("a"), pod("q", on("a"), hostPort("", v1.ProtocolTCP, 80))), "a", noPort},
		{"port: other protocol", NodePorts{}, pod("p", hostPort("", v1.ProtocolUDP, 80)), with(nil, node("a"), pod("q", on("a"), hostPort("", v1.ProtocolTCP, 80))), "a", ""},
		{"port: other address", NodePorts{}, pod("p", hostPort("10.0.0.1", "", 80)), with(nil, node("a"), pod("q", on("a"), hostPort("10.0.0.2", "", 80))), "a", ""},
		{"port: one against all addresses", NodePorts{}, pod("p", hostPort("10.0.0.1", "", 80)), with(nil, node("a"), pod("q", on("a"), hostPort("", "", 80))), "a", noPort},
		{"port: all addresses against one", NodePorts{}, pod("p", hostPort("", "", 80)), with(nil, node("a"), pod("q", on("a"), hostPort("10.0.0.1", "", 80))), "a", noPort},
		{"port: other node", NodePorts{}, pod("p", hostPort("", "", 80)), with(nil, node("a"), node("b"), pod("q", on("b"), hostPort("", "", 80))), "a", ""},

		{"near: in its zone", InterPodAffinity{}, pod("p", near(term(zone, "db"))), with(twoZones, pod("db", on("a"), labelled("app", "db"))), "b", ""},
		{"near: other zone", InterPodAffinity{}, pod("p", near(term(zone, "db"))), with(twoZones, pod("db", on("a"), labelled("app", "db"))), "c", noCompany},
		{"near: node without the label", InterPodAffinity{}, pod("p", near(term(zone, "db"))), with(twoZones, pod("db", on("a"), labelled("app", "db"))), "bare", noCompany},
		{"near: other namespace is not meant", InterPodAffinity{}, pod("p", near(term(zone, "db"))), with(twoZones, pod("db", on("a"), in("other"), labelled("app", "db"))), "b", noCompany},
		{"near: namespace by selector", InterPodAffinity{}, pod("p", near(term(zone, "db", func(t *v1.PodAffinityTerm) {
			t.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "other"}}
		}))), with(twoZones, pod("db", on("a"), in("other"), labelled("app", "db"))), "b", ""},
		{"near: the first of its kind", InterPodAffinity{}, pod("p", labelled("app", "db"), near(term(zone, "db"))), twoZones, "c", ""},
		{"near: the second of its kind", InterPodAffinity{}, pod("p", labelled("app", "db"), near(term(zone, "db"))),
			with(twoZones, pod("db", on("a"), labelled("app", "db"))), "c", noCompany},
		{"apart: same zone", InterPodAffinity{}, pod("p", apart(term(zone, "db"))), with(twoZones, pod("db", on("a"), labelled("app", "db"))), "b", noDistance},
		{"apart: other zone", InterPodAffinity{}, pod("p", apart(term(zone, "db"))), with(twoZones, pod("db", on("a"), labelled("app", "db"))), "c", ""},
		{"apart: the other wants it so", InterPodAffinity{}, pod("p", labelled("app", "web")),
			with(twoZones, pod("db", on("a"), apart(term(zone, "web")))), "b", notWelcome},
		{"apart: within one revision", InterPodAffinity{}, pod("p", labelled("app", "web"), labelled("rev", "2"), apart(term(zone, "web", func(t *v1.PodAffinityTerm) {
			t.MatchLabelKeys = []string{"rev"}
		}))), with(twoZones, pod("q", on("a"), labelled("app", "web"), labelled("rev", "1"))), "b", ""},

		{"spread: fuller zone", PodTopologySpread{}, pod("p", labelled("app", "web"), spreadOver(zone, 1)),
			with(twoZones, pod("q", on("a"), labelled("app", "web"))), "b", noSpread},
		{"spread: emptier zone", PodTopologySpread{}, pod("p", labelled("app", "web"), spreadOver(zone, 1)),
			with(twoZones, pod("q", on("a"), labelled("app", "web"))), "c", ""},
		{"spread: skew allowed", PodTopologySpread{}, pod("p", labelled("app", "web"), spreadOver(zone, 2)),
			with(twoZones, pod("q", on("a"), labelled("app", "web"))), "b", ""},
		{"spread: node without the label", PodTopologySpread{}, pod("p", labelled("app", "web"), spreadOver(zone, 1)), twoZones, "bare",
			"!" + noSpread + " (missing required label)"},
		{"spread: too few domains", PodTopologySpread{}, pod("p", labelled("app", "web"), spreadOver(zone, 1, func(c *v1.TopologySpreadConstraint) { c.MinDomains = ptr.To[int32](3) })),
			with(twoZones, pod("q", on("a"), labelled("app", "web")), pod("r", on("c"), labelled("app", "web"))), "c", noSpread},
		{"spread: a tainted domain does not count", PodTopologySpread{}, pod("p", labelled("app", "web"), spreadOver(v1.LabelHostname, 1, func(c *v1.TopologySpreadConstraint) {
			c.NodeTaintsPolicy = ptr.To(v1.NodeInclusionPolicyHonor)
		})), with(nil, node("a"), node("b", taint("k", v1.TaintEffectNoSchedule)), pod("q", on("a"), labelled("app", "web"))), "a", ""},
		{"spread: pods that are going do not count", PodTopologySpread{}, pod("p", labelled("app", "web"), spreadOver(zone, 1)),
			with(twoZones, pod("q", on("a"), labelled("app", "web"), func(p *v1.Pod) { p.DeletionTimestamp = &metav1.Time{} })), "b", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := verdict(t, test.plugin, test.pod, cluster(t, test.objects...), test.node); got != test.want {
				t.Errorf("%s: got %q, want %q", test.plugin.Name(), got, test.want)
			}
		})
	}
}

func named(name string) *v1.NodeSelector {
	return &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{MatchFields: []v1.NodeSelectorRequirement{
		{Key: metav1.ObjectNameField, Operator: v1.NodeSelectorOpIn, Values: []string{name}}}}}}
}

func TestScore(t *testing.T) {
	zone := v1.LabelTopologyZone
	owned := func(p *v1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{UID: "rs", Controller: ptr.To(true)}}
	}
	prefer := func(weight int32, t v1.PodAffinityTerm, anti bool) podOption {
		return func(p *v1.Pod) {
			terms := []v1.WeightedPodAffinityTerm{{Weight: weight, PodAffinityTerm: t}}
			if anti {
				p.Spec.Affinity = &v1.Affinity{PodAntiAffinity: &v1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: terms}}
			} else {
				p.Spec.Affinity = &v1.Affinity{PodAffinity: &v1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: terms}}
			}
		}
	}
	image := func(size int64) nodeOption {
		return func(n *v1.Node) { n.Status.Images = []v1.ContainerImage{{Names: []string{"web:1"}, SizeBytes: size}} }
	}
	for _, test := range []struct {
		name    string
		plugin  Plugin
		pod     *v1.Pod
		objects []metav1.Object
		want    []int64
	}{
		{"least allocated", NodeResourcesFit{}, pod("p", asks("cpu", "1"), asks("memory", "1Gi")),
			[]metav1.Object{node("a"), node("b"), pod("q", on("b"), asks("cpu", "1"), asks("memory", "1Gi"))}, []int64{62, 25}},
		{"balanced", NodeResourcesBalancedAllocation{}, pod("p", asks("cpu", "1"), asks("memory", "2Gi")),
			[]metav1.Object{node("a"), node("b"), pod("q", on("b"), asks("cpu", "1"))}, []int64{100, 75}},
		{"balanced: nothing asked", NodeResourcesBalancedAllocation{}, pod("p"), []metav1.Object{node("a")}, nil},
		{"fewer untolerated preferences", TaintToleration{}, pod("p"),
			[]metav1.Object{node("a"), node("b", taint("k", v1.TaintEffectPreferNoSchedule))}, []int64{100, 0}},
		{"preferred nodes", NodeAffinity{}, pod("p", nodeAffinity(nil,
			v1.PreferredSchedulingTerm{Weight: 4, Preference: v1.NodeSelectorTerm{MatchExpressions: []v1.NodeSelectorRequirement{{Key: "x", Operator: v1.NodeSelectorOpExists}}}},
			v1.PreferredSchedulingTerm{Weight: 1, Preference: v1.NodeSelectorTerm{MatchExpressions: []v1.NodeSelectorRequirement{{Key: "y", Operator: v1.NodeSelectorOpExists}}}})),
			[]metav1.Object{node("a", label("x", "")), node("b", label("y", "")), node("c")}, []int64{100, 25, 0}},
		{"company wanted", InterPodAffinity{}, pod("p", prefer(10, term(zone, "db"), false)),
			[]metav1.Object{node("a", label(zone, "z1")), node("b", label(zone, "z2")), pod("db", on("b"), labelled("app", "db"))}, []int64{0, 100}},
		{"company shunned", InterPodAffinity{}, pod("p", prefer(10, term(zone, "db"), true)),
			[]metav1.Object{node("a", label(zone, "z1")), node("b", label(zone, "z2")), pod("db", on("b"), labelled("app", "db"))}, []int64{100, 0}},
		{"the other wants company", InterPodAffinity{}, pod("p", labelled("app", "web")),
			[]metav1.Object{node("a"), node("b"), pod("db", on("b"), prefer(5, term(v1.LabelHostname, "web"), false))}, []int64{0, 100}},
		{"siblings spread by default", PodTopologySpread{}, pod("p", owned),
			[]metav1.Object{node("a"), node("b"), pod("q", on("a"), owned)}, []int64{66, 100}},
		{"no siblings", PodTopologySpread{}, pod("p"), []metav1.Object{node("a"), node("b")}, nil},
		{"image present", ImageLocality{}, pod("p"), []metav1.Object{node("a", image(1000<<20)), node("b")}, []int64{48, 0}},
		{"image small", ImageLocality{}, pod("p"), []metav1.Object{node("a", image(5<<20)), node("b")}, []int64{0, 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := scores(t, test.plugin, test.pod, cluster(t, test.objects...)); !slices.Equal(got, test.want) {
				t.Errorf("%s: got %v, want %v", test.plugin.Name(), got, test.want)
			}
		})
	}
}

func TestVolumeFilter(t *testing.T) {
	wait, now := storagev1.VolumeBindingWaitForFirstConsumer, storagev1.VolumeBindingImmediate
	class := func(name, provisioner string, mode *storagev1.VolumeBindingMode) *storagev1.StorageClass {
		return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: mode}
	}
	claim := func(name, class string, change ...func(*v1.PersistentVolumeClaim)) *v1.PersistentVolumeClaim {
		c := &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name), Annotations: map[string]string{}}}
		c.Spec.StorageClassName = &class
		c.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}
		c.Spec.Resources.Requests = v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}
		for _, f := range change {
			f(c)
		}
		return c
	}
	bound := func(pv string) func(*v1.PersistentVolumeClaim) {
		return func(c *v1.PersistentVolumeClaim) {
			c.Spec.VolumeName = pv
			c.Annotations[volume.AnnBindCompleted] = "yes"
			c.Status.Phase = v1.ClaimBound
		}
	}
	pv := func(name, class, onNode, size string) *v1.PersistentVolume {
		p := &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}
		p.Spec.StorageClassName = class
		p.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}
		p.Spec.Capacity = v1.ResourceList{v1.ResourceStorage: resource.MustParse(size)}
		p.Status.Phase = v1.VolumeAvailable
		p.Spec.NodeAffinity = &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
			MatchExpressions: []v1.NodeSelectorRequirement{{Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{onNode}}}}}}}
		return p
	}
	const none = "!node(s) didn't find available persistent volumes to bind"
	for _, test := range []struct {
		name    string
		plugin  func(*Volumes) Plugin
		pod     *v1.Pod
		objects []any
		want    string // on node a
	}{
		{"no claims", bindingOf, pod("p"), nil, ""},
		{"claim missing", restrictionsOf, pod("p", claiming("data")), nil, `!persistentvolumeclaim "data" not found`},
		{"immediate, unbound", bindingOf, pod("p", claiming("data")), []any{class("fast", "x", &now), claim("data", "fast")},
			"!pod has unbound immediate PersistentVolumeClaims"},
		{"class missing", bindingOf, pod("p", claiming("data")), []any{claim("data", "gone")}, "!pod has unbound immediate PersistentVolumeClaims"},
		{"bound, here", bindingOf, pod("p", claiming("data")), []any{claim("data", "local", bound("pv1")), pv("pv1", "local", "a", "1Gi")}, ""},
		{"bound, elsewhere", bindingOf, pod("p", claiming("data")), []any{claim("data", "local", bound("pv1")), pv("pv1", "local", "b", "1Gi")},
			"!node(s) didn't match PersistentVolume's node affinity"},
		{"bound to nothing", bindingOf, pod("p", claiming("data")), []any{claim("data", "local", bound("pv1"))},
			"!node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"},
		{"lost", bindingOf, pod("p", claiming("data")), []any{claim("data", "local", bound("pv1"), func(c *v1.PersistentVolumeClaim) { c.Status.Phase = v1.ClaimLost })},
			`!persistentvolumeclaim "data" bound to non-existent persistentvolume "pv1"`},
		{"going away", bindingOf, pod("p", claiming("data")), []any{claim("data", "local", func(c *v1.PersistentVolumeClaim) { c.DeletionTimestamp = &metav1.Time{} })},
			`!persistentvolumeclaim "data" is being deleted`},
		{"waits, can be provisioned", bindingOf, pod("p", claiming("data")), []any{class("local", "hivemind.dev/local", &wait), claim("data", "local")}, ""},
		{"waits, by hand, volume here", bindingOf, pod("p", claiming("data")),
			[]any{class("hand", noProvisioner, &wait), claim("data", "hand"), pv("pv1", "hand", "a", "2Gi")}, ""},
		{"waits, by hand, volume elsewhere", bindingOf, pod("p", claiming("data")),
			[]any{class("hand", noProvisioner, &wait), claim("data", "hand"), pv("pv1", "hand", "b", "2Gi")}, none},
		{"waits, by hand, volume too small", bindingOf, pod("p", claiming("data")),
			[]any{class("hand", noProvisioner, &wait), claim("data", "hand"), pv("pv1", "hand", "a", "1Mi")}, none},
		{"two claims, one volume", bindingOf, pod("p", claiming("one"), claiming("two")),
			[]any{class("hand", noProvisioner, &wait), claim("one", "hand"), claim("two", "hand"), pv("pv1", "hand", "a", "2Gi")}, none},
		{"being provisioned elsewhere", bindingOf, pod("p", claiming("data")), []any{class("local", "hivemind.dev/local", &wait),
			claim("data", "local", func(c *v1.PersistentVolumeClaim) { c.Annotations[volume.AnnSelectedNode] = "b" })}, none},
		{"topology of the class", bindingOf, pod("p", claiming("data")), []any{func() any {
			c := class("zonal", "x", &wait)
			c.AllowedTopologies = []v1.TopologySelectorTerm{{MatchLabelExpressions: []v1.TopologySelectorLabelRequirement{{Key: "zone", Values: []string{"z1"}}}}}
			return c
		}(), claim("data", "zonal")}, none},
		{"one pod at a time, in use", restrictionsOf, pod("p", claiming("data")),
			[]any{claim("data", "local", bound("pv1"), func(c *v1.PersistentVolumeClaim) {
				c.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteOncePod}
			}), pod("q", on("b"), claiming("data"))},
			"node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"},
		{"one pod at a time, free", restrictionsOf, pod("p", claiming("data")),
			[]any{claim("data", "local", bound("pv1"), func(c *v1.PersistentVolumeClaim) {
				c.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteOncePod}
			})}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			objects := []metav1.Object{node("a"), node("b")}
			index := func() cache.Indexer {
				return cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
			}
			claims, volumes, classes := index(), index(), index()
			for _, o := range test.objects {
				var err error
				switch o := o.(type) {
				case *v1.PersistentVolumeClaim:
					err = claims.Add(o)
				case *v1.PersistentVolume:
					err = volumes.Add(o)
				case *storagev1.StorageClass:
					err = classes.Add(o)
				case *v1.Pod:
					objects = append(objects, o)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			shared := NewVolumes(nil, corelisters.NewPersistentVolumeClaimLister(claims), corelisters.NewPersistentVolumeLister(volumes),
				storagelisters.NewStorageClassLister(classes), 0)
			if got := verdict(t, test.plugin(shared), test.pod, cluster(t, objects...), "a"); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func bindingOf(v *Volumes) Plugin      { return VolumeBinding{Volumes: v} }
func restrictionsOf(v *Volumes) Plugin { return VolumeRestrictions{Volumes: v} }
