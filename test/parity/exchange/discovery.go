// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	parityschema "github.com/hivemind-project/hivemind/test/parity/schema"
)

// Resource is a kind as a server serves it.
type Resource struct {
	schema.GroupVersionKind
	Plural     string
	Namespaced bool
	Verbs      []string
	// Subresources are the names behind the slash.
	Subresources []string
}

// Has says that the resource has the verb.
func (r Resource) Has(verb string) bool { return slices.Contains(r.Verbs, verb) }

// HasStatus says that there is a status subresource.
func (r Resource) HasStatus() bool { return slices.Contains(r.Subresources, "status") }

// Stored says that objects of the kind can be made and read again.
func (r Resource) Stored() bool { return r.Has("create") && r.Has("get") }

// GroupPath is where the group and version is: /api/v1 or /apis/apps/v1.
func GroupPath(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "/api/" + gv.Version
	}
	return "/apis/" + gv.String()
}

// Path is where the objects are.
func (r Resource) Path(namespace string) string {
	if !r.Namespaced {
		return GroupPath(r.GroupVersion()) + "/" + r.Plural
	}
	return GroupPath(r.GroupVersion()) + "/namespaces/" + namespace + "/" + r.Plural
}

// get decodes what is answered into v.
func (s *Server) get(ctx context.Context, r Request, v any) error {
	answer, err := s.Do(ctx, r)
	if err != nil {
		return err
	}
	if !answer.OK() || answer.Body == nil {
		return fmt.Errorf("%s: %s: %d %s%v", s.Name, r, answer.Code, answer.Text, answer.Body["message"])
	}
	data, err := json.Marshal(answer.Body)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// aggregated asks for all groups and what is in them at once (KEP 3352), as newer clients do.
const aggregated = "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io"

// GroupVersions are those that the server has, the core group first.
func (s *Server) GroupVersions(ctx context.Context) ([]schema.GroupVersion, error) {
	var groups apidiscoveryv2.APIGroupDiscoveryList
	if err := s.get(ctx, Request{Method: http.MethodGet, Path: "/apis", Accept: aggregated}, &groups); err != nil {
		return nil, err
	}
	out := []schema.GroupVersion{{Version: "v1"}}
	for _, g := range groups.Items {
		for _, v := range g.Versions {
			out = append(out, schema.GroupVersion{Group: g.Name, Version: v.Version})
		}
	}
	return out, nil
}

// Resources are all that the server has, in order of group, version and plural.
func (s *Server) Resources(ctx context.Context) ([]Resource, error) {
	versions, err := s.GroupVersions(ctx)
	if err != nil {
		return nil, err
	}
	var out []Resource
	for _, gv := range versions {
		var list metav1.APIResourceList
		if err := s.get(ctx, Request{Method: http.MethodGet, Path: GroupPath(gv)}, &list); err != nil {
			return nil, err
		}
		subresources := map[string][]string{}
		for _, r := range list.APIResources {
			if parent, sub, ok := strings.Cut(r.Name, "/"); ok {
				subresources[parent] = append(subresources[parent], sub)
			}
		}
		for _, r := range list.APIResources {
			if !strings.Contains(r.Name, "/") {
				out = append(out, Resource{gv.WithKind(r.Kind), r.Name, r.Namespaced, r.Verbs, subresources[r.Name]})
			}
		}
	}
	slices.SortFunc(out, func(a, b Resource) int {
		return strings.Compare(a.GroupVersion().String()+"/"+a.Plural, b.GroupVersion().String()+"/"+b.Plural)
	})
	return out, nil
}

// Schemas reads the OpenAPI v3 document of a group and version.
func (s *Server) Schemas(ctx context.Context, gv schema.GroupVersion, into parityschema.Schemas) error {
	answer, err := s.Do(ctx, Request{Method: http.MethodGet, Path: "/openapi/v3" + GroupPath(gv)})
	if err != nil {
		return err
	}
	if !answer.OK() {
		return fmt.Errorf("%s: /openapi/v3%s: %d %s", s.Name, GroupPath(gv), answer.Code, answer.Text)
	}
	data, err := json.Marshal(answer.Body)
	if err != nil {
		return err
	}
	return into.Add(data)
}

// Version is what the server says it is.
func (s *Server) Version(ctx context.Context) (string, error) {
	var v struct {
		GitVersion string `json:"gitVersion"`
	}
	err := s.get(ctx, Request{Method: http.MethodGet, Path: "/version"}, &v)
	return v.GitVersion, err
}
