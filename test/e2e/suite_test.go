// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package e2e runs what the README promises on this machine, with the real bin/hivemind, stock kubectl and helm, and images pulled from a real
// registry. It needs root and takes a few minutes. One cluster serves the whole run: the steps of TestCluster build on each
// other, from the first `up` to the `reset` that must leave nothing.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hivemind-project/hivemind/hack/images/build"
	"github.com/hivemind-project/hivemind/test/cluster"
	"github.com/hivemind-project/hivemind/test/registry"
)

// What the private registry asks for.
const (
	pullUser     = "puller"
	pullPassword = "correct horse"
)

// suite is what the steps share.
type suite struct {
	*cluster.Cluster
	before          cluster.Machine
	public, private *registry.Registry
	images          map[string]build.Image
}

func TestCluster(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("these tests run containers, which only root can: sudo make test")
	}
	s := newSuite(t)
	for _, step := range []struct {
		name string
		run  func(t *testing.T)
		// needed is set where nothing that follows makes sense without.
		needed bool
	}{
		{"up", s.up, true},
		{"guestbook", s.guestbook, true},
		{"network", s.network, false},
		{"private image", s.privateImage, false},
		{"bad pods", s.badPods, false},
		{"container killed", s.containerKilled, false},
		{"another cluster beside it", s.beside, false},
		{"damaged file", s.damagedFile, false},
		{"full disk", s.fullDisk, false},
		{"down and up", s.downAndUp, false},
		{"killed in the middle of a rollout", s.killedInRollout, false},
		{"reset", s.reset, false},
	} {
		if !t.Run(step.name, step.run) && step.needed {
			break
		}
	}
}

// newSuite builds the images and starts the registries. Whatever happens, nothing of the cluster outlives the test.
func newSuite(t *testing.T) *suite {
	t.Helper()
	dir, err := os.MkdirTemp("", "hivemind-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{Cluster: c, images: map[string]build.Image{}}
	images, err := build.All(t.Context(), c.Root)
	if err != nil {
		t.Fatal(err)
	}
	if s.public, err = registry.Start("127.0.0.1:0", "", ""); err != nil {
		t.Fatal(err)
	}
	if s.private, err = registry.Start("127.0.0.1:0", pullUser, pullPassword); err != nil {
		t.Fatal(err)
	}
	for _, image := range images {
		for _, name := range image.Names {
			s.images[name] = image
			r := s.public
			if strings.HasPrefix(name, build.Private+"/") {
				r = s.private
			}
			if err := r.Push(t.Context(), name, image); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if _, err := os.Stat(s.Config.AdminKubeconfig()); err == nil && t.Failed() {
			s.tell(ctx, t)
		}
		_, err := s.Verb(ctx, "reset", "--yes")
		if err := errors.Join(err, s.public.Close(), s.private.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	if s.before, err = s.Look(); err != nil {
		t.Fatal(err)
	}
	return s
}

// tell logs what helps to understand a failure.
func (s *suite) tell(ctx context.Context, t *testing.T) {
	for _, args := range [][]string{{"get", "pods,pvc,pv,nodes", "-A", "-o", "wide"}, {"get", "events", "-A", "--sort-by=.lastTimestamp"}} {
		out, err := s.Kubectl(ctx, "", args...)
		t.Logf("%v\n%s", err, out)
	}
	for _, name := range []string{"hivemindd.log", "containerd.log"} {
		text, err := os.ReadFile(s.Config.Path("logs", name))
		if err != nil {
			t.Log(err)
		}
		t.Logf("the end of %s:\n%s", name, text[max(0, len(text)-8000):])
	}
}

// kubectl runs kubectl, which has to succeed.
func (s *suite) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.Kubectl(t.Context(), "", args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// apply creates what a manifest says.
func (s *suite) apply(t *testing.T, manifest string) {
	t.Helper()
	if _, err := s.Kubectl(t.Context(), manifest, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

// must runs a verb of hivemind, which has to succeed.
func must(t *testing.T) func(out string, err error) string {
	t.Helper()
	return func(out string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// eventually asks until check is content, or time is over.
func eventually(t *testing.T, what string, within time.Duration, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var err error
	for {
		if err = check(); err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited %v in vain for %s: %v", within, what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// contains is an error where text lacks one of the parts.
func contains(text string, parts ...string) error {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return fmt.Errorf("%q is not in:\n%s", part, text)
		}
	}
	return nil
}

// see fails the test where text lacks one of the parts, and goes on.
func see(t *testing.T, text string, parts ...string) {
	t.Helper()
	if err := contains(text, parts...); err != nil {
		t.Error(err)
	}
}
