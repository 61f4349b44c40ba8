// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"
	openapiv2 "k8s.io/kube-aggregator/pkg/controllers/openapi/aggregator"
	openapiv3 "k8s.io/kube-aggregator/pkg/controllers/openapiv3/aggregator"
	merge "k8s.io/kube-openapi/pkg/aggregator"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/openapiconv"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Documents of aggregated servers are asked for when a client wants the whole, and believed for a while: where nobody asks, they
// cost nothing.
const (
	believeAggregated = time.Minute
	// retryAggregated is how soon after a failure a server is asked again.
	retryAggregated = 5 * time.Second
	// aggregatedTimeout is how long a client that wants the whole is kept waiting for one server's part.
	aggregatedTimeout = 5 * time.Second
)

// aggregatedServers are the servers that answer for group versions in place of this one.
type aggregatedServers struct {
	mu  sync.RWMutex
	all map[schema.GroupVersion]*aggregatedServer
}

// aggregatedServer is what is known of the documents of one group version. Once learned, they stay until there are newer ones.
type aggregatedServer struct {
	gv      schema.GroupVersion
	handler http.Handler

	mu     sync.Mutex
	v2, v3 knowledge
	part   *addition // to the document of version 2
	index  map[string]handler3.OpenAPIV3DiscoveryGroupVersion
	// converted is the document of version 3 where the server has none of that version; nil otherwise.
	converted *handler3.OpenAPIService
}

// knowledge is how fresh a document is.
type knowledge struct {
	etag string
	next time.Time // when to ask again
}

// SetAggregated says that handler, a server, answers for a group and version, or with nil that none does any more. Its
// documents are read anew when they are wanted next.
func (s *Server) SetAggregated(gv schema.GroupVersion, handler http.Handler) {
	if gv.Group == "" {
		return // whoever answers for the core has no document of its own
	}
	s.aggregated.mu.Lock()
	defer s.aggregated.mu.Unlock()
	if handler == nil {
		delete(s.aggregated.all, gv)
		return
	}
	if s.aggregated.all == nil {
		s.aggregated.all = map[schema.GroupVersion]*aggregatedServer{}
	}
	server := s.aggregated.all[gv]
	if server == nil || server.handler != handler {
		s.aggregated.all[gv] = &aggregatedServer{gv: gv, handler: handler}
		return
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	server.v2.next, server.v3.next = time.Time{}, time.Time{}
}

// servers are the aggregated servers, by name.
func (a *aggregatedServers) servers() []*aggregatedServer {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.SortedFunc(maps.Values(a.all), func(x, y *aggregatedServer) int { return strings.Compare(x.gv.String(), y.gv.String()) })
}

// parts asks all servers, at the same time, for what they add to the document of version 2.
func (a *aggregatedServers) parts() []*addition {
	var parts []*addition
	servers := a.servers()
	a.each(servers, (*aggregatedServer).refreshV2)
	for _, server := range servers {
		server.mu.Lock()
		if server.part != nil {
			parts = append(parts, server.part)
		}
		server.mu.Unlock()
	}
	return parts
}

// paths asks all servers, at the same time, where their documents of version 3 are.
func (a *aggregatedServers) paths() map[string]handler3.OpenAPIV3DiscoveryGroupVersion {
	paths := map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}
	servers := a.servers()
	a.each(servers, (*aggregatedServer).refreshV3)
	for _, server := range servers {
		server.mu.Lock()
		maps.Copy(paths, server.index)
		server.mu.Unlock()
	}
	return paths
}

// each does the same for every server, at the same time.
func (*aggregatedServers) each(servers []*aggregatedServer, do func(*aggregatedServer)) {
	var wg sync.WaitGroup
	for _, server := range servers {
		wg.Go(func() {
			server.mu.Lock()
			defer server.mu.Unlock()
			do(server)
		})
	}
	wg.Wait()
}

// v3Handler is who answers for the document of version 3 at path, such as apis/example.org/v1; nil where no aggregated server does.
func (a *aggregatedServers) v3Handler(path string) http.Handler {
	for _, server := range a.servers() {
		if !server.owns(path) {
			continue
		}
		server.mu.Lock()
		defer server.mu.Unlock()
		server.refreshV3()
		switch {
		case server.index == nil:
			return nil
		case server.converted != nil:
			return http.HandlerFunc(server.converted.HandleGroupVersion)
		}
		return server.handler
	}
	return nil
}

