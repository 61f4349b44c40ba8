// SPDX-License-Identifier: Apache-2.0

package table

import (
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apiserver/pkg/registry/rest"
)

// forWorkloads knows the groups apps, batch, autoscaling and policy.
func forWorkloads(kind schema.GroupKind) rest.TableConvertor {
	switch kind {
	case schema.GroupKind{Group: "apps", Kind: "Deployment"}:
		return deployments()
	case schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}:
		return replicaSets()
	case schema.GroupKind{Group: "apps", Kind: "StatefulSet"}:
		return statefulSets()
	case schema.GroupKind{Group: "apps", Kind: "DaemonSet"}:
		return daemonSets()
	case schema.GroupKind{Group: "apps", Kind: "ControllerRevision"}:
		return controllerRevisions()
	case schema.GroupKind{Group: "batch", Kind: "Job"}:
		return jobs()
	case schema.GroupKind{Group: "batch", Kind: "CronJob"}:
		return cronJobs()
	case schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}:
		return autoscalers()
	case schema.GroupKind{Group: "autoscaling", Kind: "Scale"}:
		return scales()
	case schema.GroupKind{Group: "policy", Kind: "PodDisruptionBudget"}:
		return disruptionBudgets()
	}
	return nil
}

func deployments() *table[appsv1.Deployment] {
	spec, status := appsv1.DeploymentSpec{}.SwaggerDoc(), appsv1.DeploymentStatus{}.SwaggerDoc()
	return of(slices.Concat([]column[appsv1.Deployment]{
		name[appsv1.Deployment](),
		text("Ready", "Number of the pod with ready state", func(d *appsv1.Deployment) any {
			return fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, deref(d.Spec.Replicas, 0))
		}),
		text("Up-to-date", status["updatedReplicas"], func(d *appsv1.Deployment) any { return int64(d.Status.UpdatedReplicas) }),
		text("Available", status["availableReplicas"], func(d *appsv1.Deployment) any { return int64(d.Status.AvailableReplicas) }),
		age[appsv1.Deployment](),
	}, containers(func(d *appsv1.Deployment) *corev1.PodSpec { return &d.Spec.Template.Spec }), []column[appsv1.Deployment]{
		text("Selector", spec["selector"], func(d *appsv1.Deployment) any {
			selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
			if err != nil {
				return "<invalid>"
			}
			return selector.String()
		}).wide(),
	})...)
}

func replicaSets() *table[appsv1.ReplicaSet] {
	spec, status := appsv1.ReplicaSetSpec{}.SwaggerDoc(), appsv1.ReplicaSetStatus{}.SwaggerDoc()
	return of(slices.Concat([]column[appsv1.ReplicaSet]{
		name[appsv1.ReplicaSet](),
		integer("Desired", spec["replicas"], func(r *appsv1.ReplicaSet) any { return int64(deref(r.Spec.Replicas, 0)) }),
		integer("Current", status["replicas"], func(r *appsv1.ReplicaSet) any { return int64(r.Status.Replicas) }),
		integer("Ready", status["readyReplicas"], func(r *appsv1.ReplicaSet) any { return int64(r.Status.ReadyReplicas) }),
		age[appsv1.ReplicaSet](),
	}, containers(func(r *appsv1.ReplicaSet) *corev1.PodSpec { return &r.Spec.Template.Spec }), []column[appsv1.ReplicaSet]{
		text("Selector", spec["selector"], func(r *appsv1.ReplicaSet) any { return metav1.FormatLabelSelector(r.Spec.Selector) }).wide(),
	})...)
}

func statefulSets() *table[appsv1.StatefulSet] {
	return of(slices.Concat([]column[appsv1.StatefulSet]{
		name[appsv1.StatefulSet](),
		text("Ready", "Number of the pod with ready state", func(s *appsv1.StatefulSet) any {
			return fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, deref(s.Spec.Replicas, 0))
		}),
		age[appsv1.StatefulSet](),
	}, containers(func(s *appsv1.StatefulSet) *corev1.PodSpec { return &s.Spec.Template.Spec }))...)
}

