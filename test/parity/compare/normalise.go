// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hivemind-project/hivemind/test/parity/exchange"
)

// World is what the two servers were given in common.
type World struct {
	Began         time.Time // times of the run are those since
	ServiceCIDR   netip.Prefix
	FirstNodePort int64
	LastNodePort  int64
	// Servers are the names by which the servers themselves manage fields.
	Servers []string
	// Asked is the text of all that is asked for: what occurs in it, no server has made up.
	Asked string
}

var (
	uuid      = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	stamp     = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`)
	address   = regexp.MustCompile(`\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b`)
	number    = regexp.MustCompile(`\b\d{5}\b`)
	version   = regexp.MustCompile(`([rR]esourceVersion(?: in record \(| in object meta: |: |\\*":\\*"))\d+`)
	etcdKey   = regexp.MustCompile(`(Key: )/[^,]+`) // where in etcd an object is
	age       = regexp.MustCompile(`\b(\d+[ydhms])+\b`)
	goType    = regexp.MustCompile(`(is (?:not )?a list \(\*)\w+(\.\w+\))`) // stock names its internal types, which Hivemind has not
	freePort  = regexp.MustCompile(`(nodePort: {[A-Z]+ |Duplicate value: )(\d{5})\b`)
	generated = regexp.MustCompile(`\b(kube-api-access|parity)-[bcdfghjklmnpqrstvwxz2456789]{5}\b`)
)

// theServer stands for the name by which a server itself manages fields.
const theServer = "<the server>"

// Normalise replaces what each server makes up by itself: uids, times of this run and ages, resource versions, random suffixes, and addresses and
// node ports that the request did not ask for. It changes the answer in place.
func (w World) Normalise(a *exchange.Answer) {
	if a.Body != nil {
		a.Body, _ = w.value(a.Body, "").(map[string]any)
	}
	a.Text = w.text(a.Text)
	for i := range a.Warnings {
		a.Warnings[i] = w.text(a.Warnings[i])
	}
}

func (w World) value(v any, name string) any {
	switch v := v.(type) {
	case map[string]any:
		if meta, ok := v["metadata"].(map[string]any); ok {
			for _, key := range []string{"uid", "resourceVersion", "creationTimestamp", "continue"} {
				if meta[key] != nil {
					meta[key] = "<" + key + ">"
				}
			}
		}
		for key := range v {
			v[key] = w.value(v[key], key)
		}
		if _, ok := v["incomplete"]; ok {
			// What somebody may do is a set, which servers list in the order of a map.
			for _, key := range []string{"resourceRules", "nonResourceRules"} {
				if rules, ok := v[key].([]any); ok {
					slices.SortFunc(rules, func(a, b any) int { return strings.Compare(shown(a), shown(b)) })
				}
			}
		}
		if v["fieldsType"] != nil {
			delete(v, "time")
			if manager, _ := v["manager"].(string); slices.Contains(w.Servers, manager) {
				v["manager"] = theServer
			}
		}
	case []any:
		for i := range v {
			v[i] = w.value(v[i], name)
		}
	case string:
		if name == "cells" {
			v = age.ReplaceAllString(v, "<age>")
		}
		return w.text(v)
	case int64:
		// Stock hands out ports above the range in dry runs.
		if (name == "nodePort" || name == "healthCheckNodePort") && v >= w.FirstNodePort && !strings.Contains(w.Asked, strconv.FormatInt(v, 10)) {
			return "<port>"
		}
	}
	return v
}

func (w World) text(text string) string {
	if len(text) < 5 {
		return text
	}
	if start, list, ok := strings.Cut(text, "errors:\n"); ok {
		lines := strings.Split(list, "\n") // in the order of a map
		slices.Sort(lines)
		text = start + "errors:\n" + strings.Join(lines, "\n")
	}
	unasked := func(replacement string, is func(string) bool) func(string) string {
		return func(found string) string {
			if strings.Contains(w.Asked, found) || is != nil && !is(found) {
				return found
			}
			return replacement
		}
	}
	for _, name := range w.Servers {
		text = strings.ReplaceAll(text, `\"manager\":\"`+name+`\"`, `\"manager\":\"`+theServer+`\"`)
		text = strings.ReplaceAll(text, `conflict with "`+name+`"`, `conflict with "`+theServer+`"`)
	}
	text = version.ReplaceAllString(text, "$1<resourceVersion>")
	text = goType.ReplaceAllString(text, "$1<package>$2")
	text = etcdKey.ReplaceAllString(text, "$1<key>")
	text = uuid.ReplaceAllStringFunc(text, unasked("<uid>", nil))
	text = generated.ReplaceAllStringFunc(text, unasked("<generated>", nil))
	text = stamp.ReplaceAllStringFunc(text, unasked("<now>", func(s string) bool {
		t, err := time.Parse(time.RFC3339Nano, s)
		return err == nil && t.After(w.Began.Add(-time.Minute))
	}))
	text = address.ReplaceAllStringFunc(text, unasked("<address>", func(s string) bool {
		ip, err := netip.ParseAddr(s)
		return err == nil && w.ServiceCIDR.Contains(ip)
	}))
	text = freePort.ReplaceAllStringFunc(text, func(found string) string { // stock hands out ports above the range in dry runs
		port := found[len(found)-5:]
		if n, err := strconv.ParseInt(port, 10, 64); err != nil || n < w.FirstNodePort || strings.Contains(w.Asked, port) {
			return found
		}
		return found[:len(found)-5] + "<port>"
	})
	return number.ReplaceAllStringFunc(text, unasked("<port>", func(s string) bool {
		n, err := strconv.ParseInt(s, 10, 64)
		return err == nil && w.FirstNodePort <= n && n <= w.LastNodePort
	}))
}
