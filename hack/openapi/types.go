// SPDX-License-Identifier: Apache-2.0

//go:build openapi

package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/validation/spec"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"

	"github.com/hivemind-project/hivemind/build/openapi/definitions"
	"github.com/hivemind-project/hivemind/pkg/apiserver/openapi/typeschema"
)

// kinds is every kind of the API and the definitions of their types.
type kinds struct {
	scheme      *runtime.Scheme
	definitions map[string]common.OpenAPIDefinition
}

func newKinds() (*kinds, error) {
	all := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, apiextensionsv1.AddToScheme, apiregistrationv1.AddToScheme} {
		if err := add(all); err != nil {
			return nil, fmt.Errorf("collect kinds: %w", err)
		}
	}
	return &kinds{all, definitions.GetOpenAPIDefinitions(reference)}, nil
}

func reference(name string) spec.Ref { return spec.MustCreateRef("#/definitions/" + name) }

var released = regexp.MustCompile(`^v[0-9]+$`)

// named returns the definition's name of every kind of a released version that is an object with metadata and has a definition.
func (k *kinds) named() map[schema.GroupVersionKind]string {
	names := map[schema.GroupVersionKind]string{}
	for gvk := range k.scheme.AllKnownTypes() {
		if !released.MatchString(gvk.Version) {
			continue
		}
		name, err := k.scheme.ToOpenAPIDefinitionName(gvk)
		if err != nil {
			continue
		}
		metadata, ok := k.definitions[name].Schema.Properties["metadata"]
		if ok && slices.ContainsFunc(append(metadata.AllOf, metadata), func(s spec.Schema) bool {
			return s.Ref.String() == "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
		}) {
			names[gvk] = name
		}
	}
	return names
}

// typeTable is the structure of the kinds' types and all that they refer to.
func typeTable(k *kinds) (string, error) {
	models := map[string]*spec.Schema{}
	for name, definition := range k.definitions {
		models[name] = &definition.Schema
	}
	converted, err := schemaconv.ToSchemaFromOpenAPI(models, false)
	if err != nil {
		return "", err
	}
	all := map[string]smd.TypeDef{}
	for _, t := range converted.Types {
		all[t.Name] = t
	}
	named := k.named()
	used := map[string]bool{}
	for _, name := range named {
		collect(name, all, used)
	}
	var types []smd.TypeDef
	for _, name := range slices.Sorted(maps.Keys(used)) {
		t, ok := all[name]
		if !ok {
			return "", fmt.Errorf("type %s has no structure", name)
		}
		sortFields(&t.Atom)
		types = append(types, t)
	}
	return typeschema.Encode(types, named)
}

func collect(name string, all map[string]smd.TypeDef, used map[string]bool) {
	if used[name] {
		return
	}
	used[name] = true
	var atom func(smd.Atom)
	ref := func(r smd.TypeRef) {
		if r.NamedType != nil {
			collect(*r.NamedType, all, used)
		} else {
			atom(r.Inlined)
		}
	}
	atom = func(a smd.Atom) {
		if a.List != nil {
			ref(a.List.ElementType)
		}
		if a.Map != nil {
			ref(a.Map.ElementType)
			for _, f := range a.Map.Fields {
				ref(f.Type)
			}
		}
	}
	atom(all[name].Atom)
}

// sortFields puts fields in the order of their names, at all depths: the converter leaves them as they come from a map.
func sortFields(a *smd.Atom) {
	if a.List != nil {
		sortFields(&a.List.ElementType.Inlined)
	}
	if a.Map == nil {
		return
	}
	sortFields(&a.Map.ElementType.Inlined)
	slices.SortFunc(a.Map.Fields, func(x, y smd.StructField) int { return strings.Compare(x.Name, y.Name) })
	for i := range a.Map.Fields {
		sortFields(&a.Map.Fields[i].Type.Inlined)
	}
}
