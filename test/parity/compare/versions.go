// SPDX-License-Identifier: Apache-2.0

package compare

import "regexp"

// Rule tells a difference that is there because Hivemind speaks of a newer Kubernetes than the stock server does. Every rule gives its
// reason; a pattern that is empty matches everything.
type Rule struct {
	Reason   string
	Aspect   Aspect
	Path     *regexp.Regexp
	Stock    *regexp.Regexp
	Hivemind *regexp.Regexp
}

// Rules are all differences that the versions 1.36 (stock) and 1.37 (Hivemind) explain.
var Rules = []Rule{}

// Version returns the rule that explains the difference; nil if none does.
func (d Difference) Version() *Rule {
	matches := func(pattern *regexp.Regexp, text string) bool { return pattern == nil || pattern.MatchString(text) }
	for i, r := range Rules {
		if r.Aspect == d.Aspect && matches(r.Path, d.Path) && matches(r.Stock, d.Stock) && matches(r.Hivemind, d.Hivemind) {
			return &Rules[i]
		}
	}
	return nil
}
