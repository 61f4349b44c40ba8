// SPDX-License-Identifier: Apache-2.0

package aggregation

import (
	"context"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionslisters "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/controllers/autoregister"
)

// registrars is how many APIServices are written at once: the storage syncs them to disk together.
const registrars = 5

// ownGroupPriority puts apiregistration.k8s.io, which has no APIService, before all that have one: they can have 20000 at most.
const ownGroupPriority = 20001

// The priorities of custom resources, low, and equal so that the names of versions decide.
const (
	customGroupPriority   = 1000
	customVersionPriority = 100
)

type priority struct{ group, version int32 }

// priorities are kube-apiserver's, by which groups and their versions are ordered in discovery.
var priorities = map[schema.GroupVersion]priority{
	{Version: "v1"}:                                           {18000, 1},
	{Group: "apps", Version: "v1"}:                            {17800, 15},
	{Group: "events.k8s.io", Version: "v1"}:                   {17750, 15},
	{Group: "authentication.k8s.io", Version: "v1"}:           {17700, 15},
	{Group: "authorization.k8s.io", Version: "v1"}:            {17600, 15},
	{Group: "autoscaling", Version: "v1"}:                     {17500, 15},
	{Group: "autoscaling", Version: "v2"}:                     {17500, 30},
	{Group: "batch", Version: "v1"}:                           {17400, 15},
	{Group: "certificates.k8s.io", Version: "v1"}:             {17300, 15},
	{Group: "networking.k8s.io", Version: "v1"}:               {17200, 15},
	{Group: "policy", Version: "v1"}:                          {17100, 15},
	{Group: "rbac.authorization.k8s.io", Version: "v1"}:       {17000, 15},
	{Group: "storage.k8s.io", Version: "v1"}:                  {16800, 15},
	{Group: "admissionregistration.k8s.io", Version: "v1"}:    {16700, 15},
	{Group: "apiextensions.k8s.io", Version: "v1"}:            {16700, 15},
	{Group: "scheduling.k8s.io", Version: "v1"}:               {16600, 15},
	{Group: "coordination.k8s.io", Version: "v1"}:             {16500, 15},
	{Group: "node.k8s.io", Version: "v1"}:                     {16300, 15},
	{Group: "discovery.k8s.io", Version: "v1"}:                {16200, 15},
	{Group: "resource.k8s.io", Version: "v1"}:                 {16200, 21},
	{Group: "flowcontrol.apiserver.k8s.io", Version: "v1"}:    {16100, 21},
	{Group: "internal.apiserver.k8s.io", Version: "v1alpha1"}: {16000, 9},
	{Group: "storagemigration.k8s.io", Version: "v1beta1"}:    {15800, 9},
}

// builtInService is the APIService of a group version that is built in; nil where it has none, as APIServices themselves have none.
func builtInService(gv schema.GroupVersion) *apiregistrationv1.APIService {
	p, ok := priorities[gv]
	if !ok {
		return nil
	}
	return localService(gv, p)
}

func localService(gv schema.GroupVersion, p priority) *apiregistrationv1.APIService {
	return &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: gv.Version + "." + gv.Group},
		Spec:       apiregistrationv1.APIServiceSpec{Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: p.group, VersionPriority: p.version},
	}
}

// Register keeps APIServices for what this server serves itself, until ctx ends: once for what is built in, so that people may change
// them, and all the time for custom resources. It returns at once; nothing is written where all is as it should be. Discovery does not
// wait for it, so a server need not either before it is ready.
func (a *Aggregator) Register(ctx context.Context) error {
	keeper := autoregister.NewAutoRegisterController(plain{a.config.APIServices}, a.config.Client)
	for _, s := range a.builtIn {
		keeper.AddAPIServiceToSyncOnStart(s)
	}
	custom := customRegistrar{a.config.Definitions.Lister(), keeper}
	followed, err := a.config.Definitions.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: custom.refresh, DeleteFunc: custom.refresh,
		UpdateFunc: func(old, cur any) {
			custom.refresh(old) // for versions that it no longer has
			custom.refresh(cur)
		},
	})
	if err != nil {
		return err
	}
	go func() {
		// An APIService of which no definition is known yet would be deleted.
		select {
		case <-followed.HasSyncedChecker().Done():
			keeper.Run(registrars, ctx.Done())
		case <-ctx.Done():
		}
	}()
	return nil
}

// customRegistrar says which group versions of custom resources there are.
type customRegistrar struct {
	definitions apiextensionslisters.CustomResourceDefinitionLister
	keeper      autoregister.AutoAPIServiceRegistration
}

// refresh looks anew at the versions of a definition, which may have gone.
func (c customRegistrar) refresh(obj any) {
	if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = tombstone.Obj
	}
	definition, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		return
	}
	all, err := c.definitions.List(labels.Everything())
	if err != nil {
		return // reading a cache does not fail
	}
	for _, v := range definition.Spec.Versions {
		gv := schema.GroupVersion{Group: definition.Spec.Group, Version: v.Name}
		if served(all, gv) {
			c.keeper.AddAPIServiceToSync(localService(gv, priority{customGroupPriority, customVersionPriority}))
		} else {
			c.keeper.RemoveAPIServiceToSync(gv.Version + "." + gv.Group)
		}
	}
}

// served tells whether any definition serves gv.
func served(definitions []*apiextensionsv1.CustomResourceDefinition, gv schema.GroupVersion) bool {
	for _, d := range definitions {
		if d.Spec.Group != gv.Group {
			continue
		}
		for _, v := range d.Spec.Versions {
			if v.Name == gv.Version && v.Served {
				return true
			}
		}
	}
	return false
}
