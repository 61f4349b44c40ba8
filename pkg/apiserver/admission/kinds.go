// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
)

// kinds tells which resource a kind is, custom ones included. What it does not know it asks discovery for, each time: whoever
// names a kind before it is defined waits for it.
type kinds struct{ meta.ResettableRESTMapper }

func newKinds(client discovery.DiscoveryInterface) kinds {
	return kinds{restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client))}
}

// RESTMapping implements meta.RESTMapper.
func (k kinds) RESTMapping(kind schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	mapping, err := k.ResettableRESTMapper.RESTMapping(kind, versions...)
	if !meta.IsNoMatchError(err) {
		return mapping, err
	}
	k.Reset()
	return k.ResettableRESTMapper.RESTMapping(kind, versions...)
}
