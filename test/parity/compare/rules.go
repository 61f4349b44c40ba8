// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"regexp"
	"strings"
)

// Rule tells why a difference is there: because Hivemind speaks of a newer Kubernetes than the stock server does (versions.go), or for
// another reason for which it stays (reasons.go). A pattern that is empty matches everything. A rule is as narrow as its reason: it must not
// explain what Hivemind does wrong.
type Rule struct {
	Reason   string
	Aspect   Aspect
	Kind     *regexp.Regexp
	Path     *regexp.Regexp
	Stock    *regexp.Regexp
	Hivemind *regexp.Regexp
	// Unknown asks for a field that stock's own schema has not.
	Unknown bool
	// Added is what Hivemind's text has more than stock's in some places: without it both must be the same.
	Added *regexp.Regexp
	// Lines asks for texts that end in what two objects differ in, line by line, and in which the same lines differ: those around them, and
	// their numbers, may be others. Added is what is left out before.
	Lines bool
}

var (
	nothing   = regexp.MustCompile(`^$`)
	something = regexp.MustCompile(`.`)
	is        = regexp.MustCompile
)

// Version returns the rule by which the versions explain the difference; nil if none does.
func (d Difference) Version() *Rule { return d.first(Rules) }

// Reason returns the rule by which the difference stays for another reason; nil if none does.
func (d Difference) Reason() *Rule { return d.first(Reasons) }

func (d Difference) first(rules []Rule) *Rule {
	for i := range rules {
		if rules[i].explains(d) {
			return &rules[i]
		}
	}
	return nil
}

func (r *Rule) explains(d Difference) bool {
	matches := func(pattern *regexp.Regexp, text string) bool { return pattern == nil || pattern.MatchString(text) }
	if r.Aspect != d.Aspect || r.Unknown && !d.Unknown || !matches(r.Kind, d.Kind) || !matches(r.Path, d.Path) || !matches(r.Stock, d.Stock) || !matches(r.Hivemind, d.Hivemind) {
		return false
	}
	switch {
	case r.Lines:
		return changed(d.Stock, r.Added) == changed(d.Hivemind, r.Added)
	case r.Added != nil:
		return r.Added.ReplaceAllString(d.Stock, "") == r.Added.ReplaceAllString(d.Hivemind, "")
	}
	return true
}

// changed is a text with a difference of two objects in it (a unified diff) as far as the lines are concerned that differ, but for those that
// are added. "" where there is none.
func changed(text string, added *regexp.Regexp) string {
	said, lines, ok := strings.Cut(text, "@@ -")
	if !ok {
		return ""
	}
	for line := range strings.Lines(added.ReplaceAllString(lines, "")) {
		if strings.HasPrefix(line, "-") || strings.HasPrefix(line, "+") {
			said += strings.TrimSuffix(strings.TrimSuffix(line, "\n"), ",") + "\n" // what is last has none
		}
	}
	return said
}
