// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/klog/v2"
	merge "k8s.io/kube-openapi/pkg/aggregator"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// united is what aggregated servers add to the document of version 2, together.
type united struct {
	json []byte
	// replaced are definitions of the document, and of custom resources, that it has too, with more kinds.
	replaced []string
}

// in is the addition in the format of the document of that name.
func (u united) in(name string) (a addition, err error) {
	if name != V2Protobuf {
		a.json, err = split(u.json)
		return a, err
	}
	message, err := handler.ToProtoBinary(u.json)
	if err != nil {
		return addition{}, fmt.Errorf("encode the descriptions of aggregated servers: %w", err)
	}
	a.protobuf, err = zip(message)
	return a, err
}

// kindsKey is the extension that names the kinds of a definition.
const kindsKey = "x-kubernetes-group-version-kind"

// renamed is how a definition is called that had to get another name.
var renamed = regexp.MustCompile(`_v[0-9]+$`)

// unite merges the parts as kube-aggregator does: a definition or parameter that another of the same name differs from gets a name with _v2, _v3, …, and one that
// differs in its kinds alone has those of both. What the parts are compared with, of the stored document and of custom resources, is read by name: the whole would
// be some 30 MB as structures. s.joined.mu is held.
func (s *Server) unite(parts []*addition, custom []addition) (united, error) {
	var wholes []*spec.Swagger
	names := map[string]bool{}
	for _, part := range parts {
		whole := &spec.Swagger{}
		text, err := part.json.document()
		if err == nil {
			err = json.Unmarshal(text, whole)
		}
		if err != nil {
			return united{}, fmt.Errorf("read the description of an aggregated server: %w", err)
		}
		for name, schema := range whole.Definitions {
			names[name] = true
			if schema.Extensions == nil { // the merge adds to it
				schema.Extensions = spec.Extensions{}
				whole.Definitions[name] = schema
			}
		}
		for name := range whole.Parameters {
			names[name] = true
		}
		wholes = append(wholes, whole)
	}
	// Without a head it could not be encoded; the stored document's comes in its place.
	head := &spec.Info{InfoProps: spec.InfoProps{Title: "Kubernetes", Version: "unversioned"}}
	all := &spec.Swagger{SwaggerProps: spec.SwaggerProps{Swagger: "2.0", Info: head, Definitions: spec.Definitions{}, Parameters: map[string]spec.Parameter{}, Paths: &spec.Paths{Paths: map[string]spec.PathItem{}}}}
	var stored namedParts
	if err := s.stored[V2JSON].unpack(&stored); err != nil {
		return united{}, err
	}
	if err := stored.read(names, all); err != nil {
		return united{}, err
	}
	for _, a := range custom {
		var more namedParts
		if err := errors.Join(a.json.unpack("definitions", &more.Definitions), a.json.unpack("parameters", &more.Parameters)); err != nil {
			return united{}, err
		}
		if err := more.read(names, all); err != nil {
			return united{}, err
		}
	}
	before := map[string][]byte{}
	for name, schema := range all.Definitions {
		kinds, err := json.Marshal(schema.Extensions[kindsKey])
		if err != nil {
			return united{}, err
		}
		before[name] = kinds
	}
	parameters := all.Parameters
	all.Parameters = maps.Clone(parameters)
	for i, whole := range wholes {
		if err := merge.MergeSpecsIgnorePathConflictRenamingDefinitionsAndParameters(all, whole); err != nil {
			klog.ErrorS(err, "An aggregated server is not described", "state", parts[i].state) // the others are
		}
	}
	var u united
	for name, kinds := range before {
		now, err := json.Marshal(all.Definitions[name].Extensions[kindsKey])
		if err != nil {
			return united{}, err
		}
		if bytes.Equal(kinds, now) {
			delete(all.Definitions, name)
		} else {
			u.replaced = append(u.replaced, name)
		}
	}
	for name := range parameters {
		delete(all.Parameters, name)
	}
	slices.Sort(u.replaced)
	var err error
	u.json, err = json.Marshal(all)
	return u, err
}

// namedParts are what a document has that others refer to by name.
type namedParts struct {
	Definitions map[string]json.RawMessage `json:"definitions"`
	Parameters  map[string]json.RawMessage `json:"parameters"`
}

// read adds to all what has one of the names, or one that was made of it. What is in all already stays.
func (raw namedParts) read(names map[string]bool, all *spec.Swagger) error {
	wanted := func(name string) bool { return names[name] || names[renamed.ReplaceAllString(name, "")] }
	for name, text := range raw.Definitions {
		if _, ok := all.Definitions[name]; ok || !wanted(name) {
			continue
		}
		schema := spec.Schema{}
		if err := json.Unmarshal(text, &schema); err != nil {
			return fmt.Errorf("read definition %s: %w", name, err)
		}
		if schema.Extensions == nil {
			schema.Extensions = spec.Extensions{}
		}
		all.Definitions[name] = schema
	}
	for name, text := range raw.Parameters {
		if _, ok := all.Parameters[name]; ok || !wanted(name) {
			continue
		}
		parameter := spec.Parameter{}
		if err := json.Unmarshal(text, &parameter); err != nil {
			return fmt.Errorf("read parameter %s: %w", name, err)
		}
		all.Parameters[name] = parameter
	}
	return nil
}

// unpack reads a document of JSON.
func (d document) unpack(into any) error {
	text, err := d.content()
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("read OpenAPI document: %w", err)
	}
	return nil
}

// unpack reads the member of that name, if there is one.
func (m members) unpack(name string, into any) error {
	if m[name] == "" {
		return nil
	}
	return document{gzip: m[name]}.unpack(into)
}

// Fields of openapi.v2's messages Document, Definitions and NamedSchema.
const (
	documentDefinitions = 9
	definitionsMembers  = 1
	memberName          = 1
)

// withoutDefinitions is a document in protobuf without the definitions of these names.
func withoutDefinitions(document []byte, names []string) ([]byte, error) {
	return eachField(document, func(field protowire.Number, whole, value []byte) ([]byte, error) {
		if field != documentDefinitions {
			return whole, nil
		}
		kept, err := eachField(value, func(field protowire.Number, whole, value []byte) ([]byte, error) {
			if field != definitionsMembers {
				return whole, nil
			}
			drop := false
			_, err := eachField(value, func(field protowire.Number, _, value []byte) ([]byte, error) {
				drop = drop || field == memberName && slices.Contains(names, string(value))
				return nil, nil
			})
			if drop {
				return nil, err
			}
			return whole, err
		})
		return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), kept), err
	})
}

// errNoMessage is told of bytes that are no protocol buffer.
var errNoMessage = errors.New("OpenAPI document: no protocol buffer")

// eachField returns a message of what change makes of each field of a message: it is given the field as it is, with its tag, and the value of what has a length.
func eachField(message []byte, change func(field protowire.Number, whole, value []byte) ([]byte, error)) ([]byte, error) {
	var out []byte
	for len(message) > 0 {
		field, kind, tag := protowire.ConsumeTag(message)
		if tag < 0 {
			return nil, errNoMessage
		}
		size := protowire.ConsumeFieldValue(field, kind, message[tag:])
		if size < 0 {
			return nil, errNoMessage
		}
		var value []byte
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(message[tag:])
		}
		changed, err := change(field, message[:tag+size], value)
		if err != nil {
			return nil, err
		}
		out, message = append(out, changed...), message[tag+size:]
	}
	return out, nil
}