func daemonSets() *table[appsv1.DaemonSet] {
	status := appsv1.DaemonSetStatus{}.SwaggerDoc()
	return of(slices.Concat([]column[appsv1.DaemonSet]{
		name[appsv1.DaemonSet](),
		integer("Desired", status["desiredNumberScheduled"], func(d *appsv1.DaemonSet) any { return int64(d.Status.DesiredNumberScheduled) }),
		integer("Current", status["currentNumberScheduled"], func(d *appsv1.DaemonSet) any { return int64(d.Status.CurrentNumberScheduled) }),
		integer("Ready", status["numberReady"], func(d *appsv1.DaemonSet) any { return int64(d.Status.NumberReady) }),
		integer("Up-to-date", status["updatedNumberScheduled"], func(d *appsv1.DaemonSet) any { return int64(d.Status.UpdatedNumberScheduled) }),
		integer("Available", status["numberAvailable"], func(d *appsv1.DaemonSet) any { return int64(d.Status.NumberAvailable) }),
		text("Node Selector", corev1.PodSpec{}.SwaggerDoc()["nodeSelector"], func(d *appsv1.DaemonSet) any { return labels.FormatLabels(d.Spec.Template.Spec.NodeSelector) }),
		age[appsv1.DaemonSet](),
	}, containers(func(d *appsv1.DaemonSet) *corev1.PodSpec { return &d.Spec.Template.Spec }), []column[appsv1.DaemonSet]{
		text("Selector", appsv1.DaemonSetSpec{}.SwaggerDoc()["selector"], func(d *appsv1.DaemonSet) any { return metav1.FormatLabelSelector(d.Spec.Selector) }).wide(),
	})...)
}

func controllerRevisions() *table[appsv1.ControllerRevision] {
	return of(
		name[appsv1.ControllerRevision](),
		text("Controller", "Controller of the object", func(r *appsv1.ControllerRevision) any {
			owner := metav1.GetControllerOf(r)
			if owner == nil {
				return "<none>"
			}
			return strings.ToLower(schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).GroupKind().String()) + "/" + owner.Name
		}),
		text("Revision", appsv1.ControllerRevision{}.SwaggerDoc()["revision"], func(r *appsv1.ControllerRevision) any { return r.Revision }),
		age[appsv1.ControllerRevision](),
	)
}

func jobs() *table[batchv1.Job] {
	return of(slices.Concat([]column[batchv1.Job]{
		name[batchv1.Job](),
		text("Status", "Status of the job.", jobStatus),
		text("Completions", batchv1.JobStatus{}.SwaggerDoc()["succeeded"], func(j *batchv1.Job) any {
			if j.Spec.Completions != nil {
				return fmt.Sprintf("%d/%d", j.Status.Succeeded, *j.Spec.Completions)
			}
			if parallelism := deref(j.Spec.Parallelism, 0); parallelism > 1 {
				return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, parallelism)
			}
			return fmt.Sprintf("%d/1", j.Status.Succeeded)
		}),
		text("Duration", "Time required to complete the job.", func(j *batchv1.Job) any {
			switch start, end := j.Status.StartTime, j.Status.CompletionTime; {
			case start == nil:
				return ""
			case end == nil:
				return duration.HumanDuration(time.Since(start.Time))
			default:
				return duration.HumanDuration(end.Sub(start.Time))
			}
		}),
		age[batchv1.Job](),
	}, containers(func(j *batchv1.Job) *corev1.PodSpec { return &j.Spec.Template.Spec }), []column[batchv1.Job]{
		text("Selector", batchv1.JobSpec{}.SwaggerDoc()["selector"], func(j *batchv1.Job) any { return metav1.FormatLabelSelector(j.Spec.Selector) }).wide(),
	})...)
}

