// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"

	"github.com/hivemind-project/hivemind/apis/config"
)

func TestHosts(t *testing.T) {
	plain := map[string]any{"capabilities": []any{"pull", "resolve"}}
	with := func(key string, value any) map[string]any {
		return map[string]any{"capabilities": []any{"pull", "resolve"}, key: value}
	}
	for name, c := range map[string]struct {
		registry config.Registry
		want     map[string]any
	}{
		"the registry itself is asked last": {
			config.Registry{Endpoints: []string{"https://mirror.example", "http://10.0.0.5:5000"}},
			map[string]any{"host": map[string]any{"https://mirror.example": plain, "http://10.0.0.5:5000": plain}},
		},
		"the last of exclusive endpoints takes its place": {
			config.Registry{Endpoints: []string{"https://mirror.example", "http://10.0.0.5:5000"}, Exclusive: true},
			map[string]any{"capabilities": []any{"pull", "resolve"}, "server": "http://10.0.0.5:5000", "host": map[string]any{"https://mirror.example": plain}},
		},
		"TLS is no matter of plain HTTP": {
			config.Registry{Endpoints: []string{"https://mirror.example", "http://10.0.0.5:5000"}, SkipVerify: true},
			map[string]any{"host": map[string]any{"https://mirror.example": with("skip_verify", true), "http://10.0.0.5:5000": plain}},
		},
		"authority": {
			config.Registry{Endpoints: []string{"https://mirror.example"}, CAFile: `/etc/a "b".pem`},
			map[string]any{"host": map[string]any{"https://mirror.example": with("ca", `/etc/a "b".pem`)}},
		},
		"client's certificate": {
			config.Registry{Endpoints: []string{"https://mirror.example"}, CertFile: "/c.pem", KeyFile: "/k.pem"},
			map[string]any{"host": map[string]any{"https://mirror.example": with("client", []any{[]any{"/c.pem", "/k.pem"}})}},
		},
		"a path that is not the specification's": {
			config.Registry{Endpoints: []string{"https://cache.example/v2/hub", "https://cache.example/hub"}},
			map[string]any{"host": map[string]any{"https://cache.example/v2/hub": with("override_path", true), "https://cache.example/hub": plain}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got map[string]any
			if err := toml.Unmarshal([]byte(hosts(c.registry)), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// The order in the file is the order of asking.
func TestHostsKeepTheirOrder(t *testing.T) {
	text := hosts(config.Registry{Endpoints: []string{"https://z.example", "https://a.example", "https://m.example"}})
	if z, a, m := strings.Index(text, "z.example"), strings.Index(text, "a.example"), strings.Index(text, "m.example"); z > a || a > m {
		t.Error(text)
	}
}

// A registry that is not configured any more is reached as if it never was; what people wrote stays.
func TestWriteRegistries(t *testing.T) {
	o := Options{DataDir: t.TempDir()}
	file := func(dir string) string { return filepath.Join(o.registries(), dir, "hosts.toml") }
	if err := os.MkdirAll(filepath.Dir(file("ghcr.io")), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file("ghcr.io"), []byte("# by hand"), 0o644); err != nil {
		t.Fatal(err)
	}
	endpoints := []string{"http://10.0.0.5:5000"}
	o.Registries = []config.Registry{{Host: "docker.io", Endpoints: endpoints}, {Host: config.AnyRegistry, Endpoints: endpoints}}
	if err := writeRegistries(&o); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"docker.io", "_default"} {
		if text, err := os.ReadFile(file(dir)); err != nil || !strings.Contains(string(text), `[host."http://10.0.0.5:5000"]`) {
			t.Errorf("%s: %q, %v", dir, text, err)
		}
	}
	o.Registries = o.Registries[1:]
	if err := writeRegistries(&o); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(file("docker.io")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("docker.io is still configured: %v", err)
	}
	if _, err := os.ReadFile(file("_default")); err != nil {
		t.Error(err)
	}
	if kept, err := os.ReadFile(file("ghcr.io")); err != nil || string(kept) != "# by hand" {
		t.Errorf("another's file: %q, %v", kept, err)
	}
	o.Registries[0].CAFile = filepath.Join(o.DataDir, "missing.pem")
	if err := writeRegistries(&o); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "missing.pem") {
		t.Errorf("a missing authority: %v", err)
	}
}
