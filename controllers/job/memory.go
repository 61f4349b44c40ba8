// SPDX-License-Identifier: Apache-2.0

package job

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
)

// records keeps the failures of each job that had any. It is lost with the process: a job's next pod then starts at once.
type records struct {
	mu   sync.Mutex
	jobs map[string]failures
}

func (r *records) of(key string) failures {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.jobs[key]
}

func (r *records) set(key string, f failures) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.jobs == nil {
		r.jobs = map[string]failures{}
	}
	if r.jobs[key] = f; f.count == 0 {
		delete(r.jobs, key)
	}
}

// releases keeps, by job, the pods that the tracking finalizer was taken from while the cache still shows it.
type releases struct {
	mu   sync.Mutex
	jobs map[string]sets.Set[types.UID]
}

func (r *releases) of(key string) sets.Set[types.UID] {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.jobs[key].Clone()
}

func (r *releases) add(key string, pod types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.jobs == nil {
		r.jobs = map[string]sets.Set[types.UID]{}
	}
	if r.jobs[key] == nil {
		r.jobs[key] = sets.Set[types.UID]{}
	}
	r.jobs[key].Insert(pod)
}

// seen says that the cache shows the pod without finalizer, or never will.
func (r *releases) seen(key string, pod types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.jobs[key], pod)
}

func (r *releases) forget(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.jobs, key)
}
