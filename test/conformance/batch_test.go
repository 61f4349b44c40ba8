// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBatches(t *testing.T) {
	const unlisted = "[sig-node] Pods should run [Conformance]"
	alone, pair := lines(noNodeList)[0], lines(twoNodesList)[0]
	s := &suite{}
	for _, name := range append(append(lines(noNodeList), lines(twoNodesList)...), unlisted) {
		s.tests = append(s.tests, test{Name: name})
	}
	for what, c := range map[string]struct {
		tests []string
		given bool
		want  []string // ground, how many need a node, and the tests
	}{
		"nothing":                {},
		"no node":                {tests: []string{alone}, want: []string{fmt.Sprint(serverAlone, 0, alone)}},
		"a node for one":         {tests: []string{alone, unlisted}, want: []string{fmt.Sprint(oneNode, 1, alone+"+"+unlisted)}},
		"two nodes":              {tests: []string{pair}, want: []string{fmt.Sprint(twoNodes, 1, pair)}},
		"all":                    {tests: []string{pair, unlisted, alone}, want: []string{fmt.Sprint(oneNode, 1, unlisted+"+"+alone), fmt.Sprint(twoNodes, 1, pair)}},
		"none and two":           {tests: []string{pair, alone}, want: []string{fmt.Sprint(serverAlone, 0, alone), fmt.Sprint(twoNodes, 1, pair)}},
		"a cluster that is here": {tests: []string{pair, unlisted, alone}, given: true, want: []string{fmt.Sprint(oneNode, 2, pair+"+"+unlisted+"+"+alone)}},
	} {
		t.Run(what, func(t *testing.T) {
			var tests []test
			for _, name := range c.tests {
				tests = append(tests, test{Name: name})
			}
			batches, err := s.batches(tests, c.given)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, b := range batches {
				var names []string
				for _, t := range b.tests {
					names = append(names, t.Name)
				}
				got = append(got, fmt.Sprint(b.ground, b.needNode, strings.Join(names, "+")))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
