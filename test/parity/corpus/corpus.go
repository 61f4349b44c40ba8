// SPDX-License-Identifier: Apache-2.0

// Package corpus has valid objects of every kind that Kubernetes serves: a minimal one, a full one in which every field is set that can
// be, and realistic ones. They are in objects/*.yaml, a document a kind; full objects are seeds there, and reflection over the Go types of
// k8s.io/api adds the rest (fill.go) by the rules of hints.yaml. A kind without a document gets what reflection alone can make.
//
// The cost is that of reading the files: tens of milliseconds for all kinds.
package corpus

import (
	"bufio"
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

//go:embed objects/*.yaml
var files embed.FS

// Names of the objects that every kind has.
const (
	Minimal   = "minimal"
	Full      = "full"
	Realistic = "realistic"
)

// csr is a request for a certificate, for objects that carry one: of CN=parity, with a P-256 key that nobody has kept.
const csr = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlITE1ITUNBUUF3RVRFUE1BMEdBMVVFQXd3R2NHRnlhWFI1TUZrd0V3WUhLb1pJemowQ0FRWUlLb1pJemowRApBUWNEUWdBRU9lVFQxZ0J1cUxySWN4dkpxaEN2K0syWThVMFV3UFZKODFJenJpOHYzNUhJZzk2dURwZkpzU1FFCitoKzZ1Tm1CRlZQTnZaNUNXbnNtOVFOYlhsVWtmYUFBTUFvR0NDcUdTTTQ5QkFNQ0EwZ0FNRVVDSUFwMmovYUEKcDFMVW03S3lyN1lPZWxxZ0ZVZGhJQzA1clBoYXFvblpkdFA4QWlFQTZMWkVoU2ljaDhUMzE0YkNZQUNzenlhcwo3R0hSZWcxb3RCUWFkMDVwSnBvPQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K"

// Object is a valid object of a kind.
type Object struct {
	Name    string // in the corpus
	Content map[string]any
}

// Kind is what the corpus has of a kind.
type Kind struct {
	schema.GroupVersionKind
	Type    reflect.Type
	Objects []Object
	// Status is what the full object's status subresource is sent, nil where there is none.
	Status map[string]any
	// Written says that the objects were written for this kind, not made by reflection alone.
	Written bool
}

// Object is the object of that name; nil if there is none.
func (k *Kind) Object(name string) map[string]any {
	for _, o := range k.Objects {
		if o.Name == name {
			return o.Content
		}
	}
	return nil
}

// document is one of the files'.
type document struct {
	APIVersion string                    `json:"apiVersion"`
	Kind       string                    `json:"kind"`
	Objects    map[string]map[string]any `json:"objects"`
	Status     map[string]any            `json:"status"`
}

// Corpus is all that there is.
type Corpus struct {
	scheme  *runtime.Scheme
	filler  *Filler
	written map[schema.GroupVersionKind]document
}

// Load reads the corpus.
func Load() (*Corpus, error) {
	s, err := Scheme()
	if err != nil {
		return nil, err
	}
	filler, err := NewFiller()
	if err != nil {
		return nil, err
	}
	c := &Corpus{scheme: s, filler: filler, written: map[schema.GroupVersionKind]document{}}
	entries, err := files.ReadDir("objects")
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if err := c.read(path.Join("objects", entry.Name())); err != nil {
			return nil, fmt.Errorf("read %s of the corpus: %w", entry.Name(), err)
		}
	}
	return c, nil
}

func (c *Corpus) read(name string) error {
	data, err := files.ReadFile(name)
	if err != nil {
		return err
	}
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		text, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var d document
		if err := yaml.UnmarshalStrict(text, &d); err != nil {
			return err
		}
		gvk := schema.FromAPIVersionAndKind(d.APIVersion, d.Kind)
		if _, twice := c.written[gvk]; twice {
			return fmt.Errorf("%s is there twice", gvk)
		}
		if TypeOf(c.scheme, gvk) == nil {
			return fmt.Errorf("%s is no kind of Kubernetes", gvk)
		}
		c.written[gvk] = d
	}
}

// Kinds are those that objects were written for, in order of group, version and kind.
func (c *Corpus) Kinds() []schema.GroupVersionKind {
	return slices.SortedFunc(maps.Keys(c.written), func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
}

// Has says that objects were written for the kind.
func (c *Corpus) Has(gvk schema.GroupVersionKind) bool {
	_, ok := c.written[gvk]
	return ok
}

// Kind makes the objects of a kind for a namespace, "" for one outside of namespaces. It is nil for a kind whose Go type is unknown.
func (c *Corpus) Kind(gvk schema.GroupVersionKind, namespace string) *Kind {
	t := TypeOf(c.scheme, gvk)
	if t == nil {
		return nil
	}
	d, written := c.written[gvk]
	k := &Kind{GroupVersionKind: gvk, Type: t, Written: written}
	objects := d.Objects
	if !written {
		objects = map[string]map[string]any{Minimal: {}, Full: {}}
	}
	for _, name := range slices.SortedFunc(maps.Keys(objects), rank) {
		seed, _ := replace(integers(runtime.DeepCopyJSONValue(any(objects[name]))), namespace).(map[string]any)
		content := seed
		if name == Full {
			hasStatus := seed["status"] != nil // only of those that are created with one
			content = c.filler.Fill(t, seed)
			if !hasStatus {
				delete(content, "status")
			}
		}
		content["apiVersion"], content["kind"] = gvk.ToAPIVersionAndKind()
		k.Objects = append(k.Objects, Object{Name: name, Content: withName(content, "parity-"+name, namespace)})
	}
	if d.Status != nil {
		if f, ok := fieldOf(t, "status"); ok {
			seed, _ := replace(integers(runtime.DeepCopyJSONValue(any(d.Status))), namespace).(map[string]any)
			k.Status = c.filler.Fill(f.Type, seed)
		}
	}
	return k
}

// Text is all objects of all kinds as JSON: what occurs there, no server has made up.
func (c *Corpus) Text() (string, error) {
	var text strings.Builder
	for _, gvk := range c.Kinds() {
		k := c.Kind(gvk, "")
		data, err := json.Marshal([]any{k.Objects, k.Status})
		if err != nil {
			return "", fmt.Errorf("encode %s of the corpus: %w", gvk, err)
		}
		text.Write(data)
	}
	return text.String(), nil
}

// withName completes metadata. A name that is null stays away.
func withName(content map[string]any, name, namespace string) map[string]any {
	meta, _ := content["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
	}
	if given, ok := meta["name"]; !ok {
		meta["name"] = name
	} else if given == nil {
		delete(meta, "name")
	}
	if namespace != "" {
		meta["namespace"] = namespace
	}
	content["metadata"] = meta
	return content
}

// rank orders the names of objects: minimal, full, realistic, then the others by name.
func rank(a, b string) int {
	first := []string{Minimal, Full, Realistic}
	i, j := slices.Index(first, a), slices.Index(first, b)
	switch {
	case i >= 0 && j >= 0:
		return i - j
	case i >= 0:
		return -1
	case j >= 0:
		return 1
	}
	return strings.Compare(a, b)
}

// replace puts values in the place of $namespace and $csr.
func replace(v any, namespace string) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = replace(v[key], namespace)
		}
	case []any:
		for i := range v {
			v[i] = replace(v[i], namespace)
		}
	case string:
		switch v {
		case "$namespace":
			return namespace
		case "$csr":
			return csr
		}
	}
	return v
}

func fieldOf(t reflect.Type, name string) (Field, bool) {
	for _, f := range Fields(t) {
		if f.Name == name {
			return f, true
		}
	}
	return Field{}, false
}
