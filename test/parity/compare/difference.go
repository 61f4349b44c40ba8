// SPDX-License-Identifier: Apache-2.0

// Package compare tells in what two servers' answers to the same request differ: the code and reason, the causes of an error, warnings,
// the object that came back, and who manages its fields. What must differ (uids, times, versions, allocated addresses) is made the same
// first (normalise.go); what differs because the two speak of different versions of Kubernetes is told by rules (versions.go).
package compare

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/hivemind-project/hivemind/test/parity/exchange"
)

// Aspect is what of an answer differs.
type Aspect string

// The aspects.
const (
	Code          Aspect = "code"           // HTTP status and reason
	Message       Aspect = "message"        // of an error whose causes are the same
	Cause         Aspect = "cause"          // one reason why a field is refused
	Details       Aspect = "details"        // which object an error is about
	Object        Aspect = "object"         // a field of what was stored
	ManagedFields Aspect = "managed fields" // a field that another manager owns
	Warning       Aspect = "warning"
	Document      Aspect = "document" // discovery, OpenAPI, tables, roles
)

// Difference is one thing in which the answers differ. Stock and Hivemind are what each says; "" where it says nothing.
type Difference struct {
	Aspect   Aspect `json:"aspect"`
	Path     string `json:"path"` // of the field, where there is one
	Stock    string `json:"stock"`
	Hivemind string `json:"hivemind"`
	// Kind is the one whose answers these are: group/version Kind, or what else is compared.
	Kind string `json:"-"`
	// Unknown says that stock's schema has no such field.
	Unknown bool `json:"unknown,omitempty"`
}

func differs(aspect Aspect, path, stock, hivemind string) Difference {
	return Difference{Aspect: aspect, Path: path, Stock: stock, Hivemind: hivemind}
}

// Answers compares two normalised answers.
func Answers(a exchange.Answers) []Difference {
	s, h := a.Stock, a.Hivemind
	var out []Difference
	if sc, hc := outcome(s), outcome(h); sc != hc {
		out = append(out, differs(Code, "", explained(s), explained(h)))
		if s.OK() != h.OK() {
			// Which rule one of them has and the other has not.
			for _, c := range causes(s) {
				out = append(out, differs(Cause, c.field, c.text(), ""))
			}
			for _, c := range causes(h) {
				out = append(out, differs(Cause, c.field, "", c.text()))
			}
			if len(causes(s))+len(causes(h)) > 0 {
				out = out[1:] // the causes say it all
			}
			return out
		}
	}
	if s.OK() && h.OK() {
		out = append(out, objects(s.Body, h.Body)...)
		if s.Body == nil && h.Body == nil && s.Text != h.Text {
			out = append(out, differs(Object, "", s.Text, h.Text))
		}
	} else if len(out) == 0 {
		out = append(out, errors(s, h)...)
	}
	return append(out, sets(Warning, s.Warnings, h.Warnings)...)
}

// outcome is the code and the reason.
func outcome(a exchange.Answer) string {
	switch {
	case a.OK():
		return fmt.Sprint(a.Code)
	case a.Code == 0:
		return a.Text
	}
	return strings.TrimSpace(fmt.Sprintf("%d %v", a.Code, or(a.Body["reason"])))
}

// explained is the outcome with what the server says of a refusal.
func explained(a exchange.Answer) string {
	if a.OK() || a.Code == 0 {
		return outcome(a)
	}
	return outcome(a) + ": " + message(a)
}

// cause is one of details.causes.
type cause struct{ field, kind, message string }

func (c cause) text() string { return strings.TrimPrefix(c.kind, "FieldValue") + ": " + c.message }

func causes(a exchange.Answer) []cause {
	details, _ := a.Body["details"].(map[string]any)
	list, _ := details["causes"].([]any)
	out := make([]cause, 0, len(list))
	for _, one := range list {
		c, _ := one.(map[string]any)
		told := cause{fmt.Sprint(or(c["field"])), fmt.Sprint(or(c["reason"])), fmt.Sprint(or(c["message"]))}
		if !slices.Contains(out, told) { // where two checks find the same, the message has it once too
			out = append(out, told)
		}
	}
	return out
}

func or(v any) any {
	if v == nil {
		return ""
	}
	return v
}

