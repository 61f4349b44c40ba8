// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRegistriesAsText(t *testing.T) {
	f, err := Lookup("registries")
	if err != nil || f.Flag != "registry-mirror" || f.Env != "HIVEMIND_REGISTRY_MIRROR" {
		t.Fatalf("%+v, %v", f, err)
	}
	for _, c := range []struct {
		text    string
		want    []Registry
		wantErr string
	}{
		{"docker.io=https://mirror.example", []Registry{{Host: "docker.io", Endpoints: []string{"https://mirror.example"}}}, ""},
		{
			"10.0.0.5:5000=http://a:1,http://b:2,exclusive *=https://c/v2/any,skipVerify,caFile=/etc/ca.pem,certFile=/c,keyFile=/k",
			[]Registry{
				{Host: "10.0.0.5:5000", Endpoints: []string{"http://a:1", "http://b:2"}, Exclusive: true},
				{Host: "*", Endpoints: []string{"https://c/v2/any"}, SkipVerify: true, CAFile: "/etc/ca.pem", CertFile: "/c", KeyFile: "/k"},
			}, "",
		},
		{"", nil, ""},
		{"https://mirror.example", nil, `"https://mirror.example" is not HOST=ENDPOINT, such as docker.io=https://mirror.example`},
		{"https://docker.io=https://mirror.example", nil, "is not HOST=ENDPOINT"},
		{"=https://mirror.example", nil, "is not HOST=ENDPOINT"},
		{"docker.io=mirror.example", nil, `"mirror.example" is neither an endpoint, which begins with http:// or https://, nor an option`},
		{"docker.io=http://a,exclusiv", nil, `unknown key "exclusiv": did you mean "exclusive"?`},
		{"docker.io=http://a,exclusive=perhaps", nil, `exclusive: "perhaps" is neither true nor false`},
	} {
		cfg := &Config{}
		err := f.Set(cfg, c.text)
		if (err != nil) != (c.wantErr != "") || err != nil && !strings.Contains(err.Error(), c.wantErr) {
			t.Errorf("Set(%q): error %v, want %q", c.text, err, c.wantErr)
			continue
		}
		if diff := cmp.Diff(c.want, cfg.Registries); diff != "" {
			t.Errorf("Set(%q), -want +got:\n%s", c.text, diff)
		}
		if got := f.Get(cfg); err == nil && got != c.text {
			t.Errorf("Get = %q, want %q", got, c.text)
		}
	}
}

func TestParseRegistries(t *testing.T) {
	for name, c := range map[string]struct {
		text    string
		want    []Registry
		wantErr []string
	}{
		"all keys": {
			text: "registries:\n- {host: docker.io, endpoints: [https://a.example, http://b:5000], exclusive: true}\n" +
				"- {host: ghcr.io, endpoints: [https://a.example], skipVerify: true, caFile: /ca, certFile: /c, keyFile: /k}",
			want: []Registry{
				{Host: "docker.io", Endpoints: []string{"https://a.example", "http://b:5000"}, Exclusive: true},
				{Host: "ghcr.io", Endpoints: []string{"https://a.example"}, SkipVerify: true, CAFile: "/ca", CertFile: "/c", KeyFile: "/k"},
			},
		},
		"one endpoint needs no list": {text: "registries: [{host: a.b, endpoints: http://c}]", want: []Registry{{Host: "a.b", Endpoints: []string{"http://c"}}}},
		"none":                       {text: "registries:\n"},
		"not a list":                 {text: "registries: {docker.io: https://a.example}", wantErr: []string{"registries:", "is not a list", "hyphen"}},
		"item without keys":          {text: "registries: ['docker.io=https://a']", wantErr: []string{`registries[0]: "docker.io=https://a" has no keys`}},
		"misspelt key":               {text: "registries: [{host: a.b, endpoint: http://c}]", wantErr: []string{`registries[0]: unknown key "endpoint": did you mean "endpoints"?`}},
		"all that is wrong is told": {
			text:    "registries: [{host: a.b, exclusive: maybe}, {hosts: c}]",
			wantErr: []string{`registries[0].exclusive: "maybe" is neither true nor false`, `registries[1]: unknown key "hosts": did you mean "host"?`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got Config
			err := Parse([]byte(c.text), &got)
			if (err != nil) != (len(c.wantErr) > 0) {
				t.Fatalf("error %v, want %q", err, c.wantErr)
			}
			for _, want := range c.wantErr {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not contain %q", err, want)
				}
			}
			if diff := cmp.Diff(c.want, got.Registries); err == nil && diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestValidateRegistries(t *testing.T) {
	ok := []string{"https://mirror.example"}
	for name, c := range map[string]struct {
		registries []Registry
		want       string // "" for valid
	}{
		"a name":                    {[]Registry{{Host: "docker.io", Endpoints: ok}}, ""},
		"an address with a port":    {[]Registry{{Host: "10.0.0.5:5000", Endpoints: ok}}, ""},
		"an IPv6 address":           {[]Registry{{Host: "[2001:db8::1]:5000", Endpoints: ok}}, ""},
		"localhost":                 {[]Registry{{Host: "localhost:5000", Endpoints: []string{"http://[::1]:5001/v2/cache"}}}, ""},
		"all":                       {[]Registry{{Host: "*", Endpoints: ok, Exclusive: true}}, ""},
		"no host":                   {[]Registry{{Endpoints: ok}}, "registries[0].host: Required value"},
		"host is a URL":             {[]Registry{{Host: "https://docker.io", Endpoints: ok}}, "registries[0].host"},
		"host with a path":          {[]Registry{{Host: "docker.io/library", Endpoints: ok}}, "registries[0].host"},
		"host leads out":            {[]Registry{{Host: "..", Endpoints: ok}}, "registries[0].host"},
		"port out of range":         {[]Registry{{Host: "a.b:65536", Endpoints: ok}}, "registries[0].host"},
		"the registry's own alias":  {[]Registry{{Host: "index.docker.io", Endpoints: ok}}, "is docker.io in image references"},
		"twice":                     {[]Registry{{Host: "a.b", Endpoints: ok}, {Host: "a.b", Endpoints: ok}}, "registries[1].host"},
		"no endpoint":               {[]Registry{{Host: "a.b"}}, "registries[0].endpoints: Required value"},
		"endpoint without a scheme": {[]Registry{{Host: "a.b", Endpoints: []string{"mirror.example"}}}, "registries[0].endpoints[0]"},
		"endpoint of another kind":  {[]Registry{{Host: "a.b", Endpoints: []string{"https://c", "ftp://c"}}}, "registries[0].endpoints[1]"},
		"endpoint without a host":   {[]Registry{{Host: "a.b", Endpoints: []string{"https:///v2"}}}, "registries[0].endpoints[0]"},
		"endpoint with a query":     {[]Registry{{Host: "a.b", Endpoints: []string{"https://c/?ns=d"}}}, "registries[0].endpoints[0]"},
		"relative authority":        {[]Registry{{Host: "a.b", Endpoints: ok, CAFile: "ca.pem"}}, "registries[0].caFile"},
		"certificate without a key": {[]Registry{{Host: "a.b", Endpoints: ok, CertFile: "/c.pem"}}, "registries[0].certFile"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := &Config{Registries: c.registries}
			SetDefaults(cfg)
			errs := Validate(cfg)
			if c.want == "" {
				if len(errs) > 0 {
					t.Error(errs)
				}
				return
			}
			if len(errs) != 1 || !strings.Contains(errs[0].Error(), c.want) {
				t.Errorf("errors %v, want one with %q", errs, c.want)
			}
		})
	}
}
