// SPDX-License-Identifier: Apache-2.0

package pleg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
	kubetypes "k8s.io/kubelet/pkg/types"
)

const (
	relistPeriod = 60 * time.Second // a safety net under the event stream
	reconnect    = 500 * time.Millisecond
	eventBuffer  = 256
)

// Watcher keeps a Cache current.
type Watcher struct {
	runtime internalapi.RuntimeService
	cache   *Cache
	changed func(types.UID)
	lastOK  func(error)
}

// NewWatcher returns a watcher that calls changed for every pod whose state in the runtime has changed, and health (which
// may be nil) with the outcome of every relist.
func NewWatcher(runtime internalapi.RuntimeService, cache *Cache, changed func(types.UID), health func(error)) *Watcher {
	if health == nil {
		health = func(error) {}
	}
	return &Watcher{runtime: runtime, cache: cache, changed: changed, lastOK: health}
}

// Subscriber is a runtime in this process, whose events cannot be lost: it needs neither a stream nor relists.
type Subscriber interface {
	// Subscribe has tell called for every event, by whoever caused it and before that returns.
	Subscribe(tell func(*runtimeapi.ContainerEventResponse)) (cancel func())
}

// Subscribe follows the events of a runtime that is a Subscriber, without a goroutine; ok is false for another, which Run follows. What
// was before is not told: a Relist after it finds that.
func (w *Watcher) Subscribe(ctx context.Context) (cancel func(), ok bool) {
	s, ok := w.runtime.(Subscriber)
	if !ok {
		return nil, false
	}
	return s.Subscribe(func(event *runtimeapi.ContainerEventResponse) { w.apply(ctx, event) }), true
}

// Run follows the runtime's events until ctx ends. On every (re)connection, and once a minute, everything is listed anew.
func (w *Watcher) Run(ctx context.Context) {
	logger := klog.FromContext(ctx)
	for ctx.Err() == nil {
		err := w.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		logger.V(2).Info("Container events ended, following them anew", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(reconnect):
		}
	}
}

// follow reads one stream of events until it breaks.
func (w *Watcher) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	events := make(chan *runtimeapi.ContainerEventResponse, eventBuffer)
	connected := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		// The client would log the end of the stream as an error; it is ours to say.
		ended <- w.runtime.GetContainerEvents(klog.NewContext(ctx, klog.Logger{}), events, func(runtimeapi.RuntimeService_GetContainerEventsClient) {
			select {
			case connected <- struct{}{}:
			default:
			}
		})
	}()
	// The client's reader may be blocked on a full channel when we leave: drain it until it ends.
	defer func() {
		cancel()
		for {
			select {
			case <-events:
			case <-ended:
				return
			}
		}
	}()

	ticker := time.NewTicker(relistPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			ended <- err
			return err
		case <-connected:
			// What happened before the stream was there is found by listing once it is.
			if err := w.Relist(ctx); err != nil {
				return err
			}
		case <-ticker.C:
			if err := w.Relist(ctx); err != nil {
				return err
			}
		case event := <-events:
			w.apply(ctx, event)
		}
	}
}

// Relist compares the cache with everything that the runtime lists.
func (w *Watcher) Relist(ctx context.Context) error {
	err := w.relist(ctx)
	w.lastOK(err)
	return err
}

