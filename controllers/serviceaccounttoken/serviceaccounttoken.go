// SPDX-License-Identifier: Apache-2.0

// Package serviceaccounttoken fills Secrets of type kubernetes.io/service-account-token, which are how a ServiceAccount gets a token
// that does not end, and deletes them with their account. See
// https://kubernetes.io/docs/concepts/configuration/secret/#service-account-token-secrets.
//
// The cost is a look at each Secret that changes, and one at those of the namespace for each ServiceAccount that goes.
package serviceaccounttoken

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/retry"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
)

// Issue makes the token that a Secret is to hold for its account.
type Issue func(*corev1.ServiceAccount, *corev1.Secret) (string, error)

// Controller fills and deletes the Secrets.
type Controller struct {
	client     kubernetes.Interface
	issue      Issue
	rootCA     []byte
	accounts   corelisters.ServiceAccountLister
	secrets    corelisters.SecretLister
	synced     []cache.InformerSynced
	loop       *loop.Loop // of Secrets
	references *loop.Loop // to Secrets that are gone: namespace/account/secret
}

// New returns the controller. rootCA is what goes under ca.crt, in PEM.
func New(client kubernetes.Interface, accounts coreinformers.ServiceAccountInformer, secrets coreinformers.SecretInformer, issue Issue, rootCA []byte) (*Controller, error) {
	c := &Controller{
		client: client, issue: issue, rootCA: rootCA, accounts: accounts.Lister(), secrets: secrets.Lister(),
		synced: []cache.InformerSynced{accounts.Informer().HasSynced, secrets.Informer().HasSynced},
	}
	c.loop = loop.New("serviceaccounttoken", c.sync)
	c.references = loop.New("serviceaccounttoken", c.unrefer)
	changed := func(obj any) {
		if secret, ok := loop.Object[*corev1.Secret](obj); ok && isToken(secret) {
			c.loop.Enqueue(secret)
		}
	}
	_, errSecrets := secrets.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    changed,
		UpdateFunc: func(_, cur any) { changed(cur) },
		DeleteFunc: func(obj any) {
			if secret, ok := loop.Object[*corev1.Secret](obj); ok && isToken(secret) {
				c.references.Add(strings.Join([]string{secret.Namespace, secret.Annotations[corev1.ServiceAccountNameKey], secret.Name}, "/"))
			}
		},
	})
	_, errAccounts := accounts.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		// An account that another of its name has replaced is seen as an update where its deletion was not.
		UpdateFunc: func(old, cur any) {
			if was, is := old.(*corev1.ServiceAccount), cur.(*corev1.ServiceAccount); was.UID != is.UID {
				c.enqueueOf(was)
			}
		},
		DeleteFunc: func(obj any) {
			if account, ok := loop.Object[*corev1.ServiceAccount](obj); ok {
				c.enqueueOf(account)
			}
		},
	})
	return c, errors.Join(errSecrets, errAccounts)
}

func isToken(secret *corev1.Secret) bool { return secret.Type == corev1.SecretTypeServiceAccountToken }

// enqueueOf adds the Secrets of an account.
func (c *Controller) enqueueOf(account *corev1.ServiceAccount) {
	secrets, err := c.secrets.Secrets(account.Namespace).List(labels.Everything())
	if err != nil {
		return // a lister of a cache has none
	}
	for _, secret := range secrets {
		if isToken(secret) && secret.Annotations[corev1.ServiceAccountNameKey] == account.Name {
			c.loop.Enqueue(secret)
		}
	}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) {
	c.loop.RunWith(ctx, workers, c.references, c.synced...)
}

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
	account, err := c.accountOf(ctx, secret)
	if err != nil {
		return err
	}
	if account == nil {
		err := c.client.CoreV1().Secrets(namespace).Delete(ctx, name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(secret.UID))})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) { // a conflict is another Secret of the name
			return fmt.Errorf("delete secret %s of a service account that is gone: %w", key, err)
		}
		return nil
	}
	return c.fill(ctx, account, secret)
}

// accountOf returns the account that a Secret names; nil if it is gone.
func (c *Controller) accountOf(ctx context.Context, secret *corev1.Secret) (*corev1.ServiceAccount, error) {
	name, uid := secret.Annotations[corev1.ServiceAccountNameKey], secret.Annotations[corev1.ServiceAccountUIDKey]
	account, err := c.accounts.ServiceAccounts(secret.Namespace).Get(name)
	if apierrors.IsNotFound(err) || (err == nil && uid != "" && uid != string(account.UID)) {
		account, err = c.client.CoreV1().ServiceAccounts(secret.Namespace).Get(ctx, name, metav1.GetOptions{}) // the cache may be behind
	}
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read service account %s/%s: %w", secret.Namespace, name, err)
	}
	if uid != "" && uid != string(account.UID) {
		return nil, nil
	}
	return account, nil
}

// fill writes what a Secret lacks.
func (c *Controller) fill(ctx context.Context, account *corev1.ServiceAccount, secret *corev1.Secret) error {
	needsCA := len(c.rootCA) > 0 && !bytes.Equal(secret.Data[corev1.ServiceAccountRootCAKey], c.rootCA)
	needsNamespace := len(secret.Data[corev1.ServiceAccountNamespaceKey]) == 0
	needsToken := len(secret.Data[corev1.ServiceAccountTokenKey]) == 0
	if !needsCA && !needsNamespace && !needsToken {
		return nil
	}
	secret = secret.DeepCopy()
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	if needsCA {
		secret.Data[corev1.ServiceAccountRootCAKey] = c.rootCA
	}
	if needsNamespace {
		secret.Data[corev1.ServiceAccountNamespaceKey] = []byte(secret.Namespace)
	}
	if needsToken {
		token, err := c.issue(account, secret)
		if err != nil {
			return err
		}
		secret.Data[corev1.ServiceAccountTokenKey] = []byte(token)
	}
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, corev1.ServiceAccountNameKey, account.Name)
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, corev1.ServiceAccountUIDKey, string(account.UID))
	_, err := c.client.CoreV1().Secrets(secret.Namespace).Update(ctx, secret, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // an event tells what has changed
	}
	if err != nil {
		return fmt.Errorf("write the token of secret %s/%s: %w", secret.Namespace, secret.Name, err)
	}
	return nil
}

// unrefer takes namespace, account and name of a Secret that is gone, and removes it from those that the account lists.
func (c *Controller) unrefer(ctx context.Context, key string) error {
	parts := strings.Split(key, "/")
	namespace, name := parts[0], parts[1]
	gone := func(r corev1.ObjectReference) bool { return r.Name == parts[2] }
	account, err := c.accounts.ServiceAccounts(namespace).Get(name)
	if apierrors.IsNotFound(err) || (err == nil && !slices.ContainsFunc(account.Secrets, gone)) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := c.secrets.Secrets(namespace).Get(parts[2]); !apierrors.IsNotFound(err) {
		return err // there is one of the name again
	}
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		account, err := c.client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		account.Secrets = slices.DeleteFunc(account.Secrets, gone)
		_, err = c.client.CoreV1().ServiceAccounts(namespace).Update(ctx, account, metav1.UpdateOptions{})
		return err
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove secret %s from service account %s/%s: %w", parts[2], namespace, name, err)
	}
	return nil
}
