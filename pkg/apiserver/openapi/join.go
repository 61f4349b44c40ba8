// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// joinedV2 keeps the stored document of version 2 with what custom resources and aggregated servers add, by format, until these change.
type joinedV2 struct {
	mu   sync.Mutex
	docs map[string]joined
	// known are the definitions of the stored document.
	known map[string]bool
}

type joined struct {
	state string // of what was joined
	doc   document
	rest  time.Time // until when it will do, whatever changes
}

// A document that took longer than atOnce is not made again for restFactor times as long: where definitions are a thousand and change all the time, no more
// than a part of a CPU is spent on it. kube-apiserver's document lags behind in the same way.
const (
	atOnce     = time.Second
	restFactor = 4
)

// v2 returns the document of that name, with what custom resources and aggregated servers add.
func (s *Server) v2(name string) (document, error) {
	doc, ok := s.stored[name]
	if !ok {
		return document{}, fmt.Errorf("%s: %w", name, errNoDocument)
	}
	definitions, err := s.custom.established()
	if err != nil {
		return document{}, err
	}
	aggregated := s.aggregated.parts()
	if len(definitions) == 0 && len(aggregated) == 0 {
		return doc, nil
	}
	state := hashOf(definitions)
	for _, part := range aggregated {
		state += part.state
	}

	s.joined.mu.Lock()
	defer s.joined.mu.Unlock()
	begin := time.Now()
	if have, ok := s.joined.docs[name]; ok && (have.state == state || begin.Before(have.rest)) {
		return have.doc, nil
	}
	if err := s.learn(); err != nil {
		return document{}, err
	}
	additions, err := s.custom.additions(name, definitions, func(definition string) bool { return s.joined.known[definition] })
	if err != nil {
		return document{}, err
	}
	content, err := doc.content()
	if err != nil {
		return document{}, err
	}
	join := joinJSON
	if name == V2Protobuf {
		join = joinProtobuf
	}
	var replaced []string
	if len(aggregated) > 0 {
		united, err := s.unite(aggregated, additions)
		if err != nil {
			return document{}, err
		}
		first, err := united.in(name)
		if err != nil {
			return document{}, err
		}
		// Before those of custom resources, of which it may replace some.
		additions, replaced = append([]addition{first}, additions...), united.replaced
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		return document{}, err
	}
	if err := join(w, content, additions, replaced); err != nil {
		return document{}, err
	}
	if err := w.Close(); err != nil {
		return document{}, fmt.Errorf("pack OpenAPI document: %w", err)
	}
	if s.joined.docs == nil {
		s.joined.docs = map[string]joined{}
	}
	made := document{gzip: packed.String(), hash: hash([]byte(doc.hash + state))}
	next := joined{state: state, doc: made}
	if took := time.Since(begin); took > atOnce {
		next.rest = time.Now().Add(restFactor * took)
	}
	s.joined.docs[name] = next
	return made, nil
}

// learn reads which definitions the stored document has, once.
func (s *Server) learn() error {
	if s.joined.known != nil {
		return nil
	}
	content, err := s.stored[V2JSON].content()
	if err != nil {
		return err
	}
	var parts struct {
		Definitions map[string]struct{} `json:"definitions"`
	}
	if err := json.Unmarshal(content, &parts); err != nil {
		return fmt.Errorf("read stored OpenAPI document: %w", err)
	}
	s.joined.known = map[string]bool{}
	for name := range parts.Definitions {
		s.joined.known[name] = true
	}
	return nil
}

// growing are the members of a document of version 2 that others add to.
var growing = []string{"definitions", "parameters", "paths"}

// members are those of a document that grow, each a gzip'd object.
type members map[string]string

// split takes them out of a document.
func split(content []byte) (members, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(content, &all); err != nil {
		return nil, fmt.Errorf("read OpenAPI document: %w", err)
	}
	m := members{}
	for _, name := range growing {
		if len(all[name]) == 0 {
			continue
		}
		packed, err := zip(all[name])
		if err != nil {
			return nil, err
		}
		m[name] = packed
	}
	return m, nil
}

