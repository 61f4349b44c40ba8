// SPDX-License-Identifier: Apache-2.0

package plugins

import "github.com/hivemind-project/hivemind/pkg/scheduler/state"

// DynamicResources holds back pods that claim devices. Claims are served, so that drivers and those who write claims can be tried; nothing
// here allocates a device, and a pod that ran without what it claims would be worse than one that waits.
type DynamicResources struct{}

// Name implements Plugin.
func (DynamicResources) Name() string { return "DynamicResources" }

// Wakes implements Plugin.
func (DynamicResources) Wakes() state.Change { return 0 }

// Start implements Plugin.
func (DynamicResources) Start(pod *state.Pod, _ *state.Cluster) (*Judge, *Verdict) {
	if len(pod.Spec.ResourceClaims) == 0 {
		return nil, nil
	}
	return nil, refuseForGood("cannot allocate all claims")
}
