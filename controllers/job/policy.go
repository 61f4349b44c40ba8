// SPDX-License-Identifier: Apache-2.0

package job

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// judgement is what a pod failure policy (KEP-3329) says of a failed pod.
type judgement struct {
	action batchv1.PodFailurePolicyAction
	// message says why the job fails, where the action is FailJob.
	message string
}

// counts reports whether the failure counts towards backoffLimit and backoffLimitPerIndex.
func (j judgement) counts() bool { return j.action != batchv1.PodFailurePolicyActionIgnore }

// judge applies the first rule that matches the pod. Where none does, or there is no policy, the failure counts.
func judge(policy *batchv1.PodFailurePolicy, pod *corev1.Pod) judgement {
	if policy == nil {
		return judgement{action: batchv1.PodFailurePolicyActionCount}
	}
	for i := range policy.Rules {
		rule := &policy.Rules[i]
		var message string
		if rule.OnExitCodes != nil {
			status := exited(&pod.Status, rule.OnExitCodes)
			if status == nil {
				continue
			}
			message = fmt.Sprintf("Container %s for pod %s/%s failed with exit code %v matching %v rule at index %d",
				status.Name, pod.Namespace, pod.Name, status.State.Terminated.ExitCode, rule.Action, i)
		} else {
			condition := matching(pod.Status.Conditions, rule.OnPodConditions)
			if condition == nil {
				continue
			}
			message = fmt.Sprintf("Pod %s/%s has condition %v matching %v rule at index %d", pod.Namespace, pod.Name, condition.Type, rule.Action, i)
		}
		if rule.Action != batchv1.PodFailurePolicyActionFailJob {
			message = ""
		}
		return judgement{rule.Action, message}
	}
	return judgement{action: batchv1.PodFailurePolicyActionCount}
}

// exited returns the first container that ended with an exit code that the rule asks for. Success never matches.
func exited(pod *corev1.PodStatus, rule *batchv1.PodFailurePolicyOnExitCodesRequirement) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{pod.ContainerStatuses, pod.InitContainerStatuses} {
		for i := range list {
			ended := list[i].State.Terminated
			if ended == nil || ended.ExitCode == 0 || rule.ContainerName != nil && *rule.ContainerName != list[i].Name {
				continue
			}
			if slices.Contains(rule.Values, ended.ExitCode) == (rule.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn) {
				return &list[i]
			}
		}
	}
	return nil
}

func matching(conditions []corev1.PodCondition, patterns []batchv1.PodFailurePolicyOnPodConditionsPattern) *corev1.PodCondition {
	for i := range conditions {
		for _, p := range patterns {
			if conditions[i].Type == p.Type && conditions[i].Status == p.Status {
				return &conditions[i]
			}
		}
	}
	return nil
}

// successRule returns the first rule of a success policy (KEP-3998) that the succeeded indexes fulfil.
func successRule(policy *batchv1.SuccessPolicy, completions int, succeeded indexes) (int, bool) {
	if policy == nil || len(succeeded) == 0 {
		return 0, false
	}
	for i := range policy.Rules {
		rule := &policy.Rules[i]
		has, need := succeeded.total(), int(ptr.Deref(rule.SucceededCount, -1))
		if rule.SucceededIndexes != nil {
			wanted := parseIndexes(*rule.SucceededIndexes, completions)
			if len(wanted) == 0 {
				continue
			}
			has = succeeded.common(wanted)
			if need < 0 {
				need = wanted.total()
			}
		}
		if need >= 0 && has >= need {
			return i, true
		}
	}
	return 0, false
}
