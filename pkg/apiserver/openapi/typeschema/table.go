// SPDX-License-Identifier: Apache-2.0

// Package typeschema keeps the structure of all API types, as structured-merge-diff wants it for server-side apply, in
// one table that is read in place.
//
// The table is written at build time (Encode) and embedded as a string. Open reads its index alone; a type is decoded
// when Schema first needs it, its names being slices of the table, and is shared by all groups that use it. All types of
// core/v1 with what they refer to take 0.5 ms and 0.25 MB; the YAML that client-go has takes 94 ms and 22 MB of garbage.
package typeschema

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
)

// The form of the table: a header, the names of types with the lengths of their bodies, the kinds, and the bodies.
// Numbers are unsigned varints, strings have their length before them.
const header = "hmts1"

// What an atom holds, by bits.
const (
	atomScalar = 1 << iota
	atomList
	atomMap
)

// How a reference to a type is made, by bits.
const (
	refNamed = 1 << iota
	refRelationship
	refNullable
)

// Table is an open table. It is safe for use by many at once.
type Table struct {
	names  []string
	bodies []string
	kinds  map[schema.GroupVersionKind]int

	mu    sync.Mutex
	types []*smd.TypeDef
}

// Open reads the index of a table.
func Open(data string) (*Table, error) {
	r := &reader{data: data}
	if len(data) < len(header) || data[:len(header)] != header {
		return nil, errors.New("not a table of types")
	}
	r.data = data[len(header):]
	n := r.count()
	t := &Table{
		names: make([]string, n), bodies: make([]string, n), types: make([]*smd.TypeDef, n),
		kinds: map[schema.GroupVersionKind]int{},
	}
	lengths := make([]int, n)
	for i := range n {
		t.names[i], lengths[i] = r.string(), r.number()
	}
	for range r.count() {
		gvk := schema.GroupVersionKind{Group: r.string(), Version: r.string(), Kind: r.string()}
		i := r.number()
		if i >= n {
			return nil, fmt.Errorf("type %d of %s is not in the table", i, gvk)
		}
		t.kinds[gvk] = i
	}
	for i, length := range lengths {
		t.bodies[i] = r.take(length)
	}
	if r.failed {
		return nil, errors.New("table of types is cut short")
	}
	return t, nil
}

// Type returns the name of a kind's type.
func (t *Table) Type(gvk schema.GroupVersionKind) (string, bool) {
	i, ok := t.kinds[gvk]
	if !ok {
		return "", false
	}
	return t.names[i], true
}

// Schema returns the types of a group's kinds, of all versions, and those that they refer to.
func (t *Table) Schema(group string) (*smd.Schema, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var queue []int
	seen := make([]bool, len(t.names))
	visit := func(i int) {
		if !seen[i] {
			seen[i] = true
			queue = append(queue, i)
		}
	}
	for gvk, i := range t.kinds {
		if gvk.Group == group {
			visit(i)
		}
	}
	s := &smd.Schema{}
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		r := &reader{data: t.bodies[i], table: t, visit: visit}
		r.refs()
		if t.types[i] == nil {
			t.types[i] = &smd.TypeDef{Name: t.names[i], Atom: r.atom()}
		}
		if r.failed {
			return nil, fmt.Errorf("type %s is not readable", t.names[i])
		}
		s.Types = append(s.Types, *t.types[i])
	}
	return s, nil
}

// reader decodes a part of the table. Reading past the end sets failed and yields zeros.
type reader struct {
	data   string
	table  *Table
	visit  func(typeIndex int)
	failed bool
}

func (r *reader) number() int {
	var n uint64
	for shift := 0; shift < 35; shift += 7 {
		b := r.byte()
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return int(n)
		}
	}
	r.failed = true
	return 0
}

func (r *reader) byte() byte {
	if len(r.data) == 0 {
		r.failed = true
		return 0
	}
	b := r.data[0]
	r.data = r.data[1:]
	return b
}

func (r *reader) take(n int) string {
	if n > len(r.data) {
		r.failed = true
		n = len(r.data)
	}
	s := r.data[:n]
	r.data = r.data[n:]
	return s
}

func (r *reader) string() string { return r.take(r.number()) }

// count is a number of things that follow, each of at least one byte.
func (r *reader) count() int {
	n := r.number()
	if n > len(r.data) {
		r.failed = true
		return 0
	}
	return n
}

// refs reads the list of types that a body refers to, which comes first so that a type decoded before can be walked.
func (r *reader) refs() {
	for range r.count() {
		if i := r.number(); i < len(r.table.names) {
			r.visit(i)
		} else {
			r.failed = true
		}
	}
}

func (r *reader) atom() smd.Atom {
	var a smd.Atom
	has := r.byte()
	if has&atomScalar != 0 {
		a.Scalar = new(scalar(r.string()))
	}
	if has&atomList != 0 {
		a.List = &smd.List{ElementRelationship: relationship(r.string()), ElementType: r.ref()}
		for range r.count() {
			a.List.Keys = append(a.List.Keys, r.string())
		}
	}
	if has&atomMap != 0 {
		a.Map = &smd.Map{ElementRelationship: relationship(r.string()), ElementType: r.ref()}
		if n := r.count(); n > 0 {
			a.Map.Fields = make([]smd.StructField, n)
		}
		for i := range a.Map.Fields {
			a.Map.Fields[i] = smd.StructField{Name: r.string(), Type: r.ref(), Default: r.value()}
		}
	}
	return a
}

func (r *reader) ref() smd.TypeRef {
	var ref smd.TypeRef
	flags := r.byte()
	if flags&refNamed != 0 {
		if i := r.number(); i < len(r.table.names) {
			ref.NamedType = &r.table.names[i]
		} else {
			r.failed = true
		}
	} else {
		ref.Inlined = r.atom()
	}
	if flags&refRelationship != 0 {
		ref.ElementRelationship = new(relationship(r.string()))
	}
	ref.Nullable = flags&refNullable != 0
	return ref
}

// value is a default, in JSON.
func (r *reader) value() any {
	s := r.string()
	if s == "" {
		return nil
	}
	var v any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		r.failed = true
	}
	return v
}

// scalar and relationship return the constants, so that a table in memory is not held by its words.
func scalar(s string) smd.Scalar {
	for _, known := range []smd.Scalar{smd.Numeric, smd.String, smd.Boolean, smd.Untyped} {
		if s == string(known) {
			return known
		}
	}
	return smd.Scalar(s)
}

func relationship(s string) smd.ElementRelationship {
	for _, known := range []smd.ElementRelationship{"", smd.Associative, smd.Atomic, smd.Separable} {
		if s == string(known) {
			return known
		}
	}
	return smd.ElementRelationship(s)
}
