// SPDX-License-Identifier: Apache-2.0

package autoscaling

import (
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

const stored = `
metadata: {name: web, namespace: default, annotations: {mine: x}}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 1
  maxReplicas: 5
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}
  - {type: Pods, pods: {metric: {name: packets}, target: {type: AverageValue, averageValue: 1k}}}
  behavior: {scaleUp: {stabilizationWindowSeconds: 10}}
status:
  currentReplicas: 2
  desiredReplicas: 3
  currentMetrics: [{type: Resource, resource: {name: cpu, current: {averageUtilization: 70, averageValue: 100m}}}]
  conditions: [{type: AbleToScale, status: 'True', lastTransitionTime: null, reason: ReadyForNewScale}]
`

func TestConversion(t *testing.T) {
	hpa := apitest.Object[autoscalingv2.HorizontalPodAutoscaler](t, stored)
	shown, err := ToV1(hpa)
	if err != nil {
		t.Fatal(err)
	}
	apitest.Same(t, apitest.Object[autoscalingv1.HorizontalPodAutoscaler](t, `
metadata:
  name: web
  namespace: default
  annotations:
    mine: x
    autoscaling.alpha.kubernetes.io/metrics: '[{"type":"Pods","pods":{"metricName":"packets","targetAverageValue":"1k"}}]'
    autoscaling.alpha.kubernetes.io/behavior: '{"scaleUp":{"stabilizationWindowSeconds":10}}'
    autoscaling.alpha.kubernetes.io/current-metrics: '[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":70,"currentAverageValue":"100m"}}]'
    autoscaling.alpha.kubernetes.io/conditions: '[{"type":"AbleToScale","status":"True","lastTransitionTime":null,"reason":"ReadyForNewScale"}]'
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, minReplicas: 1, maxReplicas: 5, targetCPUUtilizationPercentage: 80}
status: {currentReplicas: 2, desiredReplicas: 3, currentCPUUtilizationPercentage: 70}
`), shown)

	// Version 1 has no order among metrics: cpu comes last.
	hpa.Spec.Metrics[0], hpa.Spec.Metrics[1] = hpa.Spec.Metrics[1], hpa.Spec.Metrics[0]
	apitest.Same(t, hpa, FromV1(shown))
}

func TestFromV1(t *testing.T) {
	const base = `{metadata: {name: web}, spec: {scaleTargetRef: {kind: Deployment, name: web}, maxReplicas: 5, targetCPUUtilizationPercentage: 80}}`
	for _, c := range []struct{ name, change string }{
		{"plain", ``},
		{"annotation of a writer who guessed", `metadata: {annotations: {autoscaling.alpha.kubernetes.io/metrics: '{'}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			apitest.Same(t, apitest.Object[autoscalingv2.HorizontalPodAutoscaler](t, `
metadata: {name: web}
spec:
  scaleTargetRef: {kind: Deployment, name: web}
  maxReplicas: 5
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
`), FromV1(apitest.Object[autoscalingv1.HorizontalPodAutoscaler](t, base, c.change)))
		})
	}
}

func TestScale(t *testing.T) {
	apitest.Kind[autoscalingv1.Scale]{Validate: ValidateScale}.Create(t, `{metadata: {name: web, namespace: default}, spec: {replicas: 1}}`,
		apitest.Case{Name: "negative", Change: `spec: {replicas: -1}`,
			Want: `spec.replicas: Invalid value: -1: must be greater than or equal to 0`},
	)
}
