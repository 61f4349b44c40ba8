// SPDX-License-Identifier: Apache-2.0

package job

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/controllers/internal/podcontrol"
)

const (
	// indexVariable is where the containers of an indexed job find their index.
	indexVariable = "JOB_COMPLETION_INDEX"
	// noIndex is the index of pods that have none.
	noIndex = -1
	// maxGenerateName is how much of generateName the API server keeps; what goes beyond is cut, and the index with it.
	maxGenerateName = 58
)

// untrack is the patch that takes the tracking finalizer from a pod.
const untrack = `{"metadata":{"$deleteFromPrimitiveList/finalizers":["` + batchv1.JobTrackingFinalizer + `"]}}`

// newPod is the job's next pod. In an indexed job it has an index and takes over the failures of the pod that it
// replaces, if there is one.
func newPod(job *batchv1.Job, index int, replaced *corev1.Pod) *corev1.Pod {
	pod := podcontrol.FromTemplate(&job.Spec.Template, job, metav1.NewControllerRef(job, kind))
	if !tracked(pod) {
		pod.Finalizers = append(pod.Finalizers, batchv1.JobTrackingFinalizer)
	}
	if index == noIndex {
		return pod
	}
	number := strconv.Itoa(index)
	suffix := "-" + number + "-"
	pod.GenerateName = job.Name[:min(len(job.Name), maxGenerateName-len(suffix))] + suffix
	pod.Spec.Hostname = fmt.Sprintf("%s-%d", job.Name, index)
	setKey(&pod.Labels, batchv1.JobCompletionIndexAnnotation, number)
	setKey(&pod.Annotations, batchv1.JobCompletionIndexAnnotation, number)
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			addIndexVariable(&containers[i])
		}
	}
	if job.Spec.BackoffLimitPerIndex == nil {
		return pod
	}
	var counted, ignored int32
	if replaced != nil {
		counted, ignored = failureCounts(replaced)
		if judge(job.Spec.PodFailurePolicy, replaced).counts() {
			counted++
		} else {
			ignored++
		}
	}
	setKey(&pod.Annotations, batchv1.JobIndexFailureCountAnnotation, strconv.Itoa(int(counted)))
	if ignored > 0 {
		setKey(&pod.Annotations, batchv1.JobIndexIgnoredFailureCountAnnotation, strconv.Itoa(int(ignored)))
	}
	return pod
}

func addIndexVariable(c *corev1.Container) {
	if slices.ContainsFunc(c.Env, func(v corev1.EnvVar) bool { return v.Name == indexVariable }) {
		return
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: indexVariable, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{
		FieldPath: fmt.Sprintf("metadata.labels['%s']", batchv1.JobCompletionIndexAnnotation),
	}}})
}

func setKey(m *map[string]string, key, value string) {
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[key] = value
}

// tracked reports whether the pod waits to be counted.
func tracked(pod *corev1.Pod) bool {
	return slices.Contains(pod.Finalizers, batchv1.JobTrackingFinalizer)
}

// indexOf is the pod's completion index, noIndex if it has none that makes sense.
func indexOf(pod *corev1.Pod) int {
	n, err := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil || n < 0 {
		return noIndex
	}
	return n
}

// failureCounts are the failures within the pod's index before it: those that count and those that a policy ignored.
func failureCounts(pod *corev1.Pod) (counted, ignored int32) {
	read := func(key string) int32 {
		n, err := strconv.ParseInt(pod.Annotations[key], 10, 32)
		if err != nil || n < 0 {
			return 0 // somebody removed or rewrote the annotation
		}
		return int32(n)
	}
	return read(batchv1.JobIndexFailureCountAnnotation), read(batchv1.JobIndexIgnoredFailureCountAnnotation)
}

// failed reports whether the pod counts as failed. One that is being deleted does as soon as that is known, since it may
// never say so itself, unless the job wants to see the end of a pod before it replaces it.
func failed(job *batchv1.Job, pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodFailed {
		return true
	}
	return !replacesFailedOnly(job) && pod.DeletionTimestamp != nil && pod.Status.Phase != corev1.PodSucceeded
}

func replacesFailedOnly(job *batchv1.Job) bool {
	return job.Spec.PodFailurePolicy != nil || job.Spec.PodReplacementPolicy != nil && *job.Spec.PodReplacementPolicy == batchv1.Failed
}

func byIndex(a, b *corev1.Pod) int { return cmp.Compare(indexOf(a), indexOf(b)) }