// errors compares two refusals of the same code.
func errors(s, h exchange.Answer) []Difference {
	sc, hc := causes(s), causes(h)
	onlyStock, onlyHivemind := without(sc, hc), without(hc, sc)
	var out []Difference
	// Two causes for the same field are one difference.
	for _, c := range onlyStock {
		other := ""
		for _, same := range []func(cause) bool{
			func(o cause) bool { return o.field == c.field },
			func(o cause) bool { return nowhere(o.field) == nowhere(c.field) }, // but for places in lists
			func(o cause) bool {
				return o.kind == c.kind && (strings.HasPrefix(o.field, c.field+".") || strings.HasPrefix(c.field, o.field+"."))
			},
		} {
			if i := slices.IndexFunc(onlyHivemind, same); i >= 0 {
				other = onlyHivemind[i].text()
				if onlyHivemind[i].field != c.field {
					other = "at " + index.ReplaceAllString(onlyHivemind[i].field, "[*]") + ": " + other
				}
				onlyHivemind = slices.Delete(onlyHivemind, i, i+1)
				break
			}
		}
		out = append(out, differs(Cause, c.field, c.text(), other))
	}
	for _, c := range onlyHivemind {
		out = append(out, differs(Cause, c.field, "", c.text()))
	}
	if len(out) > 0 {
		return out
	}
	sd, _ := s.Body["details"].(map[string]any)
	hd, _ := h.Body["details"].(map[string]any)
	for _, key := range union(sd, hd) {
		if key != "causes" && !reflect.DeepEqual(sd[key], hd[key]) {
			out = append(out, differs(Details, key, shown(sd[key]), shown(hd[key])))
		}
	}
	if sm, hm := message(s), message(h); sm != hm {
		d := differs(Message, "", sm, hm)
		if len(sc) > 1 && sortedParts(sm) == sortedParts(hm) {
			d = differs(Message, "", "the same causes", "in another order")
		}
		out = append(out, d)
	}
	return out
}

// nowhere is a path without places in lists.
func nowhere(path string) string { return index.ReplaceAllString(path, "") }

func message(a exchange.Answer) string {
	if a.Body == nil {
		return a.Text
	}
	return fmt.Sprint(or(a.Body["message"]))
}

// sortedParts is a message without the order of its causes.
func sortedParts(message string) string {
	start, list, ok := strings.Cut(message, "[")
	if !ok {
		return message
	}
	parts := strings.Split(strings.TrimSuffix(list, "]"), ", ")
	slices.Sort(parts)
	return start + strings.Join(parts, ", ")
}

// without is what of a is not in b.
func without(a, b []cause) []cause {
	rest := slices.Clone(b)
	var out []cause
	for _, c := range a {
		if i := slices.Index(rest, c); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
		} else {
			out = append(out, c)
		}
	}
	return out
}

// objects compares two objects; who manages fields apart from the rest.
func objects(s, h map[string]any) []Difference {
	sf, hf := takeManagedFields(s), takeManagedFields(h)
	if s["kind"] != h["kind"] {
		return []Difference{differs(Object, "", "answers with "+kindOf(s), "answers with "+kindOf(h))}
	}
	out := Trees(Object, "", s, h)
	differ := map[string]bool{}
	for _, d := range out {
		differ[index.ReplaceAllString(d.Path, "[*]")] = true
	}
	for _, d := range managers(sf, hf) {
		// Who owns a field follows from which fields there are.
		if d.Path == "" || !differ[d.Path] && !differ[d.Path+"[*]"] {
			out = append(out, d)
		}
	}
	return out
}

func kindOf(object map[string]any) string {
	if object["kind"] == "Status" {
		return fmt.Sprintf("a Status, %v", object["status"])
	}
	return "the object"
}

// Trees lists the places in which two trees differ.
func Trees(aspect Aspect, path string, s, h any) []Difference {
	a, ok1 := s.(map[string]any)
	b, ok2 := h.(map[string]any)
	if ok1 && ok2 {
		var out []Difference
		for _, key := range union(a, b) {
			at := strings.TrimPrefix(path+"."+key, ".")
			if strings.ContainsAny(key, "./") {
				at = path + "[" + key + "]"
			}
			x, inA := a[key]
			y, inB := b[key]
			switch {
			case inA && inB:
				out = append(out, Trees(aspect, at, x, y)...)
			case inA:
				out = append(out, differs(aspect, at, shown(x), ""))
			default:
				out = append(out, differs(aspect, at, "", shown(y)))
			}
		}
		return out
	}
	x, ok1 := s.([]any)
	y, ok2 := h.([]any)
	if ok1 && ok2 {
		return lists(aspect, path, x, y)
	}
	if reflect.DeepEqual(s, h) {
		return nil
	}
	return []Difference{differs(aspect, path, shown(s), shown(h))}
}

// keys tell the elements of lists from each other, where all elements have one.
var keys = []string{"name", "type", "key", "ip", "containerPort", "mountPath"}

