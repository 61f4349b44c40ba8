// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hivemind-project/hivemind/apis/config"
)

func newConfig(dir string) *config.Config {
	c := &config.Config{DataDir: dir}
	config.SetDefaults(c)
	return c
}

func TestOpenNotesVersionAndConfiguration(t *testing.T) {
	c := newConfig(filepath.Join(t.TempDir(), "new"))
	if kept, err := Kept(c.DataDir); kept != nil || err != nil {
		t.Fatalf("before: %v, %v", kept, err)
	}
	for range 2 {
		if err := Open(c, "v1.2.3"); err != nil {
			t.Fatal(err)
		}
	}
	note, err := os.ReadFile(c.Path("version"))
	if err != nil || string(note) != "2 v1.2.3\n" {
		t.Errorf("version %q, %v", note, err)
	}
	kept, err := Kept(c.DataDir)
	if err != nil || kept.Network.PodCIDR != c.Network.PodCIDR || kept.DataDir != c.DataDir {
		t.Errorf("kept %+v, %v", kept, err)
	}
	left, err := filepath.Glob(c.Path(".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v, %v", left, err)
	}
}

func TestCheckRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		version string
		change  func(*config.Config)
		want    string
	}{
		"a newer format":         {version: "3 v9.0.0\n", want: "was written by hivemind v9.0.0 (format 3; this one knows up to 2)"},
		"no version at all":      {version: "gibberish", want: `holds "gibberish", which is not a version`},
		"another pod range":      {change: func(c *config.Config) { c.Network.PodCIDR = "10.8.0.0/16" }, want: "network.podCIDR"},
		"another service range":  {change: func(c *config.Config) { c.Network.ServiceCIDR = "10.8.0.0/16" }, want: "network.serviceCIDR"},
		"another cluster domain": {change: func(c *config.Config) { c.Network.ClusterDomain = "a.b" }, want: "network.clusterDomain"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := newConfig(t.TempDir())
			if err := Open(cfg, "v1"); err != nil {
				t.Fatal(err)
			}
			if c.version != "" {
				if err := os.WriteFile(cfg.Path("version"), []byte(c.version), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.change != nil {
				c.change(cfg)
			}
			before, err := os.ReadFile(cfg.Path("config.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			err = Open(cfg, "v1")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			if newer := new(NewerError); errors.As(err, &newer) != strings.Contains(name, "newer") {
				t.Errorf("%v: wrong kind of error", err)
			}
			after, err := os.ReadFile(cfg.Path("config.yaml"))
			if err != nil || string(after) != string(before) {
				t.Error("a refused directory was written to")
			}
		})
	}
}
