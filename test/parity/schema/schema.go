// SPDX-License-Identifier: Apache-2.0

// Package schema reads the OpenAPI v3 documents that a server publishes: which fields its kinds have, and which values of them are listed.
package schema

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Schemas are those of one server, by name.
type Schemas map[string]Schema

// Schema is a node as it stands in the document.
type Schema map[string]any

// Add takes over the schemas of a document.
func (s Schemas) Add(document []byte) error {
	var d struct {
		Components struct {
			Schemas map[string]Schema `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(document, &d); err != nil {
		return fmt.Errorf("read an OpenAPI document: %w", err)
	}
	for name, one := range d.Components.Schemas {
		s[name] = one
	}
	return nil
}

// Kind is the schema of a kind; nil if there is none.
func (s Schemas) Kind(gvk schema.GroupVersionKind) Schema {
	for _, one := range s {
		kinds, _ := one["x-kubernetes-group-version-kind"].([]any)
		if len(kinds) != 1 {
			continue // options of all groups have one for each
		}
		k, _ := kinds[0].(map[string]any)
		if k["group"] == gvk.Group && k["version"] == gvk.Version && k["kind"] == gvk.Kind {
			return one
		}
	}
	return nil
}

// Resolve follows references.
func (s Schemas) Resolve(one Schema) Schema {
	for range 8 {
		if all, ok := one["allOf"].([]any); ok && len(all) == 1 {
			next, _ := all[0].(map[string]any)
			one = next
		}
		ref, ok := one["$ref"].(string)
		if !ok {
			return one
		}
		one = s[ref[strings.LastIndexByte(ref, '/')+1:]]
	}
	return one
}

// Property is the schema of a field of one; nil if it has no such field.
func (s Schemas) Property(one Schema, name string) Schema {
	properties, _ := one["properties"].(map[string]any)
	p, _ := properties[name].(map[string]any)
	if p == nil {
		return nil
	}
	return p
}

// Prune removes what the server has no field for, and returns where that was. Values of a form that is not described stay.
func (s Schemas) Prune(gvk schema.GroupVersionKind, object map[string]any) []string {
	one := s.Kind(gvk)
	if one == nil {
		return nil
	}
	return s.prune(one, object, "")
}

// PruneAt is Prune for a value at a path below the object; false where the server has no such field at all.
func (s Schemas) PruneAt(gvk schema.GroupVersionKind, path []any, value any) ([]string, bool) {
	one := s.at(gvk, path)
	if one == nil {
		return nil, false
	}
	return s.prune(one, value, fmt.Sprint(path[len(path)-1])), true
}

func (s Schemas) prune(one Schema, v any, path string) []string {
	one = s.Resolve(one)
	var gone []string
	switch v := v.(type) {
	case map[string]any:
		properties, described := one["properties"].(map[string]any)
		more, _ := one["additionalProperties"].(map[string]any)
		for key := range v {
			switch p, ok := properties[key].(map[string]any); {
			case ok:
				gone = append(gone, s.prune(p, v[key], strings.TrimPrefix(path+"."+key, "."))...)
			case more != nil:
				gone = append(gone, s.prune(more, v[key], path+"[]")...)
			case described:
				delete(v, key)
				gone = append(gone, strings.TrimPrefix(path+"."+key, "."))
			}
		}
	case []any:
		items, _ := one["items"].(map[string]any)
		for i := range v {
			gone = append(gone, s.prune(items, v[i], path+"[]")...)
		}
	}
	slices.Sort(gone)
	return slices.Compact(gone)
}

// Enum are the values that are listed for the field at the end of path, in which list indices and map keys are steps of their own.
func (s Schemas) Enum(gvk schema.GroupVersionKind, path []any) []string {
	var out []string
	values, _ := s.at(gvk, path)["enum"].([]any)
	for _, v := range values {
		if text, ok := v.(string); ok {
			out = append(out, text)
		}
	}
	return out
}

// at is the schema at the end of a path; nil if there is none.
func (s Schemas) at(gvk schema.GroupVersionKind, path []any) Schema {
	one := s.Resolve(s.Kind(gvk))
	for _, step := range path {
		if _, ok := step.(int); ok {
			one, _ = one["items"].(map[string]any)
		} else if p := s.Property(one, step.(string)); p != nil {
			one = p
		} else {
			one, _ = one["additionalProperties"].(map[string]any)
		}
		one = s.Resolve(one)
	}
	return one
}

var steps = regexp.MustCompile(`\[[^\]]*\]|[^.\[\]]+`)

// Has says whether the kind has a field at a path as errors write it, such as spec.containers[0].name. Where the schema does not describe
// what is below a field, everything may be there.
func (s Schemas) Has(gvk schema.GroupVersionKind, path string) bool {
	one := s.Resolve(s.Kind(gvk))
	for _, step := range steps.FindAllString(path, -1) {
		properties, described := one["properties"].(map[string]any)
		items, _ := one["items"].(map[string]any)
		more, _ := one["additionalProperties"].(map[string]any)
		switch next, ok := properties[step].(map[string]any); {
		case ok:
			one = next
		case strings.HasPrefix(step, "[") && items != nil:
			one = items
		case more != nil:
			one = more
		default:
			return !described
		}
		one = s.Resolve(one)
	}
	return true
}
