// SPDX-License-Identifier: Apache-2.0

package mutate

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/hivemind-project/hivemind/test/parity/corpus"
)

// Path leads to a value in an object: names of fields and keys of maps as strings, places in lists as int.
type Path []any

// String is the path as error messages write it: spec.containers[0].name, metadata.labels[app].
func (p Path) String() string {
	var b strings.Builder
	for i, step := range p {
		switch step := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", step)
		case mapKey:
			fmt.Fprintf(&b, "[%s]", string(step))
		default:
			if i > 0 {
				b.WriteByte('.')
			}
			fmt.Fprint(&b, step)
		}
	}
	return b.String()
}

// mapKey is a step into a map, in contrast to one into a struct.
type mapKey string

// key is the step as it stands in the object.
func key(step any) string {
	if k, ok := step.(mapKey); ok {
		return string(k)
	}
	return step.(string)
}

func (p Path) then(step any) Path { return append(slices.Clone(p), step) }

// node is a place in an object: a value that is there, or a field that could be.
type node struct {
	path    Path
	kind    reflect.Type
	field   corpus.Field // that holds the value; zero for elements
	value   any
	present bool
}

func (n node) shape() corpus.Shape { return corpus.ShapeOf(n.kind) }

// isElement says that the value is one of a list's.
func (n node) isElement() bool {
	if len(n.path) == 0 {
		return false
	}
	_, ok := n.path[len(n.path)-1].(int)
	return ok
}

// walk calls visit for every value below v, and for every field that v's structs could have besides, in the order of the types.
func walk(path Path, field corpus.Field, t reflect.Type, v any, visit func(node)) {
	visit(node{path: path, kind: t, field: field, value: v, present: true})
	switch corpus.ShapeOf(t) {
	case corpus.Struct:
		tree, ok := v.(map[string]any)
		if !ok {
			return
		}
		for _, f := range corpus.Fields(corpus.Indirect(t)) {
			if child, ok := tree[f.Name]; ok {
				walk(path.then(f.Name), f, f.Type, child, visit)
			} else {
				visit(node{path: path.then(f.Name), kind: f.Type, field: f})
			}
		}
	case corpus.List:
		items, _ := v.([]any)
		for i, item := range items {
			walk(path.then(i), corpus.Field{}, corpus.Indirect(t).Elem(), item, visit)
		}
	case corpus.Map:
		tree, _ := v.(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(tree)) {
			walk(path.then(mapKey(name)), corpus.Field{}, corpus.Indirect(t).Elem(), tree[name], visit)
		}
	}
}

// Get is what is at the path.
func Get(tree any, path Path) (any, bool) {
	for _, step := range path {
		switch at := tree.(type) {
		case map[string]any:
			if _, index := step.(int); index {
				return nil, false
			}
			next, ok := at[key(step)]
			if !ok {
				return nil, false
			}
			tree = next
		case []any:
			i, ok := step.(int)
			if !ok || i >= len(at) {
				return nil, false
			}
			tree = at[i]
		default:
			return nil, false
		}
	}
	return tree, true
}

// set puts a value at the path and makes the maps that lead there. It returns the changed tree, and false where the path goes through
// something that is not there or of another form.
func set(tree any, path Path, value any) (any, bool) {
	if len(path) == 0 {
		return value, true
	}
	if i, ok := path[0].(int); ok {
		items, ok := tree.([]any)
		if !ok || i >= len(items) {
			return tree, false
		}
		next, ok := set(items[i], path[1:], value)
		items[i] = next
		return items, ok
	}
	at, ok := tree.(map[string]any)
	if tree == nil {
		at, ok = map[string]any{}, true
	}
	if !ok {
		return tree, false
	}
	next, ok := set(at[key(path[0])], path[1:], value)
	if ok {
		at[key(path[0])] = next
	}
	return at, ok
}

// remove takes away what is at the path; false if nothing is.
func remove(tree any, path Path) (any, bool) {
	if _, there := Get(tree, path); !there || len(path) == 0 {
		return tree, false
	}
	parent, last := path[:len(path)-1], path[len(path)-1]
	at, _ := Get(tree, parent)
	if i, ok := last.(int); ok {
		items, _ := at.([]any)
		return set(tree, parent, slices.Delete(slices.Clone(items), i, i+1))
	}
	delete(at.(map[string]any), key(last))
	return tree, true
}

// Steps are the path without the distinction between fields and keys of maps.
func (p Path) Steps() []any {
	out := make([]any, len(p))
	for i, step := range p {
		if k, ok := step.(mapKey); ok {
			step = string(k)
		}
		out[i] = step
	}
	return out
}
