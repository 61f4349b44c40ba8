// SPDX-License-Identifier: Apache-2.0

// Package events writes what recorders have to say to the API server.
package events

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// NewSink returns a sink of events whose requests end with ctx. client-go's own has no context: a server that stops may have it
// wait ten seconds, on a goroutine of its own, before it tries again in vain.
func NewSink(ctx context.Context, client typedcorev1.EventsGetter) record.EventSink {
	return sink{ctx, client.Events("")}
}

type sink struct {
	ctx    context.Context
	events typedcorev1.EventInterface
}

func (s sink) Create(event *corev1.Event) (*corev1.Event, error) {
	return s.events.CreateWithEventNamespaceWithContext(s.ctx, event)
}

func (s sink) Update(event *corev1.Event) (*corev1.Event, error) {
	return s.events.UpdateWithEventNamespaceWithContext(s.ctx, event)
}

func (s sink) Patch(event *corev1.Event, patch []byte) (*corev1.Event, error) {
	return s.events.PatchWithEventNamespaceWithContext(s.ctx, event, patch)
}
