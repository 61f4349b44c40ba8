// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"context"
	"crypto/subtle"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/klog/v2"
)

// Authenticator authenticates by bootstrap tokens.
type Authenticator struct {
	secrets corelisters.SecretNamespaceLister
	now     func() time.Time
}

// NewAuthenticator reads the Secrets of kube-system from the lister.
func NewAuthenticator(secrets corelisters.SecretLister) *Authenticator {
	return &Authenticator{secrets.Secrets(Namespace), time.Now}
}

// AuthenticateToken implements authenticator.Token. A token that is not good is for nobody (false and no error), whatever is wrong with
// it: the log tells at level 3.
func (a *Authenticator) AuthenticateToken(_ context.Context, token string) (*authenticator.Response, bool, error) {
	id, key, ok := Parse(token)
	if !ok {
		return nil, false, nil
	}
	secret, err := a.secrets.Get(SecretPrefix + id)
	if apierrors.IsNotFound(err) {
		klog.V(3).InfoS("No Secret of a bootstrap token", "secret", klog.KRef(Namespace, SecretPrefix+id))
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	all, err := a.check(secret, id, key)
	if err != nil {
		klog.V(3).InfoS("Refused a bootstrap token", "secret", klog.KObj(secret), "reason", err)
		return nil, false, nil
	}
	return &authenticator.Response{User: &user.DefaultInfo{Name: UserPrefix + id, Groups: all}}, true, nil
}

// check returns the groups of the holder of the token, or what is wrong with it.
func (a *Authenticator) check(secret *corev1.Secret, id, key string) ([]string, error) {
	switch {
	case secret.DeletionTimestamp != nil:
		return nil, fmt.Errorf("the Secret is being deleted")
	case secret.Type != SecretType:
		return nil, fmt.Errorf("the Secret is of type %q, not %q", secret.Type, SecretType)
	case subtle.ConstantTimeCompare(secret.Data[KeySecret], []byte(key)) != 1:
		return nil, fmt.Errorf("%s is another one", KeySecret)
	case string(secret.Data[KeyID]) != id:
		return nil, fmt.Errorf("%s is another one", KeyID)
	case string(secret.Data[KeyUsageAuthentication]) != "true":
		return nil, fmt.Errorf("%s is not true", KeyUsageAuthentication)
	}
	if _, expired := Expiry(secret, a.now()); expired {
		return nil, fmt.Errorf("%s has passed", KeyExpiration)
	}
	return groups(secret)
}

var _ authenticator.Token = (*Authenticator)(nil)
