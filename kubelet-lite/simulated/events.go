// SPDX-License-Identifier: Apache-2.0

package simulated

import (
	"context"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
)

// Subscribe has tell called for every event, by whoever caused it and before that returns.
func (r *Runtime) Subscribe(tell func(*runtimeapi.ContainerEventResponse)) (cancel func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listened++
	id := r.listened
	r.listeners[id] = tell
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.listeners, id)
	}
}

// GetContainerEvents sends events until ctx ends. One who is in this process had better subscribe.
func (r *Runtime) GetContainerEvents(ctx context.Context, events chan *runtimeapi.ContainerEventResponse,
	connected func(runtimeapi.RuntimeService_GetContainerEventsClient)) error {
	// A queue of our own, so that a slow reader holds up nobody: like a real runtime, the newest are dropped when it is full.
	queue := make(chan *runtimeapi.ContainerEventResponse, 4096)
	cancel := r.Subscribe(func(event *runtimeapi.ContainerEventResponse) {
		select {
		case queue <- event:
		default:
		}
	})
	defer cancel()
	if connected != nil {
		connected(nil)
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event := <-queue:
			select {
			case <-ctx.Done():
				return ctx.Err()
			case events <- event:
			}
		}
	}
}

// emit tells every listener; the lock is not held.
func (r *Runtime) emit(events ...*runtimeapi.ContainerEventResponse) {
	for _, event := range events {
		if event == nil {
			continue
		}
		r.mu.Lock()
		listeners := make([]func(*runtimeapi.ContainerEventResponse), 0, len(r.listeners))
		for _, tell := range r.listeners {
			listeners = append(listeners, tell)
		}
		r.mu.Unlock()
		for _, tell := range listeners {
			tell(event)
		}
	}
}

// sandboxEvent and containerEvent are called with the lock held.
func sandboxEvent(s *sandbox, kind runtimeapi.ContainerEventType) *runtimeapi.ContainerEventResponse {
	return &runtimeapi.ContainerEventResponse{ContainerId: s.id, ContainerEventType: kind, CreatedAt: time.Now().UnixNano(), PodSandboxStatus: s.status()}
}

func containerEvent(c *container, kind runtimeapi.ContainerEventType) *runtimeapi.ContainerEventResponse {
	return &runtimeapi.ContainerEventResponse{ContainerId: c.id, ContainerEventType: kind, CreatedAt: time.Now().UnixNano(), PodSandboxStatus: c.box.status(),
		ContainersStatuses: []*runtimeapi.ContainerStatus{c.status()}}
}

var _ pleg.Subscriber = (*Runtime)(nil)
