// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	_ "embed"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/hivemind-project/hivemind/pkg/apiserver/openapi/typeschema"
)

//go:embed zz_generated_types.bin
var types string

// TypeConverter gives objects of the built-in kinds their structure, for server-side apply and the field managers of
// every write. The structure of a group is read when the first object of it comes by.
type TypeConverter struct {
	table *typeschema.Table

	mu     sync.RWMutex
	groups map[string]*typed.Parser
}

// NewTypeConverter returns a converter that has read nothing but an index.
func NewTypeConverter() (*TypeConverter, error) {
	table, err := typeschema.Open(types)
	if err != nil {
		return nil, fmt.Errorf("open the structure of API types: %w", err)
	}
	return &TypeConverter{table: table, groups: map[string]*typed.Parser{}}, nil
}

// ObjectToTyped implements managedfields.TypeConverter. A kind that is not built in gives an error of the sort that
// field managers take for an unknown version: they skip it.
func (c *TypeConverter) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	gvk := obj.GetObjectKind().GroupVersionKind()
	name, ok := c.table.Type(gvk)
	if !ok {
		return nil, runtime.NewNotRegisteredErrForKind("API types", gvk)
	}
	group, err := c.group(gvk.Group)
	if err != nil {
		return nil, fmt.Errorf("read the structure of API group %q: %w", gvk.Group, err)
	}
	t := group.Type(name)
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return t.FromUnstructured(u.UnstructuredContent(), opts...)
	}
	// What is decoded into a Go type is of that type. Validating it, which walks the whole object, was an eighth of the CPU time of a patch; that
	// lists name a key twice, which is the other thing it would find, field managers allow for what is stored and written.
	structured, err := newObject(obj)
	if err != nil {
		return nil, fmt.Errorf("look into %s: %w", gvk, err)
	}
	return typed.AsTypedUnvalidated(structured, t.Schema, t.TypeRef), nil //nolint:staticcheck // see above
}

// TypedToObject implements managedfields.TypeConverter.
func (c *TypeConverter) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	content := v.AsValue().Unstructured()
	object, ok := content.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("failed to convert value to unstructured for type %T", content)
	}
	return &unstructured.Unstructured{Object: object}, nil
}

func (c *TypeConverter) group(name string) (*typed.Parser, error) {
	c.mu.RLock()
	parser := c.groups[name]
	c.mu.RUnlock()
	if parser != nil {
		return parser, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if parser := c.groups[name]; parser != nil {
		return parser, nil
	}
	schema, err := c.table.Schema(name)
	if err != nil {
		return nil, err
	}
	parser = &typed.Parser{}
	parser.Schema.Types = schema.Types
	c.groups[name] = parser
	return parser, nil
}

var _ managedfields.TypeConverter = (*TypeConverter)(nil)
