// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	apiextensionshelpers "k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	apiextensionsfeatures "k8s.io/apiextensions-apiserver/pkg/features"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/klog/v2"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Definitions lists the CustomResourceDefinitions there are, from a cache.
type Definitions func() ([]*apiextensionsv1.CustomResourceDefinition, error)

// custom makes the documents of custom resources, when somebody asks for them. A definition is two orders of magnitude larger as a document in
// memory than as gzip'd text, which is what is kept, until the definition changes: of version 3 by group and version, and of version 2 what
// each definition adds to the one document. What is never asked for is never made.
type custom struct {
	definitions Definitions

	mu sync.Mutex
	v3 map[string]document // by path, such as apis/example.org/v1; its hash is that of the definitions it was made of
	v2 map[string]addition // by name of the definition
}

// addition is what a definition, or an aggregated server, adds to the document of version 2.
type addition struct {
	state    string  // of the definition or the server
	json     members // as JSON; none where the definition cannot be described
	protobuf string  // gzip'd; of a definition made when asked for
}

// established are the definitions that are served, in order of name.
func (c *custom) established() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	if c.definitions == nil {
		return nil, nil
	}
	all, err := c.definitions()
	if err != nil {
		return nil, fmt.Errorf("list custom resources: %w", err)
	}
	var served []*apiextensionsv1.CustomResourceDefinition
	for _, d := range all {
		if apiextensionshelpers.IsCRDConditionTrue(d, apiextensionsv1.Established) {
			served = append(served, d)
		}
	}
	slices.SortFunc(served, func(a, b *apiextensionsv1.CustomResourceDefinition) int { return cmp.Compare(a.Name, b.Name) })
	return served, nil
}

// stateOf changes whenever what a definition says does.
func stateOf(d *apiextensionsv1.CustomResourceDefinition) string {
	return fmt.Sprintf("%s %s %d\n", d.Name, d.UID, d.Generation)
}

// hashOf is that of documents made of these definitions.
func hashOf(definitions []*apiextensionsv1.CustomResourceDefinition) string {
	var state strings.Builder
	for _, d := range definitions {
		state.WriteString(stateOf(d))
	}
	return hash([]byte(state.String()))
}

// byVersion are the definitions that each group and version has, by path.
func (c *custom) byVersion() (map[string][]*apiextensionsv1.CustomResourceDefinition, error) {
	all, err := c.established()
	if err != nil {
		return nil, err
	}
	served := map[string][]*apiextensionsv1.CustomResourceDefinition{}
	for _, d := range all {
		for _, v := range d.Spec.Versions {
			if v.Served {
				path := "apis/" + d.Spec.Group + "/" + v.Name
				served[path] = append(served[path], d)
			}
		}
	}
	return served, nil
}

// documentV3 is that of a group and version; ok is false where no custom resource is in it.
func (c *custom) documentV3(path string) (_ document, ok bool, err error) {
	served, err := c.byVersion()
	if err != nil {
		return document{}, false, err
	}
	definitions, ok := served[path]
	state := hashOf(definitions)

	c.mu.Lock()
	defer c.mu.Unlock()
	for kept := range c.v3 {
		if served[kept] == nil {
			delete(c.v3, kept)
		}
	}
	if !ok {
		return document{}, false, nil
	}
	if have, ok := c.v3[path]; ok && have.hash == state {
		return have, true, nil
	}
	version := path[strings.LastIndexByte(path, '/')+1:]
	var parts []*spec3.OpenAPI
	for _, d := range definitions {
		part, err := builder.BuildOpenAPIV3(d, version, options(false))
		if err != nil {
			klog.ErrorS(err, "Custom resource not described", "definition", d.Name, "version", version)
			continue
		}
		parts = append(parts, part)
	}
	merged, err := builder.MergeSpecsV3(parts...)
	if err != nil {
		return document{}, true, fmt.Errorf("describe %s: %w", path, err)
	}
	content, err := json.Marshal(merged)
	if err != nil {
		return document{}, true, fmt.Errorf("describe %s: %w", path, err)
	}
	packed, err := zip(content)
	if err != nil {
		return document{}, true, fmt.Errorf("describe %s: %w", path, err)
	}
	if c.v3 == nil {
		c.v3 = map[string]document{}
	}
	c.v3[path] = document{gzip: packed, hash: state}
	return c.v3[path], true, nil
}

func options(v2 bool) builder.Options {
	return builder.Options{V2: v2, IncludeSelectableFields: utilfeature.DefaultFeatureGate.Enabled(apiextensionsfeatures.CustomResourceFieldSelectors)}
}

// additions are what each of the definitions adds to the document of version 2, in the format of the document of that name. Whatever known says
// that the document has is left out.
func (c *custom) additions(name string, definitions []*apiextensionsv1.CustomResourceDefinition, known func(definition string) bool) ([]addition, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := make(map[string]addition, len(definitions))
	var out []addition
	for _, d := range definitions {
		a := c.v2[d.Name]
		if state := stateOf(d); a.state != state {
			text, err := describeV2(d, known)
			if err != nil {
				klog.ErrorS(err, "Custom resource not described", "definition", d.Name)
				text = nil
			}
			a = addition{state: state}
			if text != nil {
				if a.json, err = split(text); err != nil {
					return nil, err
				}
			}
		}
		if name == V2Protobuf && a.json != nil && a.protobuf == "" {
			text, err := a.json.document()
			if err != nil {
				return nil, err
			}
			message, err := handler.ToProtoBinary(text)
			if err != nil {
				return nil, fmt.Errorf("encode the description of %s: %w", d.Name, err)
			}
			if a.protobuf, err = zip(message); err != nil {
				return nil, err
			}
		}
		kept[d.Name] = a
		if a.json != nil {
			out = append(out, a)
		}
	}
	c.v2 = kept
	return out, nil
}

// describeV2 is a document of version 2 of what d defines, without the definitions that are known.
func describeV2(d *apiextensionsv1.CustomResourceDefinition, known func(definition string) bool) ([]byte, error) {
	merged := frame()
	for _, v := range d.Spec.Versions {
		if !v.Served {
			continue
		}
		part, err := builder.BuildOpenAPIV2(d, v.Name, options(true))
		if err != nil {
			return nil, fmt.Errorf("describe version %s: %w", v.Name, err)
		}
		part.Definitions = handler.PruneDefaults(part.Definitions) // as those of the document are
		if merged, err = builder.MergeSpecs(merged, part); err != nil {
			return nil, fmt.Errorf("describe version %s: %w", v.Name, err)
		}
	}
	for name := range merged.Definitions {
		if known(name) {
			delete(merged.Definitions, name)
		}
	}
	return json.Marshal(merged)
}

// frame is a document of version 2 without content.
func frame() *spec.Swagger {
	return &spec.Swagger{SwaggerProps: spec.SwaggerProps{
		Swagger: "2.0", Info: &spec.Info{InfoProps: spec.InfoProps{Title: "Kubernetes", Version: "v1"}}, Paths: &spec.Paths{},
	}}
}

// zippers are writers at rest: one takes a megabyte.
var zippers = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed) // fails only for a level that there is not
	return w
}}

// zip packs in a hurry: the text is large, and is made anew with every change.
func zip(content []byte) (string, error) {
	var packed bytes.Buffer
	w := zippers.Get().(*gzip.Writer)
	defer zippers.Put(w)
	w.Reset(&packed)
	_, err := w.Write(content)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return "", fmt.Errorf("pack OpenAPI document: %w", err)
	}
	return packed.String(), nil
}