func jobStatus(j *batchv1.Job) any {
	is := func(kind batchv1.JobConditionType) bool {
		i := slices.IndexFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool { return c.Type == kind })
		return i >= 0 && j.Status.Conditions[i].Status == corev1.ConditionTrue
	}
	switch {
	case is(batchv1.JobComplete):
		return "Complete"
	case is(batchv1.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case is(batchv1.JobSuspended):
		return "Suspended"
	case is(batchv1.JobFailureTarget):
		return "FailureTarget"
	case is(batchv1.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	}
	return "Running"
}

func cronJobs() *table[batchv1.CronJob] {
	spec, status := batchv1.CronJobSpec{}.SwaggerDoc(), batchv1.CronJobStatus{}.SwaggerDoc()
	return of(slices.Concat([]column[batchv1.CronJob]{
		name[batchv1.CronJob](),
		text("Schedule", spec["schedule"], func(c *batchv1.CronJob) any { return c.Spec.Schedule }),
		text("Timezone", spec["timeZone"], func(c *batchv1.CronJob) any { return deref(c.Spec.TimeZone, "<none>") }),
		boolean("Suspend", spec["suspend"], func(c *batchv1.CronJob) any {
			switch {
			case c.Spec.Suspend == nil:
				return "<unset>"
			case *c.Spec.Suspend:
				return "True"
			}
			return "False"
		}),
		integer("Active", status["active"], func(c *batchv1.CronJob) any { return int64(len(c.Status.Active)) }),
		text("Last Schedule", status["lastScheduleTime"], func(c *batchv1.CronJob) any {
			if c.Status.LastScheduleTime == nil {
				return "<none>"
			}
			return since(*c.Status.LastScheduleTime)
		}),
		age[batchv1.CronJob](),
	}, containers(func(c *batchv1.CronJob) *corev1.PodSpec { return &c.Spec.JobTemplate.Spec.Template.Spec }), []column[batchv1.CronJob]{
		text("Selector", batchv1.JobSpec{}.SwaggerDoc()["selector"], func(c *batchv1.CronJob) any {
			return metav1.FormatLabelSelector(c.Spec.JobTemplate.Spec.Selector)
		}).wide(),
	})...)
}

func scales() *table[autoscalingv1.Scale] {
	c := name[autoscalingv1.Scale]()
	c.Format = ""
	return of(c,
		integer("Desired", autoscalingv1.ScaleSpec{}.SwaggerDoc()["replicas"], func(s *autoscalingv1.Scale) any { return int64(s.Spec.Replicas) }),
		integer("Available", autoscalingv1.ScaleStatus{}.SwaggerDoc()["replicas"], func(s *autoscalingv1.Scale) any { return int64(s.Status.Replicas) }),
		age[autoscalingv1.Scale]())
}

func disruptionBudgets() *table[policyv1.PodDisruptionBudget] {
	amount := func(v *intstr.IntOrString) string {
		if v == nil {
			return "N/A"
		}
		return v.String()
	}
	return of(
		name[policyv1.PodDisruptionBudget](),
		text("Min Available", "The minimum number of pods that must be available.", func(b *policyv1.PodDisruptionBudget) any { return amount(b.Spec.MinAvailable) }),
		text("Max Unavailable", "The maximum number of pods that may be unavailable.", func(b *policyv1.PodDisruptionBudget) any { return amount(b.Spec.MaxUnavailable) }),
		integer("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time.", func(b *policyv1.PodDisruptionBudget) any { return int64(b.Status.DisruptionsAllowed) }),
		age[policyv1.PodDisruptionBudget](),
	)
}

func autoscalers() *table[autoscalingv2.HorizontalPodAutoscaler] {
	spec, status := autoscalingv2.HorizontalPodAutoscalerSpec{}.SwaggerDoc(), autoscalingv2.HorizontalPodAutoscalerStatus{}.SwaggerDoc()
	return of(
		name[autoscalingv2.HorizontalPodAutoscaler](),
		text("Reference", spec["scaleTargetRef"], func(h *autoscalingv2.HorizontalPodAutoscaler) any {
			return h.Spec.ScaleTargetRef.Kind + "/" + h.Spec.ScaleTargetRef.Name
		}),
		text("Targets", spec["metrics"], targets),
		text("MinPods", spec["minReplicas"], func(h *autoscalingv2.HorizontalPodAutoscaler) any {
			if h.Spec.MinReplicas == nil {
				return "<unset>"
			}
			return fmt.Sprint(*h.Spec.MinReplicas)
		}),
		text("MaxPods", spec["maxReplicas"], func(h *autoscalingv2.HorizontalPodAutoscaler) any { return int64(h.Spec.MaxReplicas) }),
		text("Replicas", status["currentReplicas"], func(h *autoscalingv2.HorizontalPodAutoscaler) any { return int64(h.Status.CurrentReplicas) }),
		age[autoscalingv2.HorizontalPodAutoscaler](),
	)
}

// targets pairs each metric's current value with its target, by their places in spec and status.
func targets(h *autoscalingv2.HorizontalPodAutoscaler) any {
	if len(h.Spec.Metrics) == 0 {
		return "<none>"
	}
	parts := make([]string, len(h.Spec.Metrics))
	for i := range h.Spec.Metrics {
		var current autoscalingv2.MetricStatus
		if i < len(h.Status.CurrentMetrics) {
			current = h.Status.CurrentMetrics[i]
		}
		parts[i] = target(&h.Spec.Metrics[i], &current)
	}
	return firstOf(parts, 2, ", ")
}

func target(want *autoscalingv2.MetricSpec, is *autoscalingv2.MetricStatus) string {
	var current *autoscalingv2.MetricValueStatus
	switch {
	case want.Type == autoscalingv2.ExternalMetricSourceType && want.External != nil:
		if is.External != nil {
			current = &is.External.Current
		}
		return valueTarget(&want.External.Target, current)
	case want.Type == autoscalingv2.ObjectMetricSourceType && want.Object != nil:
		if is.Object != nil {
			current = &is.Object.Current
		}
		return valueTarget(&want.Object.Target, current)
	case want.Type == autoscalingv2.PodsMetricSourceType && want.Pods != nil:
		if is.Pods != nil {
			current = &is.Pods.Current
		}
		return average(current) + "/" + quantity(want.Pods.Target.AverageValue)
	case want.Type == autoscalingv2.ResourceMetricSourceType && want.Resource != nil:
		if is.Resource != nil {
			current = &is.Resource.Current
		}
		return want.Resource.Name.String() + ": " + utilization(&want.Resource.Target, current)
	case want.Type == autoscalingv2.ContainerResourceMetricSourceType && want.ContainerResource != nil:
		if is.ContainerResource != nil {
			current = &is.ContainerResource.Current
		}
		return want.ContainerResource.Name.String() + ": " + utilization(&want.ContainerResource.Target, current)
	}
	return "<unknown type>"
}

func valueTarget(want *autoscalingv2.MetricTarget, current *autoscalingv2.MetricValueStatus) string {
	if want.AverageValue != nil {
		return average(current) + "/" + quantity(want.AverageValue) + " (avg)"
	}
	is := "<unknown>"
	if current != nil {
		is = quantity(current.Value)
	}
	return is + "/" + quantity(want.Value)
}

func utilization(want *autoscalingv2.MetricTarget, current *autoscalingv2.MetricValueStatus) string {
	if want.AverageValue != nil {
		return average(current) + "/" + quantity(want.AverageValue)
	}
	is, goal := "<unknown>", "<auto>"
	if current != nil && current.AverageUtilization != nil {
		is = fmt.Sprintf("%d%%", *current.AverageUtilization)
	}
	if want.AverageUtilization != nil {
		goal = fmt.Sprintf("%d%%", *want.AverageUtilization)
	}
	return is + "/" + goal
}

func average(current *autoscalingv2.MetricValueStatus) string {
	if current == nil || current.AverageValue == nil {
		return "<unknown>"
	}
	return current.AverageValue.String()
}

func quantity(q *resource.Quantity) string {
	if q == nil {
		return "<nil>"
	}
	return q.String()
}
