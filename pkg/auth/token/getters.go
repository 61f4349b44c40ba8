// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// Getters read the objects that tokens depend on.
type Getters struct {
	ServiceAccount func(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error)
	Pod            func(ctx context.Context, namespace, name string) (*corev1.Pod, error)
	Secret         func(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	Node           func(ctx context.Context, name string) (*corev1.Node, error)
}

// WithFallback returns getters that read from cached first and from live what is not there, since a cache may not have
// heard yet of an object that has just been made. live must not authenticate by such a token itself.
func WithFallback(cached, live Getters) Getters {
	return Getters{
		ServiceAccount: namespaced(cached.ServiceAccount, live.ServiceAccount),
		Pod:            namespaced(cached.Pod, live.Pod),
		Secret:         namespaced(cached.Secret, live.Secret),
		Node: func(ctx context.Context, name string) (*corev1.Node, error) {
			if cached.Node != nil {
				if node, err := cached.Node(ctx, name); err == nil {
					return node, nil
				}
			}
			return live.Node(ctx, name)
		},
	}
}

// namespaced joins two getters; cached may be nil, for kinds that no informer watches.
func namespaced[T any](cached, live func(context.Context, string, string) (*T, error)) func(context.Context, string, string) (*T, error) {
	return func(ctx context.Context, namespace, name string) (*T, error) {
		if cached != nil {
			if obj, err := cached(ctx, namespace, name); err == nil {
				return obj, nil
			}
		}
		return live(ctx, namespace, name)
	}
}
