// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
)

const (
	// A token is asked for anew at 80 % of its life, or after a day. The jitter keeps the pods that were started together apart.
	tokenMaxAge    = 24 * time.Hour
	tokenMaxJitter = 10 * time.Second
)

// Tokens keeps the service account tokens of this node's pods: one for each pod, audience and life asked for.
type Tokens struct {
	client kubernetes.Interface
	now    func() time.Time

	mu    sync.Mutex
	cache map[tokenKey]token
}

type tokenKey struct {
	namespace, name, audiences string
	seconds                    int64
	pod                        types.UID
}

type token struct {
	value            string
	expires, refresh time.Time
}

// NewTokens returns an empty keeper.
func NewTokens(client kubernetes.Interface) *Tokens {
	return &Tokens{client: client, now: time.Now, cache: map[tokenKey]token{}}
}

// Get returns a token of the service account that is bound to the pod in spec.BoundObjectRef (KEP-1205). The one from the
// last call is returned while it is young; where it cannot be renewed, while it is valid.
func (t *Tokens) Get(ctx context.Context, namespace, name string, spec authv1.TokenRequestSpec) (string, error) {
	k := tokenKey{namespace: namespace, name: name}
	audiences := slices.Clone(spec.Audiences)
	slices.Sort(audiences)
	k.audiences = strings.Join(audiences, "\x00")
	if spec.ExpirationSeconds != nil {
		k.seconds = *spec.ExpirationSeconds
	}
	if spec.BoundObjectRef != nil {
		k.pod = spec.BoundObjectRef.UID
	}
	t.mu.Lock()
	old, known := t.cache[k]
	t.mu.Unlock()
	now := t.now()
	if known && now.Before(old.refresh) {
		return old.value, nil
	}
	got, err := t.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
	switch {
	case err == nil:
	case !known:
		return "", fmt.Errorf("failed to fetch token: %w", err)
	case now.After(old.expires):
		return "", fmt.Errorf("token of service account %s/%s expired and refresh failed: %w", namespace, name, err)
	default:
		klog.FromContext(ctx).Error(err, "Couldn't update token", "serviceAccount", klog.KRef(namespace, name), "pod", k.pod)
		return old.value, nil
	}
	fresh := token{value: got.Status.Token, expires: got.Status.ExpirationTimestamp.Time}
	fresh.refresh = refreshAt(now, fresh.expires, rand.N(tokenMaxJitter))
	t.mu.Lock()
	t.cache[k] = fresh
	t.mu.Unlock()
	return fresh.value, nil
}

// Forget drops the tokens of a pod that is gone.
func (t *Tokens) Forget(pod types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k := range t.cache {
		if k.pod == pod {
			delete(t.cache, k)
		}
	}
}

// refreshAt is when a token issued now should be renewed.
func refreshAt(now, expires time.Time, jitter time.Duration) time.Time {
	after := min(expires.Sub(now)*8/10, tokenMaxAge) - jitter
	return now.Add(max(after, 0))
}
