// SPDX-License-Identifier: Apache-2.0

package table

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apiserver/pkg/registry/rest"
)

// forCore knows the kinds of the core group but those about network and volumes, and Event of both groups.
func forCore(kind schema.GroupKind) rest.TableConvertor {
	switch kind {
	case schema.GroupKind{Kind: "Pod"}:
		return pods()
	case schema.GroupKind{Kind: "PodTemplate"}:
		return podTemplates()
	case schema.GroupKind{Kind: "ReplicationController"}:
		return replicationControllers()
	case schema.GroupKind{Kind: "Node"}:
		return nodes()
	case schema.GroupKind{Kind: "Namespace"}:
		return of(name[corev1.Namespace](),
			text("Status", "The status of the namespace", func(n *corev1.Namespace) any { return string(n.Status.Phase) }),
			age[corev1.Namespace]())
	case schema.GroupKind{Kind: "ConfigMap"}:
		return of(name[corev1.ConfigMap](),
			text("Data", corev1.ConfigMap{}.SwaggerDoc()["data"], func(c *corev1.ConfigMap) any { return int64(len(c.Data) + len(c.BinaryData)) }),
			age[corev1.ConfigMap]())
	case schema.GroupKind{Kind: "Secret"}:
		return of(name[corev1.Secret](),
			text("Type", corev1.Secret{}.SwaggerDoc()["type"], func(s *corev1.Secret) any { return string(s.Type) }),
			text("Data", corev1.Secret{}.SwaggerDoc()["data"], func(s *corev1.Secret) any { return int64(len(s.Data)) }),
			age[corev1.Secret]())
	case schema.GroupKind{Kind: "ServiceAccount"}:
		return of(name[corev1.ServiceAccount](), age[corev1.ServiceAccount]())
	case schema.GroupKind{Kind: "ResourceQuota"}:
		return resourceQuotas()
	case schema.GroupKind{Kind: "ComponentStatus"}:
		return componentStatuses()
	case schema.GroupKind{Kind: "Event"}, schema.GroupKind{Group: "events.k8s.io", Kind: "Event"}:
		return events()
	}
	return nil
}

func podTemplates() *table[corev1.PodTemplate] {
	return of(
		name[corev1.PodTemplate](),
		text("Containers", "Names of each container in the template.", func(t *corev1.PodTemplate) any { return containerNames(&t.Template.Spec) }),
		text("Images", "Images referenced by each container in the template.", func(t *corev1.PodTemplate) any { return containerImages(&t.Template.Spec) }),
		text("Pod Labels", "The labels for the pod template.", func(t *corev1.PodTemplate) any { return labels.FormatLabels(t.Template.Labels) }),
	)
}

func replicationControllers() *table[corev1.ReplicationController] {
	spec, status := corev1.ReplicationControllerSpec{}.SwaggerDoc(), corev1.ReplicationControllerStatus{}.SwaggerDoc()
	template := func(r *corev1.ReplicationController) *corev1.PodSpec {
		if r.Spec.Template == nil {
			return &corev1.PodSpec{}
		}
		return &r.Spec.Template.Spec
	}
	return of(slices.Concat([]column[corev1.ReplicationController]{
		name[corev1.ReplicationController](),
		integer("Desired", spec["replicas"], func(r *corev1.ReplicationController) any { return int64(deref(r.Spec.Replicas, 0)) }),
		integer("Current", status["replicas"], func(r *corev1.ReplicationController) any { return int64(r.Status.Replicas) }),
		integer("Ready", status["readyReplicas"], func(r *corev1.ReplicationController) any { return int64(r.Status.ReadyReplicas) }),
		age[corev1.ReplicationController](),
	}, containers(template), []column[corev1.ReplicationController]{
		text("Selector", spec["selector"], func(r *corev1.ReplicationController) any { return labels.FormatLabels(r.Spec.Selector) }).wide(),
	})...)
}

// containers are the wide columns of kinds that have a pod template.
func containers[T any](template func(*T) *corev1.PodSpec) []column[T] {
	return []column[T]{
		text("Containers", "Names of each container in the template.", func(o *T) any { return containerNames(template(o)) }).wide(),
		text("Images", "Images referenced by each container in the template.", func(o *T) any { return containerImages(template(o)) }).wide(),
	}
}

func containerNames(spec *corev1.PodSpec) string {
	return list(spec.Containers, func(c *corev1.Container) string { return c.Name })
}

func containerImages(spec *corev1.PodSpec) string {
	return list(spec.Containers, func(c *corev1.Container) string { return c.Image })
}

// list joins what f says of each item by commas.
func list[V any](items []V, f func(*V) string) string {
	parts := make([]string, len(items))
	for i := range items {
		parts[i] = f(&items[i])
	}
	return strings.Join(parts, ",")
}

// firstOf joins the first few of count items by commas and tells how many more there are.
func firstOf(items []string, most int, separator string) string {
	if len(items) <= most {
		return strings.Join(items, separator)
	}
	return fmt.Sprintf("%s + %d more...", strings.Join(items[:most], separator), len(items)-most)
}

