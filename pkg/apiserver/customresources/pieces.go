// SPDX-License-Identifier: Apache-2.0

package customresources

import (
	"math/rand/v2"

	apiservervalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/hivemind-project/hivemind/pkg/room"
)

const (
	pieceValues = 64 // that a piece has at most
	sample      = 16 // one piece of so many is looked at first
)

// pieces validates a large value in small parts, so that no error is compared with those of other parts, until there are more errors than a client is told of.
// What a schema says of all of a large list or map, beside its elements, is not looked at.
type pieces struct {
	every      int // one of so many pieces is looked at
	validators map[*spec.Schema]apiservervalidation.SchemaValidator
	errs       field.ErrorList
}

// errorsInPieces returns errors in parts of value that are not what they were before. It looks at a sample, and at all when something is wrong in that: of those that
// have very many errors no sample has none.
func errorsInPieces(value, before any, schema *spec.Schema) field.ErrorList {
	p := pieces{every: sample, validators: map[*spec.Schema]apiservervalidation.SchemaValidator{}}
	p.look(nil, value, before, schema)
	if len(p.errs) > 0 {
		p.every, p.errs = 1, nil
		p.look(nil, value, before, schema)
	}
	return p.errs
}

func (p *pieces) look(at *field.Path, value, before any, schema *spec.Schema) {
	if len(p.errs) > room.MostErrors {
		return
	}
	if count(value, pieceValues) <= pieceValues {
		if rand.IntN(p.every) > 0 || apiequality.Semantic.DeepEqual(value, before) {
			return
		}
		p.errs = append(p.errs, apiservervalidation.ValidateCustomResource(at, value, p.validator(schema))...)
		return
	}
	switch value := value.(type) {
	case []any:
		if schema.Items == nil || schema.Items.Schema == nil {
			return
		}
		old, _ := before.([]any)
		for i, element := range value {
			var was any
			if i < len(old) {
				was = old[i]
			}
			p.look(at.Index(i), element, was, schema.Items.Schema)
		}
	case map[string]any:
		old, _ := before.(map[string]any)
		for key, element := range value {
			if property, ok := schema.Properties[key]; ok {
				p.look(at.Child(key), element, old[key], &property)
			} else if rest := schema.AdditionalProperties; rest != nil && rest.Schema != nil {
				p.look(at.Key(key), element, old[key], rest.Schema)
			}
		}
	}
}

// validator returns that of a schema. A list's elements share theirs.
func (p *pieces) validator(schema *spec.Schema) apiservervalidation.SchemaValidator {
	v, ok := p.validators[schema]
	if !ok {
		v = apiservervalidation.NewSchemaValidatorFromOpenAPI(schema)
		p.validators[schema] = v
	}
	return v
}

// count tells how many values there are in a value, itself included, up to one more than most.
func count(value any, most int) int {
	n := 1
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			if n > most {
				break
			}
			n += count(element, most-n)
		}
	case map[string]any:
		for _, element := range value {
			if n > most {
				break
			}
			n += count(element, most-n)
		}
	}
	return n
}
