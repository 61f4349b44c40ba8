// SPDX-License-Identifier: Apache-2.0

package daemonset

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corehelpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// generationLabel repeats the template's generation on pods where the set has it, as clients of old expect.
const generationLabel = "pod-template-generation"

// fits reports whether a pod of the set is to run on the node, and whether one that does may stay: a NoSchedule taint keeps
// pods away but does not drive them out.
func fits(ds *appsv1.DaemonSet, spec *corev1.PodSpec, node *corev1.Node) (run, stay bool) {
	if name := ds.Spec.Template.Spec.NodeName; name != "" && name != node.Name {
		return false, false
	}
	pod := &corev1.Pod{Spec: *spec}
	// A term that cannot be parsed matches nothing.
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err != nil || !ok {
		return false, false
	}
	refused := func(effects ...corev1.TaintEffect) bool {
		_, found := corehelpers.FindMatchingUntoleratedTaint(klog.Background(), node.Spec.Taints, spec.Tolerations,
			func(t *corev1.Taint) bool { return slices.Contains(effects, t.Effect) }, true)
		return found
	}
	if refused(corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute) {
		return false, !refused(corev1.TaintEffectNoExecute)
	}
	return true, true
}

// podTemplate is the set's template with the labels of its revision and the tolerations that every daemon has: a node's
// troubles are no reason for what looks after it to leave.
func podTemplate(ds *appsv1.DaemonSet, hash string) *corev1.PodTemplateSpec {
	template := ds.Spec.Template.DeepCopy()
	if template.Labels == nil {
		template.Labels = map[string]string{}
	}
	if generation, ok := ds.Annotations[appsv1.DeprecatedTemplateGeneration]; ok {
		template.Labels[generationLabel] = generation
	}
	template.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] = hash
	tolerate := func(key string, effect corev1.TaintEffect) {
		t := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: effect}
		i := slices.IndexFunc(template.Spec.Tolerations, func(had corev1.Toleration) bool {
			return had.Key == key && had.Effect == effect && had.Operator == corev1.TolerationOpExists
		})
		if i >= 0 {
			template.Spec.Tolerations[i] = t // for good, whatever time it had
			return
		}
		template.Spec.Tolerations = append(template.Spec.Tolerations, t)
	}
	tolerate(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute)
	tolerate(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute)
	tolerate(corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule)
	tolerate(corev1.TaintNodeMemoryPressure, corev1.TaintEffectNoSchedule)
	tolerate(corev1.TaintNodePIDPressure, corev1.TaintEffectNoSchedule)
	tolerate(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	if template.Spec.HostNetwork {
		tolerate(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule)
	}
	return template
}

// toNode is the affinity with the one node in place of whatever nodes it required: the scheduler binds the pod there.
func toNode(affinity *corev1.Affinity, node string) *corev1.Affinity {
	if affinity == nil {
		affinity = &corev1.Affinity{}
	}
	if affinity.NodeAffinity == nil {
		affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchFields: []corev1.NodeSelectorRequirement{{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
	}}}
	return affinity
}

// nodeOf is the node that a pod runs on or is made for.
func nodeOf(pod *corev1.Pod) string {
	if pod.Spec.NodeName != "" {
		return pod.Spec.NodeName
	}
	if a := pod.Spec.Affinity; a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
			for _, field := range term.MatchFields {
				if field.Key == metav1.ObjectNameField && field.Operator == corev1.NodeSelectorOpIn && len(field.Values) == 1 {
					return field.Values[0]
				}
			}
		}
	}
	return ""
}
