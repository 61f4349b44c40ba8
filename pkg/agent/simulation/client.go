// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"context"
	"fmt"
	"net/http"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedauthenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	typedauthorizationv1 "k8s.io/client-go/kubernetes/typed/authorization/v1"
	typedcoordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	typednodev1 "k8s.io/client-go/kubernetes/typed/node/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"

	"github.com/hivemind-project/hivemind/kubelet-lite/simulated"
	"github.com/hivemind-project/hivemind/pkg/events"
)

// nodeClient acts as one node. Of the groups of a clientset it has those that a node agent uses; all others are those of a client that may
// do nothing. A whole clientset would cost 28 KB a node, this one costs 3.
type nodeClient struct {
	kubernetes.Interface
	core           *typedcorev1.CoreV1Client
	coordination   *typedcoordinationv1.CoordinationV1Client
	node           *typednodev1.NodeV1Client
	authentication *typedauthenticationv1.AuthenticationV1Client
	authorization  *typedauthorizationv1.AuthorizationV1Client
}

func newNodeClient(config *rest.Config, others kubernetes.Interface) (*nodeClient, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("make the node's API client: %w", err)
	}
	n := &nodeClient{Interface: others}
	for _, make := range []func(*rest.Config, *http.Client) error{
		func(c *rest.Config, h *http.Client) (err error) {
			n.core, err = typedcorev1.NewForConfigAndClient(c, h)
			return err
		},
		func(c *rest.Config, h *http.Client) (err error) {
			n.coordination, err = typedcoordinationv1.NewForConfigAndClient(c, h)
			return err
		},
		func(c *rest.Config, h *http.Client) (err error) {
			n.node, err = typednodev1.NewForConfigAndClient(c, h)
			return err
		},
		func(c *rest.Config, h *http.Client) (err error) {
			n.authentication, err = typedauthenticationv1.NewForConfigAndClient(c, h)
			return err
		},
		func(c *rest.Config, h *http.Client) (err error) {
			n.authorization, err = typedauthorizationv1.NewForConfigAndClient(c, h)
			return err
		},
	} {
		if err := make(config, client); err != nil {
			return nil, fmt.Errorf("make the node's API client: %w", err)
		}
	}
	return n, nil
}

func (n *nodeClient) CoreV1() typedcorev1.CoreV1Interface { return n.core }
func (n *nodeClient) CoordinationV1() typedcoordinationv1.CoordinationV1Interface {
	return n.coordination
}
func (n *nodeClient) NodeV1() typednodev1.NodeV1Interface { return n.node }
func (n *nodeClient) AuthenticationV1() typedauthenticationv1.AuthenticationV1Interface {
	return n.authentication
}
func (n *nodeClient) AuthorizationV1() typedauthorizationv1.AuthorizationV1Interface {
	return n.authorization
}

// cachedObjects are ConfigMaps and Secrets as the server's informers have them. What they do not have, the node asks for as itself: it
// may be newer than they are.
type cachedObjects struct {
	*simulated.Runtime // is told of pods
	client             kubernetes.Interface
	maps               corelisters.ConfigMapLister
	secrets            corelisters.SecretLister
}

// GetConfigMap returns a ConfigMap, which must not be changed.
func (o *cachedObjects) GetConfigMap(namespace, name string) (*v1.ConfigMap, error) {
	object, err := o.maps.ConfigMaps(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return o.client.CoreV1().ConfigMaps(namespace).Get(context.Background(), name, metav1.GetOptions{})
	}
	return object, err
}

// GetSecret returns a Secret, which must not be changed.
func (o *cachedObjects) GetSecret(namespace, name string) (*v1.Secret, error) {
	object, err := o.secrets.Secrets(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return o.client.CoreV1().Secrets(namespace).Get(context.Background(), name, metav1.GetOptions{})
	}
	return object, err
}

// eventRouter writes each event as the node that it is of.
type eventRouter struct {
	sinks map[string]record.EventSink
}

// route is called before there are events.
func (r *eventRouter) route(ctx context.Context, nodes []*simulatedNode) {
	r.sinks = make(map[string]record.EventSink, len(nodes))
	for _, n := range nodes {
		r.sinks[n.name] = events.NewSink(ctx, n.client.CoreV1())
	}
}

func (r *eventRouter) of(event *v1.Event) (record.EventSink, error) {
	if sink, ok := r.sinks[event.Source.Host]; ok {
		return sink, nil
	}
	return nil, fmt.Errorf("event %s/%s is of no node here: %q", event.Namespace, event.Name, event.Source.Host)
}

func (r *eventRouter) Create(event *v1.Event) (*v1.Event, error) {
	sink, err := r.of(event)
	if err != nil {
		return nil, err
	}
	return sink.Create(event)
}

func (r *eventRouter) Update(event *v1.Event) (*v1.Event, error) {
	sink, err := r.of(event)
	if err != nil {
		return nil, err
	}
	return sink.Update(event)
}

func (r *eventRouter) Patch(event *v1.Event, data []byte) (*v1.Event, error) {
	sink, err := r.of(event)
	if err != nil {
		return nil, err
	}
	return sink.Patch(event, data)
}

var (
	_ kubernetes.Interface = (*nodeClient)(nil)
	_ record.EventSink     = (*eventRouter)(nil)
)
