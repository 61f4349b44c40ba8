// SPDX-License-Identifier: Apache-2.0

// This file holds what is said about pods, and about templates of pods, that are valid but not what their authors will want.

package core

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

// WarningsPod returns what is to be said about a new pod. Updates are not looked at: they are frequent, and seldom by people.
func WarningsPod(pod, before *corev1.Pod) []string {
	if before != nil {
		return nil
	}
	var w check.Warnings
	if messages := validation.IsDNS1123Label(pod.Name); len(messages) > 0 {
		w.At(field.NewPath("metadata", "name"), "this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: %v", messages)
	}
	warnPod(&w, nil, &pod.ObjectMeta, &pod.Spec)
	return w.Texts()
}

// WarningsPodStatus returns what is to be said about a pod's status.
func WarningsPodStatus(pod, _ *corev1.Pod) []string {
	var w check.Warnings
	p := field.NewPath("status")
	for i, ip := range pod.Status.PodIPs {
		w.IP(p.Child("podIPs").Index(i).Child("ip"), ip.IP)
	}
	for i, ip := range pod.Status.HostIPs {
		w.IP(p.Child("hostIPs").Index(i).Child("ip"), ip.IP)
	}
	return w.Texts()
}

// WarningsPodTemplateSpec returns what is to be said about a template at p, which no pod has been made from yet.
func WarningsPodTemplateSpec(p *field.Path, template *corev1.PodTemplateSpec) []string {
	var w check.Warnings
	if template != nil {
		warnPod(&w, p, &template.ObjectMeta, &template.Spec)
	}
	return w.Texts()
}

// WarningsNameOfPods returns what is to be said about the name of an object that its pods are named after.
func WarningsNameOfPods(name string) []string {
	var w check.Warnings
	if messages := validation.IsDNS1123Label(name); len(messages) > 0 {
		w.At(field.NewPath("metadata", "name"), "this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", messages)
	}
	return w.Texts()
}

