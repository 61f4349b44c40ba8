// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"maps"
	"slices"
	"strings"
	"sync"

	apiextensionshelpers "k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/client-go/tools/cache"
)

// listCustomGroups keeps the unaggregated list of groups, /apis, as definitions of custom resources are. The server of custom resources
// describes its groups itself, but not that they are there. Groups of the table stay as they are listed. A change costs a look at all
// definitions.
func listCustomGroups(custom *apiextensions.CustomResourceDefinitions, table map[string]bool, groups discovery.GroupManager) error {
	groups.AddGroup(apiGroup(apiextensionsv1.GroupName, apiextensionsv1.SchemeGroupVersion.Version))
	definitions := custom.Informers.Apiextensions().V1().CustomResourceDefinitions()
	var mu sync.Mutex
	listed := map[string][]string{} // the versions of each group, newest first
	refresh := func(any) {
		mu.Lock()
		defer mu.Unlock()
		all, _ := definitions.Lister().List(labels.Everything()) // reading a cache does not fail
		served := servedVersions(all)
		maps.DeleteFunc(served, func(name string, _ []string) bool { return table[name] })
		for name := range listed {
			if served[name] == nil {
				groups.RemoveGroup(name)
			}
		}
		for name, versions := range served {
			if !slices.Equal(listed[name], versions) {
				groups.AddGroup(apiGroup(name, versions...))
			}
		}
		listed = served
	}
	_, err := definitions.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: refresh, UpdateFunc: func(_, cur any) { refresh(cur) }, DeleteFunc: refresh,
	})
	return err
}

// servedVersions are the versions, newest first, of the groups that definitions are established for.
func servedVersions(definitions []*apiextensionsv1.CustomResourceDefinition) map[string][]string {
	served := map[string][]string{}
	for _, d := range definitions {
		if !apiextensionshelpers.IsCRDConditionTrue(d, apiextensionsv1.Established) {
			continue
		}
		for _, v := range d.Spec.Versions {
			if v.Served && !slices.Contains(served[d.Spec.Group], v.Name) {
				served[d.Spec.Group] = append(served[d.Spec.Group], v.Name)
			}
		}
	}
	for _, versions := range served {
		slices.SortFunc(versions, func(a, b string) int {
			if byAge := version.CompareKubeAwareVersionStrings(b, a); byAge != 0 {
				return byAge
			}
			return strings.Compare(a, b)
		})
	}
	return served
}

// apiGroup describes a group by its versions, of which the first is preferred.
func apiGroup(name string, versions ...string) metav1.APIGroup {
	group := metav1.APIGroup{Name: name}
	for _, v := range versions {
		group.Versions = append(group.Versions, metav1.GroupVersionForDiscovery{GroupVersion: schema.GroupVersion{Group: name, Version: v}.String(), Version: v})
	}
	group.PreferredVersion = group.Versions[0]
	return group
}
