// SPDX-License-Identifier: Apache-2.0

//go:build openapi

package main

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
)

//go:embed served.txt
var servedText string

// served is a resource as discovery tells of it.
type served struct {
	gv         schema.GroupVersion
	path       string // resource or resource/subresource
	kind       schema.GroupVersionKind
	namespaced bool
	verbs      []string
}

var standard = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

// parseServed reads served.txt.
func parseServed(text string) ([]served, error) {
	var all []served
	var gv schema.GroupVersion
	for number, line := range strings.Split(text, "\n") {
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		var err error
		switch {
		case len(fields) == 1:
			gv, err = schema.ParseGroupVersion(fields[0])
		case len(fields) == 4:
			s := served{gv: gv, path: fields[0], kind: gv.WithKind(fields[1]), namespaced: fields[2] == "namespaced", verbs: strings.Split(fields[3], ",")}
			if parts := strings.Split(fields[1], "/"); len(parts) == 3 {
				s.kind = schema.GroupVersionKind{Group: parts[0], Version: parts[1], Kind: parts[2]}
			}
			if fields[3] == "standard" {
				s.verbs = standard
			}
			all = append(all, s)
		default:
			err = fmt.Errorf("want 1 or 4 words, not %d", len(fields))
		}
		if err != nil {
			return nil, fmt.Errorf("served.txt, line %d: %w", number+1, err)
		}
	}
	return all, nil
}

// storage returns a stand-in that has the interfaces of the resource's real storage, which are what the documents are
// made from.
func (s served) storage(scheme *runtime.Scheme) (rest.Storage, error) {
	b := resource{s, scheme}
	if _, err := scheme.New(s.kind); err != nil {
		return nil, err
	}
	is := func(verbs ...string) bool { return slices.Equal(s.verbs, verbs) }
	_, sub, isSub := strings.Cut(s.path, "/")
	switch {
	case sub == "log":
		return logs{b}, nil
	case sub == "proxy":
		return proxy{connecter{b, []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}}}, nil
	case strings.HasSuffix(s.kind.Kind, "Options"):
		return connecter{b, []string{"GET", "POST"}}, nil
	case isSub && is("create"):
		return namedCreater{b}, nil
	case is("create"):
		return creater{b}, nil
	case is("get", "patch", "update"):
		return updater{b}, nil
	case is("update"):
		return finalizer{b}, nil
	case is("get", "list"):
		return reader{b}, nil
	case is(standard...):
		return full{collection{b}}, nil
	case is("create", "delete", "get", "list", "patch", "update", "watch"):
		return collection{b}, nil
	}
	return nil, fmt.Errorf("no storage has the verbs %v of %s", s.verbs, s.path)
}
