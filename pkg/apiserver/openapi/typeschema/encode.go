// SPDX-License-Identifier: Apache-2.0

package typeschema

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
)

// Encode writes a table of the types; kinds names the type of each kind.
func Encode(types []smd.TypeDef, kinds map[schema.GroupVersionKind]string) (string, error) {
	index := map[string]int{}
	for i, t := range types {
		if _, twice := index[t.Name]; twice {
			return "", fmt.Errorf("two types are called %s", t.Name)
		}
		index[t.Name] = i
	}
	w := &writer{index: index}
	w.data = append(w.data, header...)
	w.number(len(types))
	var bodies []byte
	for _, t := range types {
		body := &writer{index: index}
		body.atom(t.Atom)
		if body.err != nil {
			return "", fmt.Errorf("type %s: %w", t.Name, body.err)
		}
		prefix := &writer{}
		prefix.number(len(body.refs))
		for _, i := range body.refs {
			prefix.number(i)
		}
		w.string(t.Name)
		w.number(len(prefix.data) + len(body.data))
		bodies = append(append(bodies, prefix.data...), body.data...)
	}
	w.number(len(kinds))
	for _, gvk := range sortedKinds(kinds) {
		i, ok := index[kinds[gvk]]
		if !ok {
			return "", fmt.Errorf("%s is of type %s, which is not there", gvk, kinds[gvk])
		}
		w.string(gvk.Group)
		w.string(gvk.Version)
		w.string(gvk.Kind)
		w.number(i)
	}
	return string(append(w.data, bodies...)), nil
}

type writer struct {
	index map[string]int
	data  []byte
	refs  []int
	err   error
}

func (w *writer) number(n int) { w.data = binary.AppendUvarint(w.data, uint64(n)) }

func (w *writer) string(s string) {
	w.number(len(s))
	w.data = append(w.data, s...)
}

func (w *writer) atom(a smd.Atom) {
	var has byte
	if a.Scalar != nil {
		has |= atomScalar
	}
	if a.List != nil {
		has |= atomList
	}
	if a.Map != nil {
		has |= atomMap
	}
	w.data = append(w.data, has)
	if a.Scalar != nil {
		w.string(string(*a.Scalar))
	}
	if a.List != nil {
		w.string(string(a.List.ElementRelationship))
		w.ref(a.List.ElementType)
		w.number(len(a.List.Keys))
		for _, key := range a.List.Keys {
			w.string(key)
		}
	}
	if a.Map != nil {
		if len(a.Map.Unions) > 0 {
			w.err = fmt.Errorf("unions are not known to the table")
		}
		w.string(string(a.Map.ElementRelationship))
		w.ref(a.Map.ElementType)
		w.number(len(a.Map.Fields))
		for _, field := range a.Map.Fields {
			w.string(field.Name)
			w.ref(field.Type)
			w.value(field.Default)
		}
	}
}

func (w *writer) ref(ref smd.TypeRef) {
	var flags byte
	if ref.NamedType != nil {
		flags |= refNamed
	}
	if ref.ElementRelationship != nil {
		flags |= refRelationship
	}
	if ref.Nullable {
		flags |= refNullable
	}
	w.data = append(w.data, flags)
	if ref.NamedType != nil {
		i, ok := w.index[*ref.NamedType]
		if !ok {
			w.err = fmt.Errorf("refers to %s, which is not there", *ref.NamedType)
		}
		if !slices.Contains(w.refs, i) {
			w.refs = append(w.refs, i)
		}
		w.number(i)
	} else {
		w.atom(ref.Inlined)
	}
	if ref.ElementRelationship != nil {
		w.string(string(*ref.ElementRelationship))
	}
}

func (w *writer) value(v any) {
	if v == nil {
		w.string("")
		return
	}
	data, err := json.Marshal(v)
	if err != nil {
		w.err = err
	}
	w.string(string(data))
}

func sortedKinds(kinds map[schema.GroupVersionKind]string) []schema.GroupVersionKind {
	return slices.SortedFunc(maps.Keys(kinds), func(a, b schema.GroupVersionKind) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Kind, b.Kind))
	})
}
