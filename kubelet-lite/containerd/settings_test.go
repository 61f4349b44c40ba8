// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

func TestRender(t *testing.T) {
	o := Options{BinDir: "/data/bin/x", DataDir: `/data dir/"q"`, RunDir: "/run/hm", CNIBinDirs: []string{"/data/bin/x", "/opt/cni/bin"}, CNIConfDir: "/data/cni"}
	at := func(m map[string]any, path ...string) any {
		var v any = m
		for _, p := range path {
			v = v.(map[string]any)[p]
		}
		return v
	}
	for name, tc := range map[string]struct {
		m        machine
		oomScore any
		unpack   any
		disabled string
	}{
		"all allowed": {machine{"overlayfs", false, "docker.io/hivemind/pause:1", true}, int64(-999), nil, "io.containerd.snapshotter.v1.native"},
		"no right to lower the score, no overlayfs": {machine{"native", true, "docker.io/hivemind/pause:1", true}, nil,
			[]any{map[string]any{"platform": platform(), "snapshotter": "native", "differ": "walking"}}, "io.containerd.snapshotter.v1.overlayfs"},
	} {
		t.Run(name, func(t *testing.T) {
			text := render(&o, tc.m)
			var got map[string]any
			if err := toml.Unmarshal([]byte(text), &got); err != nil {
				t.Fatalf("%v in\n%s", err, text)
			}
			runtimeTable, images := "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images"
			for _, want := range []struct {
				value any
				path  []string
			}{
				{int64(4), []string{"version"}},
				{`/data dir/"q"/containerd`, []string{"root"}},
				{"/run/hm/containerd", []string{"state"}},
				{tc.oomScore, []string{"oom_score"}},
				{tc.m.restrictOOM, []string{"plugins", runtimeTable, "restrict_oom_score_adj"}},
				{tc.m.snapshotter, []string{"plugins", images, "snapshotter"}},
				{"docker.io/hivemind/pause:1", []string{"plugins", images, "pinned_images", "sandbox"}},
				{`/data dir/"q"/containerd/certs.d`, []string{"plugins", images, "registry", "config_path"}},
				{[]any{"/data/bin/x", "/opt/cni/bin"}, []string{"plugins", runtimeTable, "cni", "bin_dirs"}},
				{"/data/bin/x/runc", []string{"plugins", runtimeTable, "containerd", "runtimes", "runc", "options", "BinaryName"}},
				{"/run/hm/s", []string{"plugins", "io.containerd.shim.v1.manager", "socket_dir"}},
			} {
				if d := cmp.Diff(want.value, at(got, want.path...)); d != "" {
					t.Errorf("%s: %s", strings.Join(want.path, "."), d)
				}
			}
			if tc.unpack != nil {
				if d := cmp.Diff(tc.unpack, at(got, "plugins", "io.containerd.transfer.v1.local", "unpack_config")); d != "" {
					t.Error(d)
				}
			}
			if !strings.Contains(text, tc.disabled) || strings.Contains(text, "disabled_plugins") && strings.Contains(strings.Split(text, "[debug]")[0], "snapshotter.v1."+tc.m.snapshotter) {
				t.Errorf("disabled plugins in\n%s", text)
			}
		})
	}
}

// What is asked of the machine is taken back.
func TestInspectLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	before, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	mayLowerOOMScore()
	overlayWorks(dir)
	after, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("oom_score_adj was %s and is %s, %v", before, after, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if overlayWorks(filepath.Join(dir, "missing")) {
		t.Error("overlay works on a directory that is not there")
	}
}

func TestImageName(t *testing.T) {
	archive := func(name, text string) []byte {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	for name, tc := range map[string]struct {
		data []byte
		want string
		err  string
	}{
		"one":      {archive("index.json", `{"manifests":[{"annotations":{"io.containerd.image.name":"docker.io/a/b:1"}}]}`), "docker.io/a/b:1", ""},
		"unnamed":  {archive("index.json", `{"manifests":[{}]}`), "", "must have one image"},
		"two":      {archive("index.json", `{"manifests":[{},{}]}`), "", "must have one image"},
		"not json": {archive("index.json", `x`), "", "read index.json"},
		"no index": {archive("other", ``), "", "find index.json"},
		"no tar":   {[]byte("xxxx"), "", "find index.json"},
		"nothing":  {nil, "", "find index.json"},
	} {
		got, err := imageName(tc.data)
		if got != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: %q, %v; want %q, %s", name, got, err, tc.want, tc.err)
		}
	}
}

func TestReferences(t *testing.T) {
	for name, tc := range map[string]struct {
		blob string
		want map[string]string
	}{
		"manifest": {`{"config":{"digest":"sha256:c"},"layers":[{"digest":"sha256:0"},{"digest":"sha256:1"}]}`, map[string]string{
			"containerd.io/gc.ref.content.config": "sha256:c", "containerd.io/gc.ref.content.l.0": "sha256:0", "containerd.io/gc.ref.content.l.1": "sha256:1"}},
		"index": {`{"manifests":[{"digest":"sha256:m"}]}`, map[string]string{"containerd.io/gc.ref.content.m.0": "sha256:m"}},
		// An image's own configuration has a "config" too, which is no reference.
		"configuration": {`{"config":{"Entrypoint":["/x"]},"rootfs":{}}`, map[string]string{}},
		"layer":         {"\x1f\x8b{", nil},
		"nothing":       {"", nil},
	} {
		if d := cmp.Diff(tc.want, references([]byte(tc.blob))); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}
