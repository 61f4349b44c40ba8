// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// standardVerbs are what a whole resource can do; in the list of what is documented they are one word.
const standardVerbs = "create,delete,deletecollection,get,list,patch,update,watch"

// The documents that describe the API are made at build time from a list of what is served. This compares that list with what is
// served.
func TestEverythingServedIsDocumented(t *testing.T) {
	c := newCluster(t)
	_, groups, err := c.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(groups, func(a, b *metav1.APIResourceList) int {
		return strings.Compare(order(a.GroupVersion), order(b.GroupVersion))
	})
	var served strings.Builder
	for _, group := range groups {
		fmt.Fprintf(&served, "\n%s\n", group.GroupVersion)
		slices.SortFunc(group.APIResources, func(a, b metav1.APIResource) int { return strings.Compare(a.Name, b.Name) })
		for _, r := range group.APIResources {
			fmt.Fprintf(&served, "\t%s %s %s %s\n", r.Name, kindOf(r), scopeOf(r), verbsOf(r))
		}
	}
	text, err := os.ReadFile("../../hack/openapi/served.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, documented, _ := strings.Cut(string(text), "\n\n")
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(documented), "\n"), strings.Split(strings.TrimSpace(served.String()), "\n")); diff != "" {
		t.Errorf("hack/openapi/served.txt is not what is served; mend it and run hack/update-codegen.sh (-documented +served):\n%s", diff)
	}
}

// order puts the core group first.
func order(groupVersion string) string {
	if groupVersion == "v1" {
		return ""
	}
	return groupVersion
}

// kindOf names the kind, with group and version where they are not those of the resource.
func kindOf(r metav1.APIResource) string {
	if r.Version == "" {
		return r.Kind
	}
	return r.Group + "/" + r.Version + "/" + r.Kind
}

func scopeOf(r metav1.APIResource) string {
	if r.Namespaced {
		return "namespaced"
	}
	return "cluster"
}

func verbsOf(r metav1.APIResource) string {
	verbs := slices.Sorted(slices.Values([]string(r.Verbs)))
	if joined := strings.Join(verbs, ","); joined != standardVerbs {
		return joined
	}
	return "standard"
}
