// SPDX-License-Identifier: Apache-2.0

package customresources

import (
	"maps"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// What a handler takes of memory, in bytes, as measured.
const (
	versionCost     = 75 << 10 // a version: codecs, schemes, tables
	placeCost       = 2 << 10  // a place in a schema: its forms for validation, pruning, and managed fields
	environmentCost = 64 << 10 // a place with rules: what they may refer to
	programCost     = 16 << 10 // a compiled rule or message
)

// contents is what makes a definition large.
type contents struct {
	versions     int // those that are served or stored
	places       int // in their schemas
	environments int // places with rules
	programs     int // rules, and expressions that make their messages
}

// cost estimates what a handler takes, with or without its rules.
func (c contents) cost(rules bool) int64 {
	cost := int64(c.versions)*versionCost + int64(c.places)*placeCost
	if rules {
		cost += int64(c.environments)*environmentCost + int64(c.programs)*programCost
	}
	return cost
}

func contentsOf(d *apiextensionsv1.CustomResourceDefinition) contents {
	var c contents
	for _, v := range d.Spec.Versions {
		if !v.Served && !v.Storage {
			continue
		}
		c.versions++
		if v.Schema != nil && v.Schema.OpenAPIV3Schema != nil {
			c.add(v.Schema.OpenAPIV3Schema)
		}
	}
	return c
}

func (c *contents) add(p *apiextensionsv1.JSONSchemaProps) {
	c.places++
	if len(p.XValidations) > 0 {
		c.environments++
		for _, rule := range p.XValidations {
			c.programs++
			if rule.MessageExpression != "" {
				c.programs++
			}
		}
	}
	if p.Items != nil && p.Items.Schema != nil {
		c.add(p.Items.Schema)
	}
	if p.AdditionalProperties != nil && p.AdditionalProperties.Schema != nil {
		c.add(p.AdditionalProperties.Schema)
	}
	for _, child := range p.Properties {
		c.add(&child)
	}
	for i := range p.AllOf {
		c.add(&p.AllOf[i])
	}
}

// withoutRules is d without rules. It shares with d all that has none.
func withoutRules(d *apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.CustomResourceDefinition {
	out := *d
	out.Spec.Versions = slices.Clone(d.Spec.Versions)
	for i := range out.Spec.Versions {
		v := &out.Spec.Versions[i]
		if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			continue
		}
		if p, changed := strip(*v.Schema.OpenAPIV3Schema); changed {
			v.Schema = &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &p}
		}
	}
	return &out
}

// strip takes the rules out of a schema, of which it changes nothing that others see. Rules can be where contents.add looks for them.
func strip(p apiextensionsv1.JSONSchemaProps) (_ apiextensionsv1.JSONSchemaProps, changed bool) {
	if len(p.XValidations) > 0 {
		p.XValidations, changed = nil, true
	}
	if p.Items != nil && p.Items.Schema != nil {
		if child, ok := strip(*p.Items.Schema); ok {
			p.Items, changed = &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &child}, true
		}
	}
	if p.AdditionalProperties != nil && p.AdditionalProperties.Schema != nil {
		if child, ok := strip(*p.AdditionalProperties.Schema); ok {
			p.AdditionalProperties, changed = &apiextensionsv1.JSONSchemaPropsOrBool{Allows: p.AdditionalProperties.Allows, Schema: &child}, true
		}
	}
	own := false
	for name, child := range p.Properties {
		if child, ok := strip(child); ok {
			if !own {
				p.Properties, own, changed = maps.Clone(p.Properties), true, true
			}
			p.Properties[name] = child
		}
	}
	own = false
	for i := range p.AllOf {
		if child, ok := strip(p.AllOf[i]); ok {
			if !own {
				p.AllOf, own, changed = slices.Clone(p.AllOf), true, true
			}
			p.AllOf[i] = child
		}
	}
	return p, changed
}
