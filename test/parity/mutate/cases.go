// SPDX-License-Identifier: Apache-2.0

// Package mutate makes requests out of valid objects: by rule, each field is removed, emptied, of the wrong type, negative, too long and so
// on, and the changed object travels as create, update, one of the patches, or a write of the status.
//
// The same kind and seed make the same cases in the same order. Their number is that of the fields times rules times operations, some ten
// thousand for a Pod; Sample takes of each combination of operation, rule and part of the object its share.
package mutate

import (
	"fmt"
	"hash/fnv"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/hivemind-project/hivemind/test/parity/corpus"
)

// Op is how a changed object is sent.
type Op string

// The operations on the object, and those on its status.
const (
	Create         Op = "create"
	Update         Op = "update"
	MergePatch     Op = "merge patch"
	StrategicPatch Op = "strategic patch"
	JSONPatch      Op = "json patch"
	Apply          Op = "apply"
	ApplyForced    Op = "apply forced"
	StatusUpdate   Op = "status update"
	StatusPatch    Op = "status patch"
	StatusApply    Op = "status apply"
	Delete         Op = "delete"
)

// Ops lists those that carry a changed object. Status operations change the status or the metadata.
var (
	WriteOps  = []Op{Update, MergePatch, StrategicPatch, JSONPatch, Apply, ApplyForced}
	StatusOps = []Op{StatusUpdate, StatusPatch, StatusApply}
)

// FieldValidations are the values of the parameter that says what becomes of unknown and doubled fields; "" is the server's own choice.
var FieldValidations = []string{"", "Strict", "Warn", "Ignore"}

// Case is one request.
type Case struct {
	Object          string // of the corpus
	Op              Op
	Edit            Edit
	FieldValidation string
}

// ID names the case within its kind.
func (c Case) ID() string {
	id := fmt.Sprintf("%s: %s, %s", c.Object, c.Op, c.Edit.Rule)
	if c.Edit.Rule != Unchanged {
		id += " " + pathText(c.Edit.Path)
	}
	for _, more := range []string{c.Edit.Variant, c.FieldValidation} {
		if more != "" {
			id += " (" + more + ")"
		}
	}
	return id
}

func pathText(p Path) string {
	text := p.String()
	if text == "" {
		return "the object"
	}
	return strings.Replace(text, strings.Repeat("k", 300), "kkk…", 1)
}

// Source is what cases are made from.
type Source struct {
	Kind *corpus.Kind
	// Enum are the values of a field that a schema lists; nil where none does.
	Enum func(Path) []string
	// Make makes a value for a field that an object has not; nil for none. With it, these are added too.
	Make func(Path, reflect.Type, corpus.Field) any
}

// Creates are the cases that try to create: of each object with each edit.
func (s Source) Creates() []Case {
	var out []Case
	for _, o := range s.Kind.Objects {
		for _, e := range s.edits(o.Name, o.Content) {
			out = append(out, s.cases(o.Name, Create, e)...)
		}
	}
	return out
}

// Writes are the cases that change a stored object. ops are those that the kind has.
func (s Source) Writes(ops []Op) []Case {
	var out []Case
	for _, o := range s.Kind.Objects {
		for _, e := range s.edits(o.Name, o.Content) {
			for _, op := range ops {
				out = append(out, s.cases(o.Name, op, e)...)
			}
		}
	}
	return out
}

// StatusWrites are the cases that change the status of the full object.
func (s Source) StatusWrites(ops []Op) []Case {
	full := s.Kind.Object(corpus.Full)
	if full == nil || s.Kind.Status == nil {
		return nil
	}
	object := clone(full)
	object["status"] = clone(s.Kind.Status)
	var out []Case
	for _, e := range s.edits(corpus.Full, object) {
		inStatus := len(e.Path) > 0 && e.Path[0] == "status"
		if !inStatus && e.Rule != Unchanged && e.Rule != Metadata && e.Rule != OtherValue {
			continue // what is outside of the status is there to be ignored
		}
		for _, op := range ops {
			out = append(out, s.cases(corpus.Full, op, e)...)
		}
	}
	return out
}

// cases are one, or one for each way to validate fields.
func (s Source) cases(object string, op Op, e Edit) []Case {
	if e.Rule != UnknownField && e.Rule != DuplicateField {
		return []Case{{Object: object, Op: op, Edit: e}}
	}
	if e.Rule == DuplicateField && op != Create && op != Update && op != Apply && op != StatusUpdate {
		return nil // patches have no place for it
	}
	var out []Case
	for _, v := range FieldValidations {
		out = append(out, Case{Object: object, Op: op, Edit: e, FieldValidation: v})
	}
	return out
}

func (s Source) edits(name string, object map[string]any) []Edit {
	out := []Edit{{Rule: Unchanged}}
	walk(nil, corpus.Field{}, s.Kind.Type, object, func(n node) {
		if skip(n) {
			return
		}
		var enum []string
		if s.Enum != nil && n.present && n.shape() == corpus.String {
			enum = s.Enum(n.path)
		}
		out = append(out, n.edits(enum, func(t reflect.Type, f corpus.Field) any {
			if s.Make == nil || name != corpus.Minimal {
				return nil
			}
			return s.Make(n.path, t, f)
		})...)
	})
	return append(out, metadataEdits()...)
}

// skip leaves to the rule Metadata what it does better, and the object's own type to nobody.
func skip(n node) bool {
	if len(n.path) == 0 {
		return false
	}
	switch n.path[0] {
	case "apiVersion", "kind":
		return true
	case "metadata":
		return !n.present || len(n.path) == 2 && n.path[1] == "namespace"
	}
	return false
}

// Sample takes n of the cases; the same ones for the same seed, whatever else is in the list. Each combination of operation, rule and part
// of the object gives one in turn, so that a template with hundreds of fields does not drown the rest.
func Sample(cases []Case, n int, seed uint64) []Case {
	if n <= 0 || len(cases) <= n {
		return cases
	}
	type ranked struct {
		place int
		hash  uint64
	}
	groups := map[string][]ranked{}
	for i, c := range cases {
		h := fnv.New64a()
		fmt.Fprintf(h, "%d %s", seed, c.ID())
		key := fmt.Sprintf("%s/%s/%s", c.Op, c.Edit.Rule, part(c.Edit.Path))
		groups[key] = append(groups[key], ranked{i, mix(h.Sum64())})
	}
	keys := slices.Sorted(maps.Keys(groups))
	for _, key := range keys {
		slices.SortFunc(groups[key], func(a, b ranked) int {
			if a.hash < b.hash {
				return -1
			}
			return 1
		})
	}
	var places []int
	for round := 0; len(places) < n; round++ {
		for _, key := range keys {
			if round < len(groups[key]) && len(places) < n {
				places = append(places, groups[key][round].place)
			}
		}
	}
	slices.Sort(places)
	out := make([]Case, 0, n)
	for _, place := range places {
		out = append(out, cases[place])
	}
	return out
}

// mix spreads a hash over all bits: FNV's last steps leave names that differ at the end close together.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	return h ^ h>>33
}

// part is the region of the object that a path leads to.
func part(p Path) string {
	for i, step := range p {
		if step == "template" || step == "jobTemplate" {
			return "template"
		}
		if i == 1 {
			break
		}
	}
	if len(p) == 0 {
		return ""
	}
	first, _ := p[0].(string)
	return first
}
