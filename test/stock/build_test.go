// SPDX-License-Identifier: Apache-2.0

package stock

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBuildRefusesUnknownNames(t *testing.T) {
	_, err := Build(t.Context(), io.Discard, "etcd", "kubelett")
	if err == nil || !strings.Contains(err.Error(), `"kubelett"`) || !strings.Contains(err.Error(), "kube-apiserver") {
		t.Errorf("Build(kubelett): %v, want an error with the name and those that there are", err)
	}
}

func TestChooseAll(t *testing.T) {
	got, err := choose(nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(programs) {
		t.Errorf("choose(nil) has %d programs, want all %d", len(got), len(programs))
	}
}

func TestArgs(t *testing.T) {
	for _, test := range []struct {
		program string
		want    []string
		ldflag  string
	}{
		{"etcd", []string{"build", "-o", "out", "go.etcd.io/etcd/server/v3"}, "-s -w"},
		{"kubectl", []string{"build", "-tags", tags, "-o", "out", "k8s.io/kubernetes/cmd/kubectl"}, "-X k8s.io/client-go/pkg/version.gitMinor=36"},
		{"e2e.test", []string{"test", "-c", "-tags", tags, "-o", "out", "k8s.io/kubernetes/test/e2e"}, "-X k8s.io/component-base/version.gitVersion=v1.36.3"},
	} {
		t.Run(test.program, func(t *testing.T) {
			p, err := choose([]string{test.program})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			var ldflags string
			args := p[0].args("out", "v1.36.3")
			for i := 0; i < len(args); i++ {
				if args[i] == "-ldflags" {
					i++
					ldflags = args[i]
					continue
				}
				got = append(got, args[i])
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
			if !strings.Contains(ldflags, test.ldflag) {
				t.Errorf("-ldflags %q lacks %q", ldflags, test.ldflag)
			}
		})
	}
}

func TestStampFollowsModule(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stamp := func(args ...string) string {
		s, err := stampOf(dir, args)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	write("go.mod", "module m")
	write("go.sum", "")
	first := stamp("build", "a")
	if stamp("build", "a") != first {
		t.Error("the stamp changes although nothing has changed")
	}
	if stamp("build", "b") == first {
		t.Error("the stamp does not change with the arguments")
	}
	write("go.sum", "x v1 h1:")
	if stamp("build", "a") == first {
		t.Error("the stamp does not change with go.sum")
	}
}