// warnPod looks at a pod, where p is nil, or a template at p.
func warnPod(w *check.Warnings, p *field.Path, meta *metav1.ObjectMeta, spec *corev1.PodSpec) {
	at := p.Child("spec")
	warnPlacement(w, at, spec)
	annotations := p.Child("metadata", "annotations")
	for _, old := range deprecatedPodAnnotations {
		if _, ok := meta.Annotations[old.key]; ok {
			w.At(annotations.Key(old.key), "%s", old.message)
		}
	}
	warnVolumes(w, at.Child("volumes"), spec.Volumes)
	warnRepeated(w, at.Child("hostAliases"), "ip", spec.HostAliases, func(a corev1.HostAlias) string { return a.IP })
	warnRepeated(w, at.Child("imagePullSecrets"), "name", spec.ImagePullSecrets, func(s corev1.LocalObjectReference) string { return s.Name })
	for i, secret := range spec.ImagePullSecrets {
		if secret.Name == "" {
			w.At(at.Child("imagePullSecrets").Index(i).Child("name"), "invalid empty name %q", "")
		}
	}
	warnFractions(w, at.Child("overhead"), spec.Overhead)
	if spec.SecurityContext == nil || spec.SecurityContext.SeccompProfile == nil {
		warnSeccomp(w, annotations, meta.Annotations, corev1.SeccompPodAnnotationKey)
	}
	visitContainers(at, spec, func(at *field.Path, c *corev1.Container) {
		if c.SecurityContext == nil || c.SecurityContext.SeccompProfile == nil {
			warnSeccomp(w, annotations, meta.Annotations, corev1.SeccompContainerAnnotationKeyPrefix+c.Name)
		}
		warnAppArmor(w, annotations, meta.Annotations, spec, c, p != nil)
		warnFractions(w, at.Child("resources", "limits"), c.Resources.Limits)
		warnFractions(w, at.Child("resources", "requests"), c.Resources.Requests)
		warnEnv(w, at.Child("env"), c.Env)
	})
	warnPorts(w, at, spec)
	if grace := spec.TerminationGracePeriodSeconds; grace != nil && *grace < 0 {
		w.At(at.Child("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	warnPodAffinity(w, at.Child("affinity"), spec.Affinity)
	if spec.DNSConfig != nil {
		for i, server := range spec.DNSConfig.Nameservers {
			w.IP(at.Child("dnsConfig", "nameservers").Index(i), server)
		}
	}
	for i, alias := range spec.HostAliases {
		w.IP(at.Child("hostAliases").Index(i).Child("ip"), alias.IP)
	}
}

var deprecatedPodAnnotations = []struct{ key, message string }{
	{"scheduler.alpha.kubernetes.io/critical-pod", `non-functional in v1.16+; use the "priorityClassName" field instead`},
	{"security.alpha.kubernetes.io/sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
	{"security.alpha.kubernetes.io/unsafe-sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
}

func warnSeccomp(w *check.Warnings, p *field.Path, annotations map[string]string, key string) {
	if _, ok := annotations[key]; ok {
		w.At(p.Key(key), `non-functional in v1.27+; use the "seccompProfile" field instead`)
	}
}

// warnAppArmor looks at the annotation that a container's profile was once given by. That of a pod, unlike a template's, is spoken of
// even where it says what the pod's field says, if it says nothing that is known.
func warnAppArmor(w *check.Warnings, p *field.Path, annotations map[string]string, spec *corev1.PodSpec, c *corev1.Container, template bool) {
	key := corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + c.Name
	text, ok := annotations[key]
	if !ok || c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil || !template && spec.OS != nil && spec.OS.Name == corev1.Windows {
		return
	}
	var ofPod *corev1.AppArmorProfile
	if spec.SecurityContext != nil {
		ofPod = spec.SecurityContext.AppArmorProfile
	}
	meant := appArmorProfile(text)
	if template && ofPod == nil || !template && meant == nil || !apiequality.Semantic.DeepEqual(meant, ofPod) {
		w.At(p.Key(key), `deprecated since v1.30; use the "appArmorProfile" field instead`)
	}
}

// appArmorProfile is what an annotation means, nil if nothing.
func appArmorProfile(annotation string) *corev1.AppArmorProfile {
	switch local, ok := strings.CutPrefix(annotation, corev1.DeprecatedAppArmorBetaProfileNamePrefix); {
	case ok && local != "":
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &local}
	case annotation == corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	case annotation == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	}
	return nil
}

func warnRepeated[T any](w *check.Warnings, p *field.Path, name string, items []T, value func(T) string) {
	for i := range items {
		if v := value(items[i]); slices.ContainsFunc(items[:i], func(o T) bool { return value(o) == v }) {
			w.At(p.Index(i).Child(name), "duplicate %s %q", name, v)
		}
	}
}

// warnFractions tells of parts of bytes.
func warnFractions(w *check.Warnings, p *field.Path, resources corev1.ResourceList) {
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if quantity, ok := resources[name]; ok {
			warnFraction(w, p, name, quantity)
		}
	}
}

func warnFraction(w *check.Warnings, p *field.Path, name corev1.ResourceName, quantity resource.Quantity) {
	if quantity.MilliValue()%1000 != 0 {
		w.At(p.Key(string(name)), "fractional byte value %q is invalid, must be an integer", quantity.String())
	}
}

// warnEnv tells of variables that are set twice, unless the second adds to the first.
func warnEnv(w *check.Warnings, p *field.Path, env []corev1.EnvVar) {
	if len(env) < 2 {
		return
	}
	seen := make(map[string]bool, len(env))
	for i, v := range env {
		if itself := "$(" + v.Name + ")"; seen[v.Name] && (v.ValueFrom != nil || v.Value == itself || !strings.Contains(v.Value, itself)) {
			w.At(p.Index(i), "hides previous definition of %q, which may be dropped when using apply", v.Name)
		}
		seen[v.Name] = true
	}
}

// warnPorts tells of ports of the pod's containers that are the same, or named alike.
func warnPorts(w *check.Warnings, p *field.Path, spec *corev1.PodSpec) {
	type known struct {
		at *field.Path
		corev1.ContainerPort
	}
	var ports []known
	visitContainers(p, spec, func(at *field.Path, c *corev1.Container) {
		for i, port := range c.Ports {
			ports = append(ports, known{at.Child("ports").Index(i), port})
		}
	})
	for i, port := range ports {
		if port.HostIP != "" && port.HostPort == 0 {
			w.At(port.at, "hostIP set without hostPort: %+v", port.ContainerPort)
		}
		for _, other := range ports[:i] {
			if other.ContainerPort.ContainerPort != port.ContainerPort.ContainerPort || other.Protocol != port.Protocol {
				continue
			}
			switch sameHostPort := port.HostPort == other.HostPort; {
			case sameHostPort && port.HostIP == other.HostIP:
				w.At(port.at, "duplicate port definition with %s", other.at)
			case port.HostPort == 0 || other.HostPort == 0:
				w.At(port.at, "overlapping port definition with %s", other.at)
			case sameHostPort && (port.HostIP == "") != (other.HostIP == ""):
				w.At(port.at, "dangerously ambiguous port definition with %s", other.at)
			}
		}
	}
	for i, port := range ports {
		named := func(o known) bool { return o.Name == port.Name }
		if port.Name == "" || !slices.ContainsFunc(ports[:i], named) {
			continue
		}
		first := ports[slices.IndexFunc(ports, named)].at
		w.At(port.at, "duplicate port name %q with %s, services and probes that select ports by name will use %s", port.Name, first, first)
	}
}

// warnPlacement tells of labels of nodes that have been replaced, and of constraints that hold for no pod.
func warnPlacement(w *check.Warnings, p *field.Path, spec *corev1.PodSpec) {
	for key := range spec.NodeSelector {
		if message := DeprecatedNodeLabel(key); message != "" {
			w.At(p.Child("nodeSelector").Key(key), "%s", message)
		}
	}
	if spec.Affinity != nil && spec.Affinity.NodeAffinity != nil {
		affinity, p := spec.Affinity.NodeAffinity, p.Child("affinity", "nodeAffinity")
		if required := affinity.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
			p := p.Child("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
			for i := range required.NodeSelectorTerms {
				warnNodeSelectorTerm(w, p.Index(i), &required.NodeSelectorTerms[i], false)
			}
		}
		for i := range affinity.PreferredDuringSchedulingIgnoredDuringExecution {
			p := p.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("preference")
			warnNodeSelectorTerm(w, p, &affinity.PreferredDuringSchedulingIgnoredDuringExecution[i].Preference, true)
		}
	}
	for i, constraint := range spec.TopologySpreadConstraints {
		p := p.Child("topologySpreadConstraints").Index(i)
		if message := DeprecatedNodeLabel(constraint.TopologyKey); message != "" {
			w.At(p.Child("topologyKey"), "%s is %s", constraint.TopologyKey, message)
		}
		warnNoSelector(w, p, constraint.LabelSelector)
	}
}

func warnPodAffinity(w *check.Warnings, p *field.Path, affinity *corev1.Affinity) {
	if affinity == nil {
		return
	}
	terms := func(p *field.Path, required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		for i := range required {
			warnNoSelector(w, p.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i), required[i].LabelSelector)
		}
		for i := range preferred {
			warnNoSelector(w, p.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("podAffinityTerm"), preferred[i].PodAffinityTerm.LabelSelector)
		}
	}
	if a := affinity.PodAffinity; a != nil {
		terms(p.Child("podAffinity"), a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if a := affinity.PodAntiAffinity; a != nil {
		terms(p.Child("podAntiAffinity"), a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

func warnNoSelector(w *check.Warnings, p *field.Path, selector *metav1.LabelSelector) {
	if selector == nil {
		w.At(p.Child("labelSelector"), "a null labelSelector results in matching no pod")
	}
}

// warnNodeSelectorTerm tells of labels that have been replaced and, where values are to be looked at, of those no label can have.
func warnNodeSelectorTerm(w *check.Warnings, p *field.Path, term *corev1.NodeSelectorTerm, values bool) {
	for i, expression := range term.MatchExpressions {
		if message := DeprecatedNodeLabel(expression.Key); message != "" {
			w.At(p.Child("matchExpressions").Index(i).Child("key"), "%s is %s", expression.Key, message)
		}
		if !values {
			continue
		}
		for j, value := range expression.Values {
			for _, message := range validation.IsValidLabelValue(value) {
				w.At(p.Child("matchExpressions").Index(i).Child("values").Index(j), "%s is invalid, %s", value, message)
			}
		}
	}
}

// DeprecatedNodeLabel says what to use instead of a label of nodes, empty for those in use.
func DeprecatedNodeLabel(key string) string {
	switch key {
	case "beta.kubernetes.io/arch":
		return `deprecated since v1.14; use "kubernetes.io/arch" instead`
	case "beta.kubernetes.io/os":
		return `deprecated since v1.14; use "kubernetes.io/os" instead`
	case corev1.LabelFailureDomainBetaRegion:
		return `deprecated since v1.17; use "topology.kubernetes.io/region" instead`
	case corev1.LabelFailureDomainBetaZone:
		return `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`
	case corev1.LabelInstanceType:
		return `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`
	case "app.kubernetes.io/created-by":
		return `deprecated since v1.9`
	case "scheduler.alpha.kubernetes.io/preferAvoidPods":
		return `deprecated since v1.22; use Taints and Tolerations instead`
	case "node-role.kubernetes.io/master":
		return `use "node-role.kubernetes.io/control-plane" instead`
	}
	return ""
}
