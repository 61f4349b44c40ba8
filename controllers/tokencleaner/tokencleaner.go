// SPDX-License-Identifier: Apache-2.0

// Package tokencleaner deletes bootstrap tokens, which are Secrets in kube-system, once they have expired. It costs a look at each
// Secret that changes, and a timer for each token that will expire.
package tokencleaner

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
	"github.com/hivemind-project/hivemind/pkg/auth/bootstrap"
)

// Controller deletes expired tokens.
type Controller struct {
	client  kubernetes.Interface
	secrets corelisters.SecretLister
	synced  cache.InformerSynced
	loop    *loop.Loop
}

// New returns the controller.
func New(client kubernetes.Interface, secrets coreinformers.SecretInformer) (*Controller, error) {
	c := &Controller{client: client, secrets: secrets.Lister(), synced: secrets.Informer().HasSynced}
	c.loop = loop.New("tokencleaner", c.sync)
	changed := func(obj any) {
		if secret, ok := loop.Object[*corev1.Secret](obj); ok && isToken(secret) {
			c.loop.Enqueue(secret)
		}
	}
	_, err := secrets.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: changed, UpdateFunc: func(_, cur any) { changed(cur) }})
	return c, err
}

func isToken(secret *corev1.Secret) bool {
	return secret.Type == bootstrap.SecretType && secret.Namespace == bootstrap.Namespace
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) { c.loop.Run(ctx, workers, c.synced) }

// sync takes the key of a Secret.
func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	secret, err := c.secrets.Secrets(namespace).Get(name)
	if apierrors.IsNotFound(err) || (err == nil && !isToken(secret)) {
		return nil
	}
	if err != nil {
		return err
	}
	left, expired := bootstrap.Expiry(secret, time.Now())
	if !expired {
		if left > 0 {
			c.loop.AddAfter(key, left)
		}
		return nil
	}
	err = c.client.CoreV1().Secrets(namespace).Delete(ctx, name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(secret.UID))})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) { // a conflict is another token of the name
		return fmt.Errorf("delete expired bootstrap token %s: %w", key, err)
	}
	return nil
}
