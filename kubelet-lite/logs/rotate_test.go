// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// fakeRuntime runs one container, named c of the pod with uid u, on its first attempt.
type fakeRuntime struct {
	cri.RuntimeService
	log      string
	reopened int
	err      error
}

func (f *fakeRuntime) ListContainers(_ context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	if filter.LabelSelector["io.kubernetes.pod.uid"] != "u" || filter.LabelSelector["io.kubernetes.container.name"] != "c" {
		return nil, nil
	}
	return []*runtimeapi.Container{{Id: "id", Metadata: &runtimeapi.ContainerMetadata{Name: "c", Attempt: 1}}}, nil
}

func (f *fakeRuntime) ReopenContainerLog(context.Context, string) error {
	if f.err != nil {
		return f.err
	}
	f.reopened++
	return os.WriteFile(f.log, nil, 0o640)
}

func TestRotate(t *testing.T) {
	const big = "0123456789"
	for name, tc := range map[string]struct {
		log    string // below the root
		before []string
		fail   error
		want   []string
	}{
		"first":                              {"ns_p_u/c/1.log", nil, nil, []string{"1.log", "1.log.20300101-000000"}},
		"second":                             {"ns_p_u/c/1.log", []string{"1.log.20291231-000000"}, nil, []string{"1.log", "1.log.20291231-000000.gz", "1.log.20300101-000000"}},
		"oldest goes":                        {"ns_p_u/c/1.log", []string{"1.log.20291230-000000.gz", "1.log.20291231-000000"}, nil, []string{"1.log", "1.log.20291231-000000.gz", "1.log.20300101-000000"}},
		"after a crash":                      {"ns_p_u/c/1.log", []string{"1.log.20291231-000000.gz.tmp", "1.log.20291231-000000", "1.log.20291231-000000.gz"}, nil, []string{"1.log", "1.log.20291231-000000.gz", "1.log.20300101-000000"}},
		"runtime does not reopen":            {"ns_p_u/c/1.log", nil, errors.New("gone"), []string{"1.log"}},
		"an earlier run's is left":           {"ns_p_u/c/0.log", nil, nil, []string{"0.log"}},
		"of a container that has ended":      {"ns_p_other/c/1.log", nil, nil, []string{"1.log"}},
		"a file of somebody else's is left":  {"ns_p_u/c/x.log", nil, nil, []string{"x.log"}},
		"a directory of somebody else's too": {"odd/c/1.log", nil, nil, []string{"1.log"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, tc.log)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			for _, f := range append(tc.before, filepath.Base(path)) {
				if err := os.WriteFile(filepath.Join(filepath.Dir(path), f), []byte(big), 0o640); err != nil {
					t.Fatal(err)
				}
			}
			rt := &fakeRuntime{log: path, err: tc.fail}
			r := NewRotator(rt, root, int64(len(big)), 3)
			r.now = func() time.Time { return time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC) }
			if err := r.Rotate(t.Context()); !errors.Is(err, tc.fail) {
				t.Errorf("error %v, want %v", err, tc.fail)
			}
			// The new one is empty: nothing to do.
			if tc.fail == nil {
				before := rt.reopened
				if err := r.Rotate(t.Context()); err != nil || rt.reopened != before {
					t.Errorf("an empty log was rotated: %v", err)
				}
			}
			entries, err := os.ReadDir(filepath.Dir(path))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range entries {
				got = append(got, e.Name())
			}
			slices.Sort(got)
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}
