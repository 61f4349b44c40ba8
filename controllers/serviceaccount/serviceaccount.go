// SPDX-License-Identifier: Apache-2.0

// Package serviceaccount sees to it that every namespace has the ServiceAccount that its pods run as unless they name
// another. The cost is one lookup a changed namespace.
package serviceaccount

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
)

// Name of the ServiceAccount that every namespace has.
const Name = "default"

// Controller creates the ServiceAccounts.
type Controller struct {
	client     kubernetes.Interface
	accounts   corelisters.ServiceAccountLister
	namespaces corelisters.NamespaceLister
	synced     []cache.InformerSynced
	loop       *loop.Loop
}

// New returns the controller.
func New(client kubernetes.Interface, accounts coreinformers.ServiceAccountInformer, namespaces coreinformers.NamespaceInformer) (*Controller, error) {
	c := &Controller{
		client:     client,
		accounts:   accounts.Lister(),
		namespaces: namespaces.Lister(),
		synced:     []cache.InformerSynced{accounts.Informer().HasSynced, namespaces.Informer().HasSynced},
	}
	c.loop = loop.New("serviceaccount", c.sync)
	_, errNamespaces := namespaces.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.loop.Enqueue,
		UpdateFunc: func(_, cur any) { c.loop.Enqueue(cur) },
	})
	_, errAccounts := accounts.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		DeleteFunc: func(obj any) {
			if sa, ok := loop.Object[*corev1.ServiceAccount](obj); ok && sa.Name == Name {
				c.loop.Add(sa.Namespace)
			}
		},
	})
	return c, errors.Join(errNamespaces, errAccounts)
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
	if _, err = c.accounts.ServiceAccounts(namespace).Get(Name); !apierrors.IsNotFound(err) {
		return err
	}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: Name}}
	_, err = c.client.CoreV1().ServiceAccounts(namespace).Create(ctx, sa, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create service account %s/%s: %w", namespace, Name, err)
	}
	return nil
}
