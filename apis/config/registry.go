// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// AnyRegistry as a Registry's host stands for every registry that has no entry of its own.
const AnyRegistry = "*"

// Registry says from where images of one registry are pulled. As text it is one word:
//
//	HOST=ENDPOINT[,ENDPOINT…][,OPTION[=VALUE]…]
//	docker.io=https://mirror.example,http://10.0.0.5:5000,exclusive
//
// with the options named as the keys of the file are.
type Registry struct {
	// Host as in image references, such as docker.io or 10.0.0.5:5000; * for all that are not named.
	Host string `json:"host"`
	// Endpoints are URLs of registries with the same images, tried in this order. /v2 is added to a path, as the OCI distribution
	// specification has it, but for one that begins with /v2, which is taken as it is.
	Endpoints []string `json:"endpoints"`
	// Exclusive endpoints are the only ones asked. Otherwise what none of them has is asked of Host itself.
	Exclusive bool `json:"exclusive,omitempty"`
	// SkipVerify takes any certificate from the endpoints.
	SkipVerify bool `json:"skipVerify,omitempty"`
	// CAFile has authorities, in PEM, that certificates of the endpoints may be from, beside those that the machine trusts.
	CAFile string `json:"caFile,omitempty"`
	// CertFile and KeyFile are what is shown to endpoints that ask for a client's certificate, in PEM.
	CertFile string `json:"certFile,omitempty"`
	KeyFile  string `json:"keyFile,omitempty"`
}

// String returns r as text.
func (r Registry) String() string {
	parts := slices.Clone(r.Endpoints)
	for _, o := range registryOptions() {
		switch v := reflect.ValueOf(r).FieldByIndex(o.index); {
		case v.IsZero():
		case o.Bool:
			parts = append(parts, o.Key)
		default:
			parts = append(parts, o.Key+"="+v.String())
		}
	}
	return r.Host + "=" + strings.Join(parts, ",")
}

// registryOptions are the keys of Registry that its text names.
func registryOptions() []Field {
	return slices.DeleteFunc(fieldsOf(reflect.TypeFor[Registry](), "", nil), func(f Field) bool {
		return f.Key == "host" || f.Key == "endpoints"
	})
}

func formatRegistries(registries []Registry) string {
	words := make([]string, len(registries))
	for i, r := range registries {
		words[i] = r.String()
	}
	return strings.Join(words, " ")
}

// parseRegistries reads texts of registries with spaces between them.
func parseRegistries(text string) ([]Registry, error) {
	var registries []Registry
	for _, word := range strings.Fields(text) {
		r, err := parseRegistry(word)
		if err != nil {
			return nil, err
		}
		registries = append(registries, r)
	}
	return registries, nil
}

func parseRegistry(text string) (Registry, error) {
	host, rest, ok := strings.Cut(text, "=")
	if !ok || host == "" || strings.Contains(host, "://") {
		return Registry{}, fmt.Errorf("%q is not HOST=ENDPOINT, such as docker.io=https://mirror.example", text)
	}
	r := Registry{Host: host}
	for _, part := range splitList(rest) {
		if strings.Contains(part, "://") {
			r.Endpoints = append(r.Endpoints, part)
			continue
		}
		name, value, given := strings.Cut(part, "=")
		option, err := registryKey(name, registryOptions())
		if err != nil {
			return Registry{}, fmt.Errorf("%q: %q is neither an endpoint, which begins with http:// or https://, nor an option: %w", text, part, err)
		}
		if option.Bool && !given {
			value = "true"
		}
		if err := setText(reflect.ValueOf(&r).Elem().FieldByIndex(option.index), value); err != nil {
			return Registry{}, fmt.Errorf("%q: %s: %w", text, name, err)
		}
	}
	return r, nil
}

// readRegistries reads what the file has under the key path.
func readRegistries(value any, path string, into *[]Registry) []error {
	if value == nil {
		return nil
	}
	list, ok := value.([]any)
	if !ok {
		return []error{fmt.Errorf("%s: %q is not a list: begin each registry with a hyphen, as in \"- host: docker.io\"", path, fmt.Sprint(value))}
	}
	var errs []error
	registries := make([]Registry, len(list))
	for i, item := range list {
		at := path + "[" + strconv.Itoa(i) + "]"
		keys, ok := item.(map[string]any)
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %q has no keys: write host and endpoints", at, fmt.Sprint(item)))
			continue
		}
		errs = append(errs, readRegistry(keys, at, &registries[i])...)
	}
	*into = registries
	return errs
}

func readRegistry(keys map[string]any, path string, into *Registry) []error {
	var errs []error
	all := fieldsOf(reflect.TypeFor[Registry](), "", nil)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		value := keys[key]
		f, err := registryKey(key, all)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
			continue
		}
		text, err := textOf(value)
		if err == nil {
			err = setText(reflect.ValueOf(into).Elem().FieldByIndex(f.index), text)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s.%s: %w", path, key, err))
		}
	}
	return errs
}

func registryKey(name string, fields []Field) (Field, error) {
	known := make([]string, len(fields))
	for i, f := range fields {
		if f.Key == name {
			return f, nil
		}
		known[i] = f.Key
	}
	return Field{}, fmt.Errorf("unknown key %q: did you mean %q?", name, Nearest(name, known))
}

func validateRegistries(registries []Registry, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, r := range registries {
		at := path.Index(i)
		errs = append(errs, registryHost(at.Child("host"), r.Host)...)
		if seen[r.Host] {
			errs = append(errs, field.Invalid(at.Child("host"), r.Host, "is there twice: put all its endpoints in one entry, in the order to try them"))
		}
		seen[r.Host] = true
		if len(r.Endpoints) == 0 {
			errs = append(errs, field.Required(at.Child("endpoints"), "name a URL that images of "+r.Host+" are pulled from, such as https://mirror.example"))
		}
		for j, e := range r.Endpoints {
			errs = append(errs, endpoint(at.Child("endpoints").Index(j), e)...)
		}
		for _, f := range []struct{ key, value string }{{"caFile", r.CAFile}, {"certFile", r.CertFile}, {"keyFile", r.KeyFile}} {
			if f.value != "" && !filepath.IsAbs(f.value) {
				errs = append(errs, field.Invalid(at.Child(f.key), f.value, "must be an absolute path"))
			}
		}
		if (r.CertFile == "") != (r.KeyFile == "") {
			errs = append(errs, field.Invalid(at.Child("certFile"), r.CertFile, "must be set with keyFile, or neither"))
		}
	}
	return errs
}

// registryHost checks the first part of an image's name: a DNS name or an address, with a port or without.
func registryHost(path *field.Path, host string) field.ErrorList {
	switch host {
	case AnyRegistry:
		return nil
	case "":
		return field.ErrorList{field.Required(path, "name a registry as image references do, such as docker.io")}
	case "index.docker.io", "registry-1.docker.io":
		return field.ErrorList{field.Invalid(path, host, "is docker.io in image references")}
	}
	if _, err := netip.ParseAddrPort(host); err == nil {
		return nil
	}
	name, number, hasPort := strings.Cut(host, ":")
	n, err := strconv.Atoi(number)
	if hasPort && (err != nil || len(validation.IsValidPortNum(n)) > 0) || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return field.ErrorList{field.Invalid(path, host, "must be a registry as image references name it, such as docker.io or 10.0.0.5:5000, without https:// and without a path")}
	}
	return nil
}

func endpoint(path *field.Path, text string) field.ErrorList {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return field.ErrorList{field.Invalid(path, text, "must be a URL with http:// or https://, a host, and nothing behind its path, such as https://mirror.example")}
	}
	return nil
}