// document is one that has these members.
func (m members) document() ([]byte, error) {
	all, err := json.Marshal(frame())
	if err != nil {
		return nil, err
	}
	var whole bytes.Buffer
	if err := joinJSON(&whole, all, []addition{{json: m}}, nil); err != nil {
		return nil, err
	}
	return whole.Bytes(), nil
}

// joinJSON writes the stored document without the definitions that are replaced, with the additions. What more than one has is that of the first. One addition at a time
// is unpacked.
func joinJSON(w io.Writer, stored []byte, additions []addition, replaced []string) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(stored, &all); err != nil {
		return fmt.Errorf("read OpenAPI document: %w", err)
	}
	for _, a := range additions {
		for name := range a.json {
			if all[name] == nil {
				all[name] = json.RawMessage("{}")
			}
		}
	}
	return writeObject(w, all, func(w io.Writer, name string) error {
		if !slices.Contains(growing, name) {
			_, err := w.Write(all[name])
			return err
		}
		if name != "definitions" {
			return joinMember(w, name, all[name], additions, nil)
		}
		return joinMember(w, name, all[name], additions, replaced)
	})
}

// joinMember writes a growing member of the stored document, without the keys that are replaced, with what the additions have of it.
func joinMember(w io.Writer, name string, stored []byte, additions []addition, replaced []string) error {
	seen, separator := map[string]bool{}, "{"
	add := func(object []byte, without []string) error {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(object, &members); err != nil {
			return fmt.Errorf("read %s of OpenAPI document: %w", name, err)
		}
		for _, key := range slices.Sorted(maps.Keys(members)) {
			if seen[key] || slices.Contains(without, key) {
				continue
			}
			seen[key] = true
			if err := writeMember(w, separator, key); err != nil {
				return err
			}
			if _, err := w.Write(members[key]); err != nil {
				return err
			}
			separator = ","
		}
		return nil
	}
	if err := add(stored, replaced); err != nil {
		return err
	}
	for _, a := range additions {
		if a.json[name] == "" {
			continue
		}
		object, err := document{gzip: a.json[name]}.content()
		if err != nil {
			return err
		}
		if err := add(object, nil); err != nil {
			return err
		}
	}
	return end(w, separator)
}

// writeObject writes a JSON object of the keys of members, in order, with the values that value writes: without a copy of the whole.
func writeObject(w io.Writer, members map[string]json.RawMessage, value func(w io.Writer, key string) error) error {
	separator := "{"
	for _, key := range slices.Sorted(maps.Keys(members)) {
		if err := writeMember(w, separator, key); err != nil {
			return err
		}
		if err := value(w, key); err != nil {
			return err
		}
		separator = ","
	}
	return end(w, separator)
}

// writeMember writes what stands before a member's value.
func writeMember(w io.Writer, separator, key string) error {
	quoted, err := json.Marshal(key)
	if err == nil {
		_, err = fmt.Fprintf(w, "%s%s:", separator, quoted)
	}
	return err
}

// end writes the end of an object whose next member would have come after separator.
func end(w io.Writer, separator string) error {
	if separator == "{" {
		separator = "{}"
	} else {
		separator = "}"
	}
	_, err := io.WriteString(w, separator)
	return err
}

// joinProtobuf relies on how protocol buffers merge: of two messages one after the other the members are joined, lists
// appended, and the last of single values holds. So the stored document comes last.
func joinProtobuf(w io.Writer, stored []byte, additions []addition, replaced []string) error {
	for i, a := range additions {
		message, err := document{gzip: a.protobuf}.content()
		if err != nil {
			return err
		}
		if i > 0 && len(replaced) > 0 { // by the first
			if message, err = withoutDefinitions(message, replaced); err != nil {
				return err
			}
		}
		if _, err := w.Write(message); err != nil {
			return err
		}
	}
	if len(replaced) > 0 {
		var err error
		if stored, err = withoutDefinitions(stored, replaced); err != nil {
			return err
		}
	}
	_, err := w.Write(stored)
	return err
}
