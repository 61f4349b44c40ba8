// SPDX-License-Identifier: Apache-2.0

package simulated

import (
	"context"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// GetContainerEvents sends events until ctx ends.
func (r *Runtime) GetContainerEvents(ctx context.Context, events chan *runtimeapi.ContainerEventResponse,
	connected func(runtimeapi.RuntimeService_GetContainerEventsClient)) error {
	// A queue of our own, so that a slow reader holds up nobody: like a real runtime, the newest are dropped when it is full.
	queue := make(chan *runtimeapi.ContainerEventResponse, 4096)
	r.mu.Lock()
	r.listeners[queue] = ctx
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.listeners, queue)
		r.mu.Unlock()
	}()
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

// emit tells every listener; the lock is held.
func (r *Runtime) emit(sandboxID, id string, kind runtimeapi.ContainerEventType) {
	if len(r.listeners) == 0 {
		return
	}
	event := &runtimeapi.ContainerEventResponse{ContainerId: id, ContainerEventType: kind, CreatedAt: time.Now().UnixNano()}
	if s, ok := r.sandboxes[sandboxID]; ok {
		event.PodSandboxStatus = s.status
	}
	if c, ok := r.containers[id]; ok {
		event.ContainersStatuses = []*runtimeapi.ContainerStatus{c.status}
	}
	for queue := range r.listeners {
		select {
		case queue <- event:
		default:
		}
	}
}
