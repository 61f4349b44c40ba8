// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"net/http"
	"reflect"
	"time"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
)

// The server says how it is at /livez, /readyz and /healthz, with ?verbose and ?exclude=, and at a path of its own for every check. The
// machinery has ping, log, shutdown and one check for every hook that follows the start; here are those of what the server stands on.
// Names are those of kube-apiserver's checks, which monitoring knows.

// storageWithin is how long the storage may take to answer a health check.
const storageWithin = 2 * time.Second

// CacheSyncWaiter tells of informers, by the type of their objects, whether they have read the storage; it waits for those that have not
// until stop is closed.
type CacheSyncWaiter interface {
	WaitForCacheSync(stop <-chan struct{}) map[reflect.Type]bool
}

func addHealthChecks(g *genericapiserver.Config, c *Config) {
	storage := func(r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), storageWithin)
		defer cancel()
		return c.Storage.Answers(ctx)
	}
	g.AddHealthChecks(healthz.NamedCheck("etcd", storage))
	g.AddReadyzChecks(healthz.NamedCheck("etcd-readiness", storage), healthz.NewInformerSyncHealthz(c.Informers))
}
