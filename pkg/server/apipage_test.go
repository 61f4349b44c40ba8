// SPDX-License-Identifier: Apache-2.0

package server

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// apiPage tells users what is served. The table in it is between these lines.
const (
	apiPage    = "../../docs/api.md"
	tableBegin = "<!-- What follows is written by: go test ./pkg/server -run TestAPIPage -update -->\n"
	tableEnd   = "<!-- End of what is written. -->\n"
)

// TestAPIPage holds that docs/api.md lists what is served.
func TestAPIPage(t *testing.T) {
	c := newCluster(t)
	_, lists, err := c.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(apiPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s lacks the lines around its table:\n%s%s", apiPage, tableBegin, tableEnd)
	}
	want := before + tableBegin + served(lists) + tableEnd + after
	if *update {
		if err := os.WriteFile(apiPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := gocmp.Diff(string(page), want); diff != "" {
		t.Errorf("what is served has changed; if that is meant, write the table anew with -update (-page +now):\n%s", diff)
	}
}

// every is what can be done with most kinds.
var every = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

// served is a table of resources in Markdown.
func served(lists []*metav1.APIResourceList) string {
	var b strings.Builder
	b.WriteString("\n| group and version | resource | kind | subresources | verbs, where not all |\n|---|---|---|---|---|\n")
	slices.SortFunc(lists, func(a, b *metav1.APIResourceList) int { // the core group first
		return cmp.Or(strings.Count(a.GroupVersion, "/")-strings.Count(b.GroupVersion, "/"), strings.Compare(a.GroupVersion, b.GroupVersion))
	})
	for _, list := range lists {
		subresources := map[string][]string{}
		for _, r := range list.APIResources {
			if resource, subresource, ok := strings.Cut(r.Name, "/"); ok {
				subresources[resource] = append(subresources[resource], subresource)
			}
		}
		for _, r := range list.APIResources {
			if strings.Contains(r.Name, "/") {
				continue
			}
			name := r.Name
			if len(r.ShortNames) > 0 {
				name += " (" + strings.Join(r.ShortNames, ", ") + ")"
			}
			verbs := slices.Sorted(slices.Values(r.Verbs))
			only := strings.Join(verbs, ", ")
			if slices.Equal(verbs, every) {
				only = ""
			}
			slices.Sort(subresources[r.Name])
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", list.GroupVersion, name, r.Kind, strings.Join(subresources[r.Name], ", "), only)
		}
	}
	b.WriteString("\n")
	return b.String()
}