// owns tells whether the document at path is the server's business: that of its version, and that of its group.
func (s *aggregatedServer) owns(path string) bool {
	return path == "apis/"+s.gv.Group || path == "apis/"+s.gv.String()
}

// fails notes that the server has not answered, and says so once in a while.
func (s *aggregatedServer) fails(k *knowledge, err error) {
	k.next = time.Now().Add(retryAggregated)
	klog.V(2).InfoS("An aggregated server does not tell of its API's structure", "groupVersion", s.gv, "reason", err)
}

func (s *aggregatedServer) patiently() http.Handler {
	return http.TimeoutHandler(s.handler, aggregatedTimeout, "request timed out")
}

// refreshV2 and refreshV3 ask the server unless it was asked a short while ago. s.mu is held.

func (s *aggregatedServer) refreshV2() {
	if time.Now().Before(s.v2.next) {
		return
	}
	whole, etag, err := s.download(s.v2.etag)
	if err == nil && whole != nil {
		var part *addition
		if part, err = newPart(s.gv, whole, etag); err == nil {
			s.part, s.v2.etag = part, etag
		}
	}
	if err != nil {
		s.fails(&s.v2, err)
		return
	}
	s.v2.next = time.Now().Add(believeAggregated)
}

// download reads the server's document of version 2; nil where it still is that of etag.
func (s *aggregatedServer) download(etag string) (whole *spec.Swagger, newETag string, err error) {
	downloader := openapiv2.NewDownloader()
	whole, newETag, status, err := downloader.Download(s.patiently(), etag)
	if err == nil && status != http.StatusNotModified && whole == nil {
		err = errors.New(http.StatusText(status))
	}
	return whole, newETag, err
}

// newPart is what a server adds to the document of version 2, of which it told the whole.
func newPart(gv schema.GroupVersion, whole *spec.Swagger, etag string) (*addition, error) {
	own := merge.FilterSpecByPathsWithoutSideEffects(whole, []string{"/apis/" + gv.String() + "/"})
	data, err := json.Marshal(own)
	if err != nil {
		return nil, err
	}
	if _, err := handler.ToProtoBinary(data); err != nil {
		return nil, err // it would spoil the whole
	}
	part := &addition{state: gv.String() + etag}
	part.json, err = split(data)
	return part, err
}

func (s *aggregatedServer) refreshV3() {
	if time.Now().Before(s.v3.next) {
		return
	}
	downloader := openapiv3.NewDownloader()
	root, status, err := downloader.OpenAPIV3Root(s.patiently())
	switch {
	case err != nil:
	case status == http.StatusNotFound:
		err = s.convertV2()
	default:
		s.converted, s.v3.etag, s.index = nil, "", map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}
		for path, at := range root.Paths {
			if s.owns(path) {
				s.index[path] = at
			}
		}
	}
	if err != nil {
		s.fails(&s.v3, err)
		return
	}
	s.v3.next = time.Now().Add(believeAggregated)
}

// convertV2 makes the document of version 3 of that of version 2.
func (s *aggregatedServer) convertV2() error {
	whole, etag, err := s.download(s.v3.etag)
	if err != nil || whole == nil {
		return err
	}
	converted := handler3.NewOpenAPIService()
	converted.UpdateGroupVersion("apis/"+s.gv.String(), openapiconv.ConvertV2ToV3(whole))
	answer := newRecorder()
	converted.HandleDiscovery(answer, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: v3Path}, Header: http.Header{}})
	var index handler3.OpenAPIV3Discovery
	if err := json.Unmarshal(answer.body.Bytes(), &index); err != nil {
		return err
	}
	s.converted, s.index, s.v3.etag = converted, index.Paths, etag
	return nil
}

// recorder is an answer in memory.
type recorder struct {
	header http.Header
	body   bytes.Buffer
}

func newRecorder() *recorder { return &recorder{header: http.Header{}} }

func (r *recorder) Header() http.Header            { return r.header }
func (r *recorder) WriteHeader(int)                {}
func (r *recorder) Write(data []byte) (int, error) { return r.body.Write(data) }
