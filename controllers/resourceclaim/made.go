// SPDX-License-Identifier: Apache-2.0

package resourceclaim

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// made is what was made for pods and may not be in the caches yet: without it, a second look at the pod would make it again.
// It has entries for the moment between the two alone. Its zero value is empty.
type made struct {
	mu     sync.Mutex
	claims map[types.UID]map[string]string // of pods, by name in the pod, the name of the claim
}

func (m *made) remember(pod types.UID, name, claim string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.claims == nil {
		m.claims = map[types.UID]map[string]string{}
	}
	if m.claims[pod] == nil {
		m.claims[pod] = map[string]string{}
	}
	m.claims[pod][name] = claim
}

// claim returns what was made for the pod by that name, "" for nothing.
func (m *made) claim(pod types.UID, name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.claims[pod][name]
}

func (m *made) forgetPod(pod types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.claims, pod)
}

// forgetClaim drops a claim that the caches know, or that is gone.
func (m *made) forgetClaim(pod types.UID, claim string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, is := range m.claims[pod] {
		if is == claim {
			delete(m.claims[pod], name)
		}
	}
	if len(m.claims[pod]) == 0 {
		delete(m.claims, pod)
	}
}
