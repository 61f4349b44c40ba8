// SPDX-License-Identifier: Apache-2.0

package garbagecollector

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// item names an object: where it is watched, and its namespace/name there.
type item struct {
	monitor *monitor
	name    string
}

// key is what the queue holds.
func (i item) key() string { return i.monitor.prefix + i.name }

// graph knows which objects name an owner. Only owners with dependents take memory.
type graph struct {
	mu    sync.RWMutex
	edges map[types.UID]map[item]struct{}
}

func newGraph() *graph { return &graph{edges: map[types.UID]map[item]struct{}{}} }

func (g *graph) link(dependent item, refs []metav1.OwnerReference) {
	if len(refs) == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range refs {
		edges := g.edges[refs[i].UID]
		if edges == nil {
			edges = map[item]struct{}{}
			g.edges[refs[i].UID] = edges
		}
		edges[dependent] = struct{}{}
	}
}

func (g *graph) unlink(dependent item, refs []metav1.OwnerReference) {
	if len(refs) == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range refs {
		edges := g.edges[refs[i].UID]
		delete(edges, dependent)
		if len(edges) == 0 {
			delete(g.edges, refs[i].UID)
		}
	}
}

func (g *graph) dependents(owner types.UID) []item {
	g.mu.RLock()
	defer g.mu.RUnlock()
	list := make([]item, 0, len(g.edges[owner]))
	for dependent := range g.edges[owner] {
		list = append(list, dependent)
	}
	return list
}

func (g *graph) hasDependents(owner types.UID) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return len(g.edges[owner]) > 0
}
