// SPDX-License-Identifier: Apache-2.0

// Package controllers is the list of all controllers. To add one: write its folder, add one entry here, and its roles in
// config/rbac-controllers.yaml.
//
// What it costs when nothing happens: a few goroutines a controller, blocked on their queues, and one broadcaster of
// events for all of them.
package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/controllers/certificates"
	"github.com/hivemind-project/hivemind/controllers/serviceaccounttoken"
	"github.com/hivemind-project/hivemind/pkg/events"
)

// Informers are the shared informers of the types that are served.
type Informers interface {
	informers.SharedInformerFactory
	// Lookup returns the informer of a resource, if it is served.
	Lookup(schema.GroupVersionResource) (cache.SharedIndexInformer, bool)
	// StartWithContext runs the informers that were asked for since the last call, until ctx ends.
	StartWithContext(ctx context.Context)
}

// Deps is what controllers are made from.
type Deps struct {
	// Client acts as the ServiceAccount of that name in kube-system, or, without a name, as kube-controller-manager does before there are
	// any. It should not limit its rate: the API server is in this process.
	Client func(serviceAccount string) (kubernetes.Interface, error)
	// Metadata is the same for requests of metadata alone, which reach every resource.
	Metadata  func(serviceAccount string) (metadata.Interface, error)
	Informers Informers
	// Events records what controllers have to say; see NewEvents.
	Events record.EventBroadcaster
	// RootCA is the cluster's certificate authority in PEM, as pods are to see it.
	RootCA []byte
	// Authority signs certificates of clients and nodes.
	Authority certificates.Authority
	// IssueToken makes the tokens that are kept in Secrets.
	IssueToken serviceaccounttoken.Issue
	Config     *config.Config
}

// Entry is a controller of the list.
type Entry struct {
	// Name is the controller's, as kube-controller-manager knows it.
	Name string
	// Start makes the controller and registers with its informers. run works until its context ends.
	Start func(ctx context.Context, d Deps) (run func(ctx context.Context), err error)
}

// NewEvents returns the broadcaster that all controllers share. Events are written with client, one after the other, and
// similar ones are joined; more than 1000 that wait are dropped. It ends with ctx.
func NewEvents(ctx context.Context, client kubernetes.Interface) record.EventBroadcaster {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(events.NewSink(ctx, client.CoreV1()))
	return broadcaster
}

// recorder records events as the component that Kubernetes names as their source.
func (d Deps) recorder(component string) record.EventRecorder {
	return d.Events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component})
}

// controller is what every controller is to this list.
type controller interface {
	Run(ctx context.Context, workers int)
}

// entry makes an Entry of a constructor. account is what Deps.Client takes: whom the controller acts as.
func entry[C controller](name, account string, workers int, build func(d Deps, client kubernetes.Interface) (C, error)) Entry {
	return Entry{Name: name, Start: func(_ context.Context, d Deps) (func(context.Context), error) {
		client, err := d.Client(account)
		if err != nil {
			return nil, fmt.Errorf("client of %s: %w", name, err)
		}
		c, err := build(d, client)
		if err != nil {
			return nil, fmt.Errorf("prepare %s: %w", name, err)
		}
		return func(ctx context.Context) { c.Run(ctx, workers) }, nil
	}}
}