// lists compares two lists: by key where their elements have one, as sets where they are scalars or nothing tells elements from each other
// but their whole. The order counts too.
func lists(aspect Aspect, path string, x, y []any) []Difference {
	for _, key := range keys {
		a, ok1 := byKey(x, key)
		b, ok2 := byKey(y, key)
		if !ok1 || !ok2 || len(a)+len(b) == 0 {
			continue
		}
		var out []Difference
		for _, name := range union(a, b) {
			at := path + "[0]"
			v, inA := a[name]
			w, inB := b[name]
			switch {
			case inA && inB:
				out = append(out, Trees(aspect, at, v, w)...)
			case inA:
				out = append(out, differs(aspect, at, shown(v), ""))
			default:
				out = append(out, differs(aspect, at, "", shown(w)))
			}
		}
		if len(out) == 0 {
			out = order(aspect, path, x, y)
		}
		return out
	}
	rest, only := slices.Clone(y), []any{}
	for _, v := range x {
		if i := slices.IndexFunc(rest, func(w any) bool { return reflect.DeepEqual(v, w) }); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
		} else {
			only = append(only, v)
		}
	}
	var out []Difference
	for i := range max(len(only), len(rest)) {
		switch at := path + "[0]"; {
		case i >= len(only):
			out = append(out, differs(aspect, at, "", shown(rest[i])))
		case i >= len(rest):
			out = append(out, differs(aspect, at, shown(only[i]), ""))
		default:
			out = append(out, Trees(aspect, at, only[i], rest[i])...)
		}
	}
	if len(out) == 0 {
		return order(aspect, path, x, y)
	}
	return out
}

func order(aspect Aspect, path string, x, y []any) []Difference {
	if reflect.DeepEqual(x, y) {
		return nil
	}
	return []Difference{differs(aspect, path, "the same elements", "in another order")}
}

// byKey is false where an element has not that key or shares its value with another.
func byKey(list []any, key string) (map[string]any, bool) {
	out := map[string]any{}
	for _, one := range list {
		tree, _ := one.(map[string]any)
		name, ok := tree[key]
		if _, twice := out[fmt.Sprint(name)]; !ok || twice {
			return nil, false
		}
		out[fmt.Sprint(name)] = one
	}
	return out, true
}

// shown is a value as a difference tells it.
func shown(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if text := string(data); len(text) <= 200 {
		return text
	}
	return string(data[:200]) + "…"
}

func takeManagedFields(object map[string]any) []any {
	meta, _ := object["metadata"].(map[string]any)
	list, _ := meta["managedFields"].([]any)
	delete(meta, "managedFields")
	return list
}

// managers compares who manages which fields: an entry by manager, operation and subresource, then field by field.
func managers(s, h []any) []Difference {
	a, b := byManager(s), byManager(h)
	if len(a) == 0 && len(b) > 0 {
		return []Difference{differs(ManagedFields, "", "none at all", "has "+strings.Join(slices.Sorted(maps.Keys(b)), "; "))}
	}
	var out []Difference
	for _, name := range union(a, b) {
		x, inA := a[name]
		y, inB := b[name]
		switch {
		case inA && inB:
			for _, d := range Trees(ManagedFields, "", x, y) {
				d.Path = fieldPath(d.Path)
				if strings.HasPrefix(name, theServer+",") && strings.HasSuffix(d.Path, "conditions[*].lastTransitionTime") {
					continue // whether a second has passed since a server's last write
				}
				d.Stock, d.Hivemind = owned(d.Stock), owned(d.Hivemind)
				out = append(out, d)
			}
		case inA:
			out = append(out, differs(ManagedFields, "", "has "+name, ""))
		default:
			out = append(out, differs(ManagedFields, "", "", "has "+name))
		}
	}
	return out
}

func owned(text string) string {
	if text == "" {
		return ""
	}
	return "owned"
}

var managedKey = regexp.MustCompile(`\bf:|\[[kv]:\{[^\]]*\}\]|\.[kv]:\{.*?\}`)

// fieldPath turns f:spec.f:containers[k:{"name":"a"}].f:image into spec.containers[*].image.
func fieldPath(path string) string {
	return managedKey.ReplaceAllStringFunc(path, func(s string) string {
		if s == "f:" {
			return ""
		}
		return "[*]"
	})
}

func byManager(list []any) map[string]any {
	out := map[string]any{}
	for _, one := range list {
		entry, _ := one.(map[string]any)
		name := fmt.Sprintf("%v, %v, %v", entry["manager"], entry["operation"], entry["apiVersion"])
		if sub := entry["subresource"]; sub != nil {
			name += fmt.Sprintf(", %v", sub)
		}
		out[name] = entry["fieldsV1"]
	}
	return out
}

// sets compares lists whose order means nothing.
func sets(aspect Aspect, s, h []string) []Difference {
	rest := slices.Clone(h)
	var out []Difference
	for _, text := range s {
		if i := slices.Index(rest, text); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
		} else {
			out = append(out, differs(aspect, "", text, ""))
		}
	}
	for _, text := range rest {
		out = append(out, differs(aspect, "", "", text))
	}
	return out
}

func union[V any](a, b map[string]V) []string {
	keys := map[string]bool{}
	for key := range a {
		keys[key] = true
	}
	for key := range b {
		keys[key] = true
	}
	return slices.SortedFunc(maps.Keys(keys), cmp.Compare[string])
}
