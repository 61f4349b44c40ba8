// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
	"testing"
)

// differences are those that are meant: a fact begins so, with + where it is Hivemind's alone and - where it is stock's.
var differences = []struct{ prefix, why string }{}

// TestRolesAreStocks fails where the roles or bindings of a new cluster are not those of stock Kubernetes, and where a difference that is
// meant is none any more.
func TestRolesAreStocks(t *testing.T) {
	ours, err := Ours("../../../config/rbac.yaml", "../../../config/rbac-controllers.yaml")
	if err != nil {
		t.Fatal(err)
	}
	stock := Stock()
	if len(stock) < 1000 || len(ours) < 1000 {
		t.Fatalf("only %d facts of stock, %d of ours", len(stock), len(ours))
	}
	var all []string
	for _, fact := range ours.Less(stock) {
		all = append(all, "+ "+fact)
	}
	for _, fact := range stock.Less(ours) {
		all = append(all, "- "+fact)
	}
	met := map[string]bool{}
	for _, fact := range all {
		i := slices.IndexFunc(differences, func(d struct{ prefix, why string }) bool { return strings.HasPrefix(fact, d.prefix) })
		if i < 0 {
			t.Error(fact)
			continue
		}
		met[differences[i].prefix] = true
	}
	for _, d := range differences {
		if !met[d.prefix] {
			t.Errorf("%s is no difference any more (%s)", d.prefix, d.why)
		}
	}
}
