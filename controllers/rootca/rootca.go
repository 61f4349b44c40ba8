// SPDX-License-Identifier: Apache-2.0

// Package rootca publishes the cluster's certificate authority as a ConfigMap in every namespace, where projected
// volumes of pods find it. The cost is one lookup a changed namespace.
package rootca

import (
	"context"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
)

// Name of the ConfigMap, and the annotation that says what it is for.
const (
	Name                  = "kube-root-ca.crt"
	DescriptionAnnotation = "kubernetes.io/description"
	Description           = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. " +
		"No other usage is guaranteed across distributions of Kubernetes clusters."
)

// Controller publishes the bundle.
type Controller struct {
	client     kubernetes.Interface
	data       map[string]string
	maps       corelisters.ConfigMapLister
	namespaces corelisters.NamespaceLister
	synced     []cache.InformerSynced
	loop       *loop.Loop
}

// New returns the controller. bundle is what goes under ca.crt, in PEM.
func New(client kubernetes.Interface, configMaps coreinformers.ConfigMapInformer, namespaces coreinformers.NamespaceInformer, bundle []byte) (*Controller, error) {
	c := &Controller{
		client:     client,
		data:       map[string]string{corev1.ServiceAccountRootCAKey: string(bundle)},
		maps:       configMaps.Lister(),
		namespaces: namespaces.Lister(),
		synced:     []cache.InformerSynced{configMaps.Informer().HasSynced, namespaces.Informer().HasSynced},
	}
	c.loop = loop.New("rootca", c.sync)
	_, errNamespaces := namespaces.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.loop.Enqueue,
		UpdateFunc: func(_, cur any) { c.loop.Enqueue(cur) },
	})
	touched := func(obj any) {
		if cm, ok := loop.Object[*corev1.ConfigMap](obj); ok && cm.Name == Name {
			c.loop.Add(cm.Namespace)
		}
	}
	_, errMaps := configMaps.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(_, cur any) { touched(cur) },
		DeleteFunc: touched,
	})
	return c, errors.Join(errNamespaces, errMaps)
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) { c.loop.Run(ctx, workers, c.synced...) }

// sync takes the name of a namespace.
func (c *Controller) sync(ctx context.Context, namespace string) error {
	ns, err := c.namespaces.Get(namespace)
	if apierrors.IsNotFound(err) || (err == nil && ns.Status.Phase != corev1.NamespaceActive) {
		return nil
	}
	if err != nil {
		return err
	}
	cm, err := c.maps.ConfigMaps(namespace).Get(Name)
	switch {
	case apierrors.IsNotFound(err):
		cm = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: Name, Annotations: map[string]string{DescriptionAnnotation: Description},
		}, Data: c.data}
		_, err = c.client.CoreV1().ConfigMaps(namespace).Create(ctx, cm, metav1.CreateOptions{})
		if apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err) {
			return nil // the namespace is gone, or the cache was behind
		}
	case err == nil && maps.Equal(cm.Data, c.data) && cm.Annotations[DescriptionAnnotation] != "":
	case err == nil:
		cm = cm.DeepCopy()
		cm.Data = c.data
		if cm.Annotations == nil {
			cm.Annotations = map[string]string{}
		}
		cm.Annotations[DescriptionAnnotation] = Description
		_, err = c.client.CoreV1().ConfigMaps(namespace).Update(ctx, cm, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("publish root CA in namespace %s: %w", namespace, err)
	}
	return nil
}
