// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"path"
	"reflect"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// Scheme has the Go types of every kind that Kubernetes itself serves.
func Scheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, apiextensionsv1.AddToScheme, apiregistrationv1.AddToScheme} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// TypeOf is the Go type of a kind, nil for one that is not Kubernetes' own.
func TypeOf(s *runtime.Scheme, gvk schema.GroupVersionKind) reflect.Type {
	return s.AllKnownTypes()[gvk]
}

// Field is a field of a struct as JSON shows it: those of embedded structs belong to the struct that embeds them.
type Field struct {
	Name string // in JSON
	Type reflect.Type
	// Owner is the struct that declares the field.
	Owner reflect.Type
	// MergeKey tells the elements of a list from each other in a strategic merge patch; "" where nothing does.
	MergeKey string
}

// Fields are the fields of t, a struct, in the order of their declaration.
func Fields(t reflect.Type) []Field {
	var out []Field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || f.PkgPath != "":
		case name == "" && (strings.Contains(options, "inline") || f.Anonymous):
			out = append(out, Fields(Indirect(f.Type))...)
		case name != "":
			out = append(out, Field{Name: name, Type: f.Type, Owner: t, MergeKey: f.Tag.Get("patchMergeKey")})
		}
	}
	return out
}

// Indirect is what a pointer leads to; other types are returned as they are.
func Indirect(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// Name is how hints call a type: group/version.Type, such as core/v1.Container.
func Name(t reflect.Type) string {
	if t.PkgPath() == "" {
		return t.String()
	}
	version := path.Base(t.PkgPath())
	return path.Base(path.Dir(t.PkgPath())) + "/" + version + "." + t.Name()
}

// Shape is how a type looks in JSON.
type Shape string

// Shapes. Opaque is a value of any form, such as a RawExtension.
const (
	String   Shape = "string"
	Integer  Shape = "integer"
	Number   Shape = "number"
	Boolean  Shape = "boolean"
	Struct   Shape = "object"
	Map      Shape = "map"
	List     Shape = "list"
	Bytes    Shape = "bytes"
	Quantity Shape = "quantity"
	Time     Shape = "time"
	IntOrStr Shape = "int-or-string"
	Opaque   Shape = "opaque"
)

// opaque and the like are the types that encode themselves.
var marshalers = map[string]Shape{
	"api/resource.Quantity":                         Quantity,
	"meta/v1.Time":                                  Time,
	"meta/v1.MicroTime":                             Time,
	"meta/v1.Duration":                              String,
	"meta/v1.FieldsV1":                              Opaque,
	"util/intstr.IntOrString":                       IntOrStr,
	"pkg/runtime.RawExtension":                      Opaque,
	"apiextensions/v1.JSON":                         Opaque,
	"apiextensions/v1.JSONSchemaPropsOrBool":        Opaque,
	"apiextensions/v1.JSONSchemaPropsOrArray":       Opaque,
	"apiextensions/v1.JSONSchemaPropsOrStringArray": Opaque,
}

// ShapeOf tells how values of t look in JSON.
func ShapeOf(t reflect.Type) Shape {
	t = Indirect(t)
	if s, ok := marshalers[Name(t)]; ok {
		return s
	}
	switch t.Kind() {
	case reflect.Struct:
		return Struct
	case reflect.Map:
		return Map
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return Bytes
		}
		return List
	case reflect.String:
		return String
	case reflect.Bool:
		return Boolean
	case reflect.Float32, reflect.Float64:
		return Number
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return Integer
	}
	return Opaque
}
