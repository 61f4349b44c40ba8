// SPDX-License-Identifier: Apache-2.0

// Package openapi tells clients of the API's structure (/openapi/v2 and /openapi/v3), and the server's own field managers.
//
// What is built in is described by documents made at build time and sent as they are stored, gzip'd: they cost no memory
// but the pages of the program that are read. Documents of custom resources are made of their definitions when asked for, and kept
// gzip'd until these change (custom.go): /openapi/v3 by group and version, so that nothing is rewritten, and /openapi/v2, one
// document of 4 MB, joined in 0.1 s once after a change. Those of aggregated servers join them in the same way, and are read when
// somebody asks (aggregated.go).
package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/munnerz/goautoneg"
	"k8s.io/klog/v2"
	"k8s.io/kube-openapi/pkg/handler3"
)

const (
	v2Path = "/openapi/v2"
	v3Path = "/openapi/v3"
)

// Mux is what handlers are installed into, such as mux.PathRecorderMux of k8s.io/apiserver.
type Mux interface {
	Handle(path string, handler http.Handler)
	HandlePrefix(path string, handler http.Handler)
}

// Server serves the documents.
type Server struct {
	stored map[string]document
	custom custom
	joined joinedV2
	// aggregated are the servers that answer for group versions in place of this one.
	aggregated aggregatedServers
}

// NewServer reads the index of the stored documents. definitions are what custom resources are described by; nil for none.
func NewServer(definitions Definitions) (*Server, error) {
	stored, err := unpack(documents)
	if err != nil {
		return nil, err
	}
	return &Server{stored: stored, custom: custom{definitions: definitions}}, nil
}

// Install serves the documents at /openapi/v2, /openapi/v3 and below it.
func (s *Server) Install(mux Mux) {
	mux.Handle(v2Path, http.HandlerFunc(s.serveV2))
	mux.Handle(v3Path, http.HandlerFunc(s.serveV3Index))
	mux.HandlePrefix(v3Path+"/", http.HandlerFunc(s.serveV3))
}

func (s *Server) serveV2(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Vary", "Accept")
	var name, contentType string
	switch negotiate(r, "com.github.proto-openapi.spec.v2.v1.0+protobuf", "com.github.proto-openapi.spec.v2@v1.0+protobuf") {
	case asJSON:
		name, contentType = V2JSON, "application/json"
	case asProtobuf:
		name, contentType = V2Protobuf, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	default:
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	doc, err := s.v2(name)
	if err != nil {
		fail(w, r, err)
		return
	}
	serve(w, r, doc, contentType)
}

// serveV3Index tells of every group and version where its document is.
func (s *Server) serveV3Index(w http.ResponseWriter, r *http.Request) {
	index, err := s.v3Index()
	if err != nil {
		fail(w, r, err)
		return
	}
	data, err := json.Marshal(index)
	if err != nil {
		fail(w, r, err)
		return
	}
	w.Header().Set("Etag", strconv.Quote(hash(data)))
	w.Header().Set("Content-Type", "application/json")
	http.ServeContent(w, r, v3Path, time.Time{}, bytes.NewReader(data))
}

func (s *Server) v3Index() (*handler3.OpenAPIV3Discovery, error) {
	custom, err := s.custom.byVersion()
	if err != nil {
		return nil, err
	}
	index := &handler3.OpenAPIV3Discovery{Paths: map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}}
	for path, definitions := range custom {
		index.Paths[path] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: v3URL(path, hashOf(definitions))}
	}
	for path, at := range s.aggregated.paths() {
		index.Paths[path] = at
	}
	for name, doc := range s.stored {
		if path, ok := strings.CutPrefix(name, V3Prefix); ok {
			index.Paths[path] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: v3URL(path, doc.hash)}
		}
	}
	return index, nil
}

func v3URL(path, hash string) string { return v3Path + "/" + path + "?hash=" + hash }

// serveV3 answers with the document of a group and version. With the hash that the index tells, it may be kept forever.
func (s *Server) serveV3(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, v3Path+"/")
	doc, ok := s.stored[V3Prefix+path]
	if !ok {
		if aggregated := s.aggregated.v3Handler(path); aggregated != nil {
			aggregated.ServeHTTP(w, r)
			return
		}
		var err error
		if doc, ok, err = s.custom.documentV3(path); err != nil {
			fail(w, r, err)
			return
		}
	}
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Add("Vary", "Accept")
	format := negotiate(r, "com.github.proto-openapi.spec.v3.v1.0+protobuf", "com.github.proto-openapi.spec.v3@v1.0+protobuf")
	if format == notAcceptable {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	if asked := r.URL.Query().Get("hash"); asked != "" {
		if asked != doc.hash {
			w.Header().Set("Content-Type", "application/json") // of what is there; so that no page of HTML comes with it
			http.Redirect(w, r, v3URL(path, doc.hash), http.StatusMovedPermanently)
			return
		}
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).Format(time.RFC1123))
	}
	if format == asJSON {
		serve(w, r, doc, "application/json")
		return
	}
	s.serveV3Protobuf(w, r, doc)
}

// serveV3Protobuf makes the answer anew each time: no client in common use asks for it.
func (s *Server) serveV3Protobuf(w http.ResponseWriter, r *http.Request, doc document) {
	content, err := doc.content()
	if err == nil {
		content, err = handler3.ToV3ProtoBinary(content)
	}
	if err != nil {
		fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/com.github.proto-openapi.spec.v3.v1.0+protobuf")
	w.Header().Set("Etag", strconv.Quote(doc.hash))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// serve sends a stored document, as it is where the client takes gzip.
func serve(w http.ResponseWriter, r *http.Request, doc document, contentType string) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Etag", strconv.Quote(doc.hash))
	w.Header().Add("Vary", "Accept-Encoding")
	if match := r.Header.Get("If-None-Match"); match != "" && strings.Contains(match, strconv.Quote(doc.hash)) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if takesGzip(r) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Length", strconv.Itoa(len(doc.gzip)))
		if r.Method != http.MethodHead {
			// A client that went away is no error of ours.
			_, _ = io.WriteString(w, doc.gzip)
		}
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(doc.size()))
	if r.Method != http.MethodHead {
		_, _ = doc.WriteTo(w)
	}
}

func takesGzip(r *http.Request) bool {
	for _, part := range strings.Split(r.Header.Get("Accept-Encoding"), ",") {
		coding, parameter, _ := strings.Cut(strings.TrimSpace(part), ";")
		if (coding == "gzip" || coding == "*") && strings.ReplaceAll(parameter, " ", "") != "q=0" {
			return true
		}
	}
	return false
}

func fail(w http.ResponseWriter, r *http.Request, err error) {
	klog.FromContext(r.Context()).Error(err, "Serving OpenAPI failed", "path", r.URL.Path)
	http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
}

type format int

const (
	notAcceptable format = iota
	asJSON
	asProtobuf
)

// negotiate picks the first format that the client accepts; protobuf names the subtypes that mean it.
func negotiate(r *http.Request, protobuf ...string) format {
	accept := r.Header.Get("Accept")
	if accept == "" {
		return asJSON
	}
	for _, clause := range goautoneg.ParseAccept(accept) {
		if clause.Type != "application" && clause.Type != "*" {
			continue
		}
		if clause.SubType == "json" || clause.SubType == "*" {
			return asJSON
		}
		for _, subType := range protobuf {
			if clause.SubType == subType {
				return asProtobuf
			}
		}
	}
	return notAcceptable
}

var errNoDocument = errors.New("the document is not in the archive")