func nodes() *table[corev1.Node] {
	info, status := corev1.NodeSystemInfo{}.SwaggerDoc(), corev1.NodeStatus{}.SwaggerDoc()
	return of(
		name[corev1.Node](),
		text("Status", "The status of the node", nodeStatus),
		text("Roles", "The roles of the node", func(n *corev1.Node) any { return or(strings.Join(nodeRoles(n), ","), "<none>") }),
		age[corev1.Node](),
		text("Version", info["kubeletVersion"], func(n *corev1.Node) any { return n.Status.NodeInfo.KubeletVersion }),
		text("Internal-IP", status["addresses"], func(n *corev1.Node) any { return nodeAddress(n, corev1.NodeInternalIP) }).wide(),
		text("External-IP", status["addresses"], func(n *corev1.Node) any { return nodeAddress(n, corev1.NodeExternalIP) }).wide(),
		text("OS-Image", info["osImage"], func(n *corev1.Node) any { return or(n.Status.NodeInfo.OSImage, "<unknown>") }).wide(),
		text("Kernel-Version", info["kernelVersion"], func(n *corev1.Node) any {
			kernel := or(n.Status.NodeInfo.KernelVersion, "<unknown>")
			if arch := n.Status.NodeInfo.Architecture; arch != "" {
				kernel += " (" + arch + ")"
			}
			return kernel
		}).wide(),
		text("Container-Runtime", info["containerRuntimeVersion"], func(n *corev1.Node) any { return or(n.Status.NodeInfo.ContainerRuntimeVersion, "<unknown>") }).wide(),
	)
}

func nodeStatus(n *corev1.Node) any {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			status = "Ready"
			if c.Status != corev1.ConditionTrue {
				status = "NotReady"
			}
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

func nodeRoles(n *corev1.Node) []string {
	roles := map[string]bool{}
	for key, value := range n.Labels {
		if role, ok := strings.CutPrefix(key, "node-role.kubernetes.io/"); ok && role != "" {
			roles[role] = true
		} else if key == "kubernetes.io/role" && value != "" {
			roles[value] = true
		}
	}
	return slices.Sorted(maps.Keys(roles))
}

func nodeAddress(n *corev1.Node, kind corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == kind {
			return a.Address
		}
	}
	return "<none>"
}

func resourceQuotas() *table[corev1.ResourceQuota] {
	// usage lists used/hard of the limits, or of all others.
	usage := func(q *corev1.ResourceQuota, limits bool) string {
		var parts []string
		for _, resource := range slices.Sorted(maps.Keys(q.Status.Hard)) {
			if strings.HasPrefix(string(resource), "limits.") == limits {
				used, hard := q.Status.Used[resource], q.Status.Hard[resource]
				parts = append(parts, fmt.Sprintf("%s: %s/%s", resource, used.String(), hard.String()))
			}
		}
		return strings.Join(parts, ", ")
	}
	return of(
		name[corev1.ResourceQuota](),
		text("Request", "Request represents a minimum amount of cpu/memory that a container may consume.", func(q *corev1.ResourceQuota) any { return usage(q, false) }),
		text("Limit", "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
			func(q *corev1.ResourceQuota) any { return usage(q, true) }),
		age[corev1.ResourceQuota](),
	)
}

func componentStatuses() *table[corev1.ComponentStatus] {
	healthy := func(s *corev1.ComponentStatus) corev1.ComponentCondition {
		for _, c := range s.Conditions {
			if c.Type == corev1.ComponentHealthy {
				return c
			}
		}
		return corev1.ComponentCondition{}
	}
	return of(
		name[corev1.ComponentStatus](),
		text("Status", "Status of the component conditions", func(s *corev1.ComponentStatus) any {
			switch healthy(s).Status {
			case "":
				return "Unknown"
			case corev1.ConditionTrue:
				return "Healthy"
			}
			return "Unhealthy"
		}),
		text("Message", "Message of the component conditions", func(s *corev1.ComponentStatus) any { return healthy(s).Message }),
		text("Error", "Error of the component conditions", func(s *corev1.ComponentStatus) any { return healthy(s).Error }),
	)
}

func events() *table[corev1.Event] {
	doc, object := corev1.Event{}.SwaggerDoc(), corev1.ObjectReference{}.SwaggerDoc()
	return of(
		text("Last Seen", doc["lastTimestamp"], lastSeen),
		text("Type", doc["type"], func(e *corev1.Event) any { return e.Type }),
		text("Reason", doc["reason"], func(e *corev1.Event) any { return e.Reason }),
		text("Object", doc["involvedObject"], func(e *corev1.Event) any {
			target := strings.ToLower(e.InvolvedObject.Kind)
			if e.InvolvedObject.Name != "" {
				target += "/" + e.InvolvedObject.Name
			}
			return target
		}),
		text("Subobject", object["fieldPath"], func(e *corev1.Event) any { return e.InvolvedObject.FieldPath }).wide(),
		text("Source", doc["source"], func(e *corev1.Event) any {
			source := or(e.Source.Component, e.ReportingController)
			if host := or(e.Source.Host, e.ReportingInstance); host != "" {
				source += ", " + host
			}
			return source
		}).wide(),
		text("Message", doc["message"], func(e *corev1.Event) any { return strings.TrimSpace(e.Message) }),
		text("First Seen", doc["firstTimestamp"], func(e *corev1.Event) any { return firstSeen(e) }).wide(),
		text("Count", doc["count"], func(e *corev1.Event) any {
			switch {
			case e.Series != nil:
				return int64(e.Series.Count)
			case e.Count == 0:
				return int64(1)
			}
			return int64(e.Count)
		}).wide(),
		name[corev1.Event]().wide(),
	)
}

func firstSeen(e *corev1.Event) string {
	if e.FirstTimestamp.IsZero() {
		return sinceMicro(e.EventTime)
	}
	return since(e.FirstTimestamp)
}

func lastSeen(e *corev1.Event) any {
	switch {
	case e.Series != nil:
		return sinceMicro(e.Series.LastObservedTime)
	case e.LastTimestamp.IsZero():
		return firstSeen(e)
	}
	return since(e.LastTimestamp)
}

func sinceMicro(t metav1.MicroTime) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t.Time))
}
