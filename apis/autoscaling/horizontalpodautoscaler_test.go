// SPDX-License-Identifier: Apache-2.0

// This file checks what users get wrong in HorizontalPodAutoscalers: the error is the one that kube-apiserver gives.

package autoscaling

import (
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestHorizontalPodAutoscaler(t *testing.T) {
	kind := apitest.Kind[autoscalingv2.HorizontalPodAutoscaler]{
		SetDefaults:          SetDefaultsHorizontalPodAutoscaler,
		Validate:             ValidateHorizontalPodAutoscaler,
		ValidateUpdate:       ValidateHorizontalPodAutoscalerUpdate,
		ValidateStatusUpdate: ValidateHorizontalPodAutoscalerStatusUpdate,
	}
	const base = `
metadata: {name: web, namespace: default}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, maxReplicas: 5}
`
	kind.Create(t, base,
		apitest.Case{Name: `no maximum`, Change: `spec: {maxReplicas: 0}`,
			Want: "[spec.maxReplicas: Required value: must be set and greater than 0, spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`]"},
		apitest.Case{Name: `minimum above maximum`, Change: `spec: {minReplicas: 6}`,
			Want: "spec.maxReplicas: Invalid value: 5: must be greater than or equal to `minReplicas`"},
		apitest.Case{Name: `down to zero`, Change: `spec: {minReplicas: 0}`,
			Want: `[spec.minReplicas: Invalid value: 0: must be greater than or equal to 1, spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas]`},
		apitest.Case{Name: `target without group`, Change: `spec: {scaleTargetRef: {apiVersion: v1}}`,
			Want: `spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group`},
		apitest.Case{Name: `metric of no source`, Change: `spec: {metrics: [{type: Resource}]}`,
			Want: `spec.metrics[0].resource: Required value: must populate information for the given metric source`},
		apitest.Case{Name: `metric without target`, Change: `spec: {metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization}}}]}`,
			Want: `spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization`},
		apitest.Case{Name: `unknown type of metric`, Change: `spec: {metrics: [{type: Guess}]}`,
			Want: `spec.metrics[0].type: Unsupported value: "Guess": supported values: "ContainerResource", "External", "Object", "Pods", "Resource"`},
		apitest.Case{Name: `window too long`, Change: `spec: {behavior: {scaleDown: {stabilizationWindowSeconds: 7200}}}`,
			Want: `spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 7200: must be less than or equal to 3600`},
		apitest.Case{Name: `period too long`, Change: `spec: {behavior: {scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 3600}]}}}`,
			Want: `spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 3600: must be less than or equal to 1800`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `more`, Change: `spec: {maxReplicas: 6}`},
	)
	kind.StatusUpdate(t, base,
		apitest.Case{Name: `negative replicas`, Change: `status: {currentReplicas: -1}`,
			Want: `status.currentReplicas: Invalid value: -1: must be greater than or equal to 0`},
	)
}
