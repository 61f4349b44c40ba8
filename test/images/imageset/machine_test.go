// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package imageset_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hivemind-project/hivemind/test/cluster"
	"github.com/hivemind-project/hivemind/test/images/imageset"
)

// pods are one that serves, one that looks at it and ends, and one of which the image must not be found.
const pods = `
apiVersion: v1
kind: Pod
metadata: {name: serves}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: "registry.k8s.io/e2e-test-images/agnhost:2.63.0", args: [netexec], readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}}
---
apiVersion: v1
kind: Pod
metadata: {name: looks}
spec:
  restartPolicy: Never
  containers:
  - {name: c, image: "registry.k8s.io/e2e-test-images/busybox:1.37.0-1", command: [sh, -c, "id -u; hostname"]}
---
apiVersion: v1
kind: Pod
metadata: {name: invalid}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: "invalid.registry.k8s.io/invalid/alpine:3.1"}
`

// TestPull has a cluster pull images by the names that the suite uses, from the registry that serves them.
func TestPull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test runs containers, which only root can: sudo make test")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	set, err := imageset.Build(ctx, t.Output(), imageset.Options{Names: []string{"registry.k8s.io/e2e-test-images/agnhost:2.63.0", "busybox"}})
	if err != nil {
		t.Fatal(err)
	}
	host, stop, err := set.Serve(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c := up(t, set.MirrorArgs(host))
	kubectl := func(stdin string, args ...string) string {
		t.Helper()
		out, err := c.Kubectl(ctx, stdin, args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	kubectl(pods, "apply", "-f", "-")
	kubectl("", "wait", "--for=condition=Ready", "pod/serves", "--timeout=2m")
	kubectl("", "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/looks", "--timeout=1m")
	kubectl("", "wait", "--for=jsonpath={.status.containerStatuses[0].state.waiting.message}", "pod/invalid", "--timeout=1m")
	if out := kubectl("", "logs", "looks"); out != "0\nlooks\n" {
		t.Errorf("busybox says %q", out)
	}
	// By a shell, and by what agnhost's image has for tests of the network.
	out := kubectl("", "exec", "serves", "--", "sh", "-c", "curl -s http://127.0.0.1:8080/hostname && dig +short kubernetes.default.svc.cluster.local")
	if want := "serves10.173.0.1\n"; out != want {
		t.Errorf("agnhost says %q, want %q", out, want)
	}
	if out := kubectl("", "get", "pod", "invalid", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.message}"); !strings.Contains(out, "not found") && !strings.Contains(out, "Back-off") {
		t.Errorf("an image that must not be found: %q", out)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// What was made once is found, and is the same.
func TestBuildAgain(t *testing.T) {
	var digests []string
	for i := range 2 {
		var said strings.Builder
		set, err := imageset.Build(t.Context(), &said, imageset.Options{Names: []string{"busybox", "pause", "nginx"}})
		if err != nil {
			t.Fatal(err)
		}
		for j, image := range set.Images {
			digest, err := image.Digest()
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				digests = append(digests, digest.String())
			} else if digest.String() != digests[j] {
				t.Errorf("%s is %s and was %s", image.Name, digest, digests[j])
			}
		}
		if i == 1 && said.Len() > 0 {
			t.Errorf("made anew: %s", said.String())
		}
	}
	if slices.Sort(digests); len(slices.Compact(digests)) != 5 {
		t.Errorf("digests %v: want one for each of five names", digests)
	}
}

// up starts a cluster of its own with further arguments, and removes it when the test ends.
func up(t *testing.T, args []string) *cluster.Cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "hivemind-images-")
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	c.Config.Network.PodCIDR, c.Config.Network.ServiceCIDR = "10.172.0.0/16", "10.173.0.0/16"
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if t.Failed() {
			out, err := c.Kubectl(ctx, "", "describe", "pods,nodes")
			t.Log(out, err)
			log, err := os.ReadFile(filepath.Join(c.Config.DataDir, "logs", "hivemindd.log"))
			t.Logf("the end of hivemindd.log (%v):\n%s", err, log[max(0, len(log)-8000):])
		}
		_, err := c.Verb(ctx, "reset", "--yes")
		if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	if _, err := c.Up(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
	return c
}