func (w *Watcher) relist(ctx context.Context) error {
	begin := w.cache.now()
	sandboxes, err := w.runtime.ListPodSandbox(ctx, nil)
	if err != nil {
		return fmt.Errorf("list sandboxes: %w", err)
	}
	containers, err := w.runtime.ListContainers(ctx, nil)
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	dirty := map[types.UID]bool{}
	listed := make(map[string]bool, len(sandboxes)+len(containers))
	var errs []error
	for _, s := range sandboxes {
		uid := types.UID(s.Labels[kubetypes.KubernetesPodUIDLabel])
		if uid == "" {
			continue
		}
		listed[s.Id] = true
		ready := s.State == runtimeapi.PodSandboxState_SANDBOX_READY
		if have, ok := w.cache.sandbox(uid, s.Id); ok && have.Ready == ready {
			continue
		}
		changed, err := w.RefreshSandbox(ctx, uid, s.Id)
		errs = append(errs, err)
		dirty[uid] = dirty[uid] || changed
	}
	for _, c := range containers {
		uid := types.UID(c.Labels[kubetypes.KubernetesPodUIDLabel])
		if uid == "" {
			continue
		}
		listed[c.Id] = true
		if have, ok := w.cache.container(uid, c.Id); ok && have.State == stateOf(c.State) {
			continue
		}
		changed, err := w.RefreshContainer(ctx, uid, c.PodSandboxId, c.Id)
		errs = append(errs, err)
		dirty[uid] = dirty[uid] || changed
	}
	for _, uid := range w.cache.UIDs() {
		p := w.cache.Get(uid)
		for _, s := range p.Sandboxes {
			if !listed[s.ID] && s.seen.Before(begin) {
				dirty[uid] = w.cache.DropSandbox(uid, s.ID) || dirty[uid]
			}
		}
		for _, c := range p.Containers {
			if !listed[c.ID] && c.seen.Before(begin) {
				dirty[uid] = w.cache.DropContainer(uid, c.ID) || dirty[uid]
			}
		}
	}
	for uid, is := range dirty {
		if is {
			w.changed(uid)
		}
	}
	return errors.Join(errs...)
}

// RefreshContainer reads one container's status into the cache.
func (w *Watcher) RefreshContainer(ctx context.Context, uid types.UID, sandboxID, id string) (bool, error) {
	response, err := w.runtime.ContainerStatus(ctx, id, false)
	if err != nil {
		return false, fmt.Errorf("status of container %s: %w", id, err)
	}
	if response.GetStatus() == nil {
		return false, nil
	}
	return w.cache.PutContainer(uid, sandboxID, response.Status), nil
}

// RefreshSandbox reads one sandbox's status into the cache.
func (w *Watcher) RefreshSandbox(ctx context.Context, uid types.UID, id string) (bool, error) {
	response, err := w.runtime.PodSandboxStatus(ctx, id, false)
	if err != nil {
		return false, fmt.Errorf("status of sandbox %s: %w", id, err)
	}
	if response.GetStatus() == nil {
		return false, nil
	}
	return w.cache.PutSandbox(uid, response.Status), nil
}

// apply takes one event. Only the state of the event's own container is taken from it: what it says of the others may be
// older than what their own events said.
func (w *Watcher) apply(ctx context.Context, event *runtimeapi.ContainerEventResponse) {
	// What carries no label of ours was not made by a node agent, and is left alone.
	uid, sandboxID := types.UID(event.GetPodSandboxStatus().GetLabels()[kubetypes.KubernetesPodUIDLabel]), event.GetPodSandboxStatus().GetId()
	if uid == "" {
		if known, ok := w.cache.Find(event.ContainerId); ok {
			uid = known
		} else {
			return
		}
	}
	changed := false
	isSandbox := event.ContainerId == sandboxID
	switch {
	case event.ContainerEventType == runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT && isSandbox:
		changed = w.cache.DropSandbox(uid, event.ContainerId)
	case event.ContainerEventType == runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT:
		changed = w.cache.DropContainer(uid, event.ContainerId)
	case isSandbox:
		changed = w.cache.PutSandbox(uid, event.PodSandboxStatus)
	default:
		for _, s := range event.ContainersStatuses {
			if s.Id != event.ContainerId {
				continue
			}
			// The exit may be reported before it is recorded: then ask.
			if event.ContainerEventType == runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT && stateOf(s.State) != Exited {
				break
			}
			if w.cache.PutContainer(uid, sandboxID, s) {
				w.changed(uid)
			}
			return
		}
		var err error
		if changed, err = w.RefreshContainer(ctx, uid, sandboxID, event.ContainerId); err != nil {
			klog.FromContext(ctx).V(4).Info("Container of an event cannot be read", "container", event.ContainerId, "err", err)
			changed = true
		}
	}
	if changed {
		w.changed(uid)
	}
}

func (c *Cache) sandbox(uid types.UID, id string) (Sandbox, bool) {
	for _, s := range c.Get(uid).Sandboxes {
		if s.ID == id {
			return s, true
		}
	}
	return Sandbox{}, false
}

func (c *Cache) container(uid types.UID, id string) (Container, bool) {
	for _, have := range c.Get(uid).Containers {
		if have.ID == id {
			return have, true
		}
	}
	return Container{}, false
}
