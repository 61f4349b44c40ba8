// SPDX-License-Identifier: Apache-2.0

package customresources

import (
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	informers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/tools/cache"
)

// one is the informer of one definition, as it was when its handler was made, with its status as it is. Nothing is told of changes: whoever
// asks for a definition that has changed gets another handler.
type one struct {
	listers.CustomResourceDefinitionLister // of all; what is not defined here is not called

	mu     sync.Mutex
	seen   *apiextensionsv1.CustomResourceDefinition // as the lister of all last had it
	served *apiextensionsv1.CustomResourceDefinition // the same, where wanted without its rules
}

func newOne(all listers.CustomResourceDefinitionLister, d *apiextensionsv1.CustomResourceDefinition, rules bool) *one {
	served := d
	if !rules {
		served = withoutRules(d)
	}
	return &one{CustomResourceDefinitionLister: all, seen: d, served: served}
}

// Informer implements informers.CustomResourceDefinitionInformer.
func (o *one) Informer() cache.SharedIndexInformer { return silent{} }

// Lister implements informers.CustomResourceDefinitionInformer.
func (o *one) Lister() listers.CustomResourceDefinitionLister { return o }

// Get returns the definition; a status that has changed since is as it is now.
func (o *one) Get(name string) (*apiextensionsv1.CustomResourceDefinition, error) {
	now, err := o.CustomResourceDefinitionLister.Get(name)
	if err != nil {
		return nil, err
	}
	o.is(now)
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.served, nil
}

// is tells whether now defines the same, and remembers its status if so.
func (o *one) is(now *apiextensionsv1.CustomResourceDefinition) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now == o.seen {
		return true
	}
	// The generation changes whenever the spec does.
	if now.UID != o.seen.UID || now.Generation != o.seen.Generation || !apiequality.Semantic.DeepEqual(now.Status.AcceptedNames, o.seen.Status.AcceptedNames) {
		return false
	}
	served := *now
	served.Spec = o.served.Spec // without rules, and the only copy that is kept
	o.seen, o.served = now, &served
	return true
}

// silent is an informer that tells nothing.
type silent struct{ cache.SharedIndexInformer }

// AddEventHandler implements cache.SharedInformer.
func (silent) AddEventHandler(cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return nil, nil
}

var _ informers.CustomResourceDefinitionInformer = (*one)(nil)
