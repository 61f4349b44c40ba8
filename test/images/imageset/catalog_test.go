// SPDX-License-Identifier: Apache-2.0

package imageset

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hivemind-project/hivemind/test/cluster"
)

// Each image that the suite knows is made, or there is a reason why not; and nothing else is here.
func TestCatalogIsTheSuites(t *testing.T) {
	root, err := cluster.ProjectRoot()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", "./imagenames")
	cmd.Dir = filepath.Join(root, "test", "upstream")
	cmd.Env = append(os.Environ(), "GOFLAGS=-trimpath -buildvcs=false -mod=readonly", "GOWORK=off")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	suites := strings.Fields(string(out))

	var ours []string
	for _, r := range catalog() {
		ours = append(ours, r.names...)
	}
	for _, name := range ours {
		if !slices.Contains(suites, name) {
			t.Errorf("%s is made, and the suite does not know it", name)
		}
	}
	used := map[string]bool{}
	for _, name := range suites {
		prefix := ""
		for p, reason := range Absent() {
			if strings.HasPrefix(name, p) && reason != "" {
				prefix, used[p] = p, true
			}
		}
		if made := slices.Contains(ours, name); made == (prefix != "") {
			t.Errorf("%s: made is %t, absent because of %q: want one of them", name, made, prefix)
		}
	}
	for p := range Absent() {
		if !used[p] {
			t.Errorf("%s: there is a reason why it is absent, and the suite does not know it", p)
		}
	}
}

func TestChoose(t *testing.T) {
	for name, c := range map[string]struct {
		names   []string
		want    []string // nil for all
		wantErr string
	}{
		"all":                    {},
		"by the repository":      {names: []string{"nginx"}, want: []string{testImages + "nginx:1.15-4", testImages + "nginx:1.27-0"}},
		"by the whole reference": {names: []string{testImages + "nginx:1.27-0"}, want: []string{testImages + "nginx:1.27-0"}},
		"twice the same":         {names: []string{"kitten", testImages + "kitten:1.8"}, want: []string{testImages + "kitten:1.8"}},
		"unknown":                {names: []string{"kitten", "puppy"}, wantErr: `there is no image "puppy"; there are agnhost, busybox, `},
		"unknown tag":            {names: []string{testImages + "kitten:2"}, wantErr: "there is no image"},
	} {
		t.Run(name, func(t *testing.T) {
			chosen, err := choose(c.names)
			if (err != nil) != (c.wantErr != "") || err != nil && !strings.Contains(err.Error(), c.wantErr) {
				t.Fatalf("error %v, want %q", err, c.wantErr)
			}
			var got []string
			for _, r := range chosen {
				got = append(got, r.names...)
			}
			want := c.want
			if want == nil && err == nil {
				for _, r := range catalog() {
					want = append(want, r.names...)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Programs are built once, however many images have them.
func TestProgramsOf(t *testing.T) {
	chosen, err := choose([]string{"agnhost", "kitten", "busybox", "resource-consumer"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"agnhost", "consume-cpu", "resource-consumer"}, programsOf(chosen)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestMirrorArgs(t *testing.T) {
	args := strings.Join((&Set{}).MirrorArgs("127.0.0.1:5000"), " ")
	for _, registry := range []string{"registry.k8s.io", "invalid.registry.k8s.io", "docker.io"} {
		if want := "--registry-mirror " + registry + "=http://127.0.0.1:5000,exclusive"; !strings.Contains(args, want) {
			t.Errorf("%q lacks %q", args, want)
		}
	}
}
