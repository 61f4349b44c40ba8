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
}

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
	if have, ok := s.joined.docs[name]; ok && have.state == state {
		return have.doc, nil
	}
	if err := s.learn(); err != nil {
		return document{}, err
	}
	known := func(definition string) bool { return s.joined.known[definition] }
	additions, err := s.custom.additions(name, definitions, known)
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
		custom, err := s.custom.additions(V2JSON, definitions, known)
		if err != nil {
			return document{}, err
		}
		united, err := s.unite(aggregated, custom)
		if err != nil {
			return document{}, err
		}
		packed, err := united.in(name)
		if err != nil {
			return document{}, err
		}
		// Before those of custom resources, of which it may replace some.
		additions, replaced = append([]string{packed}, additions...), united.replaced
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
	s.joined.docs[name] = joined{state, made}
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

// joinJSON writes the stored document without the definitions that are replaced, with the additions, each a document too. What more than one has is that of
// the first.
func joinJSON(w io.Writer, stored []byte, additions, replaced []string) error {
	read := func(data []byte) (all map[string]json.RawMessage, grown map[string]map[string]json.RawMessage, err error) {
		if err := json.Unmarshal(data, &all); err != nil {
			return nil, nil, fmt.Errorf("read OpenAPI document: %w", err)
		}
		grown = map[string]map[string]json.RawMessage{}
		for _, name := range growing {
			if all[name] == nil {
				continue
			}
			var members map[string]json.RawMessage
			if err := json.Unmarshal(all[name], &members); err != nil {
				return nil, nil, fmt.Errorf("read %s of OpenAPI document: %w", name, err)
			}
			grown[name] = members
			all[name] = nil
		}
		return all, grown, nil
	}
	all, grown, err := read(stored)
	if err != nil {
		return err
	}
	for _, name := range replaced {
		delete(grown["definitions"], name)
	}
	for _, packed := range additions {
		text, err := document{gzip: packed}.content()
		if err != nil {
			return err
		}
		_, more, err := read(text)
		if err != nil {
			return err
		}
		for name, members := range more {
			if grown[name] == nil {
				grown[name], all[name] = map[string]json.RawMessage{}, nil
			}
			for key, value := range members {
				if _, ok := grown[name][key]; !ok {
					grown[name][key] = value
				}
			}
		}
	}
	return writeObject(w, all, func(w io.Writer, name string) error {
		if members, ok := grown[name]; ok {
			return writeObject(w, members, func(w io.Writer, key string) error { _, err := w.Write(members[key]); return err })
		}
		_, err := w.Write(all[name])
		return err
	})
}

// writeObject writes a JSON object of the keys of members, in order, with the values that value writes: without a copy of the whole.
func writeObject(w io.Writer, members map[string]json.RawMessage, value func(w io.Writer, key string) error) error {
	separator := "{"
	for _, key := range slices.Sorted(maps.Keys(members)) {
		quoted, err := json.Marshal(key)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s%s:", separator, quoted); err != nil {
			return err
		}
		if err := value(w, key); err != nil {
			return err
		}
		separator = ","
	}
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
func joinProtobuf(w io.Writer, stored []byte, additions, replaced []string) error {
	for _, packed := range additions {
		message, err := document{gzip: packed}.content()
		if err != nil {
			return err
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
