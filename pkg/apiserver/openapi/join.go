// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
)

// joinedV2 keeps the stored document of version 2 with those of CRDs and of aggregated servers, by format, until these change.
type joinedV2 struct {
	mu   sync.Mutex
	docs map[string]joined
}

type joined struct {
	version string // the ETags of what was joined
	doc     document
}

// v2 returns the document of that name, with what is published into V2 and what aggregated servers add.
func (s *Server) v2(name string) (document, error) {
	doc, ok := s.stored[name]
	if !ok {
		return document{}, fmt.Errorf("%s: %w", name, errNoDocument)
	}
	custom, err := s.custom("application/json")
	if err != nil {
		return document{}, err
	}
	parts, err := parseV2(custom.body.Bytes())
	if err != nil {
		return document{}, err
	}
	aggregated := s.aggregated.parts()
	if len(parts.Paths) == 0 && len(aggregated) == 0 {
		return doc, nil
	}

	s.joined.mu.Lock()
	defer s.joined.mu.Unlock()
	version := custom.header.Get("Etag")
	for _, part := range aggregated {
		version += part.etag
	}
	if have, ok := s.joined.docs[name]; ok && have.version == version {
		return have.doc, nil
	}
	content, err := doc.content()
	if err != nil {
		return document{}, err
	}
	if name == V2Protobuf {
		content, err = s.joinProtobuf(content, aggregated)
	} else {
		content, err = joinJSON(content, parts, aggregated)
	}
	if err != nil {
		return document{}, err
	}
	archive, err := Pack(map[string][]byte{name: content})
	if err != nil {
		return document{}, err
	}
	packed, err := unpack(string(archive))
	if err != nil {
		return document{}, err
	}
	if s.joined.docs == nil {
		s.joined.docs = map[string]joined{}
	}
	s.joined.docs[name] = joined{version, packed[name]}
	return packed[name], nil
}

// v2Parts are the two members of a document of version 2 that grow.
type v2Parts struct {
	Paths       map[string]json.RawMessage `json:"paths"`
	Definitions map[string]json.RawMessage `json:"definitions"`
}

func parseV2(data []byte) (v2Parts, error) {
	var parts v2Parts
	if err := json.Unmarshal(data, &parts); err != nil {
		return parts, fmt.Errorf("read OpenAPI document: %w", err)
	}
	return parts, nil
}

// joinJSON adds paths and definitions; what several have is that of the stored document, or else of the first.
func joinJSON(stored []byte, custom v2Parts, aggregated []*v2Part) ([]byte, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(stored, &all); err != nil {
		return nil, fmt.Errorf("read stored OpenAPI document: %w", err)
	}
	paths, definitions := []map[string]json.RawMessage{custom.Paths}, []map[string]json.RawMessage{custom.Definitions}
	for _, part := range aggregated {
		paths, definitions = append(paths, part.parts.Paths), append(definitions, part.parts.Definitions)
	}
	for member, more := range map[string][]map[string]json.RawMessage{"paths": paths, "definitions": definitions} {
		var have map[string]json.RawMessage
		if err := json.Unmarshal(all[member], &have); err != nil {
			return nil, fmt.Errorf("read %s of stored OpenAPI document: %w", member, err)
		}
		for _, one := range more {
			for key, value := range one {
				if _, ok := have[key]; !ok {
					have[key] = value
				}
			}
		}
		data, err := json.Marshal(have)
		if err != nil {
			return nil, fmt.Errorf("join %s of OpenAPI documents: %w", member, err)
		}
		all[member] = data
	}
	data, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("join OpenAPI documents: %w", err)
	}
	return data, nil
}

// joinProtobuf relies on how protocol buffers merge: of two messages one after the other the members are joined, lists
// appended, and the last of single values holds. So the stored document comes last.
func (s *Server) joinProtobuf(stored []byte, aggregated []*v2Part) ([]byte, error) {
	custom, err := s.custom("application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
	if err != nil {
		return nil, err
	}
	var all []byte
	for _, part := range slices.Backward(aggregated) {
		all = append(all, part.protobuf...)
	}
	all = append(all, custom.body.Bytes()...)
	return append(all, stored...), nil
}

// custom asks for the document of CRDs alone.
func (s *Server) custom(accept string) (*recorder, error) {
	answer := newRecorder()
	s.customV2.ServeHTTP(answer, &http.Request{
		Method: http.MethodGet, URL: &url.URL{Path: v2Path}, Header: http.Header{"Accept": {accept}}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	})
	if answer.code != 0 && answer.code != http.StatusOK {
		return nil, fmt.Errorf("read the document of custom resources: %s", http.StatusText(answer.code))
	}
	return answer, nil
}

// recorder is an answer in memory.
type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func newRecorder() *recorder { return &recorder{header: http.Header{}} }

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(code int) {
	if r.code == 0 {
		r.code = code
	}
}

func (r *recorder) Write(data []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(data)
}

// replay sends the answer.
func (r *recorder) replay(w http.ResponseWriter) {
	for key, values := range r.header {
		w.Header()[key] = values
	}
	if r.code != 0 {
		w.WriteHeader(r.code)
	}
	// A client that went away is no error of ours.
	_, _ = w.Write(r.body.Bytes())
}
