// SPDX-License-Identifier: Apache-2.0

// Package stock builds and runs stock Kubernetes, to compare Hivemind with and to be examined by: its API server, controller manager and scheduler, the
// etcd they need, its end-to-end suite and the programs of that suite's images. The versions are those of the Go module test/upstream, which
// keeps k8s.io/kubernetes out of the project's own.
//
// build.go makes the programs, stock.go runs a control plane of them, args.go says with which arguments.
package stock

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/hivemind-project/hivemind/test/cluster"
	"github.com/hivemind-project/hivemind/test/process"
)

// program is one that can be built.
type program struct {
	name string
	pkg  string // its main package, or the package of its tests
	etcd bool   // of the module test/upstream/etcd, since Kubernetes' own module pins an etcd without its server
	test bool   // a test binary
}

const (
	images = "k8s.io/kubernetes/test/images/"
	tags   = "selinux,notest,grpcnotrace" // notest leaves the Ginkgo of libraries out; it is Kubernetes' own
)

var programs = []program{
	{name: "etcd", pkg: "go.etcd.io/etcd/server/v3", etcd: true},
	{name: "kube-apiserver", pkg: "k8s.io/kubernetes/cmd/kube-apiserver"},
	{name: "kube-controller-manager", pkg: "k8s.io/kubernetes/cmd/kube-controller-manager"},
	{name: "kube-scheduler", pkg: "k8s.io/kubernetes/cmd/kube-scheduler"},
	{name: "kubectl", pkg: "k8s.io/kubernetes/cmd/kubectl"},
	{name: "e2e.test", pkg: "k8s.io/kubernetes/test/e2e", test: true},
	{name: "ginkgo", pkg: "github.com/onsi/ginkgo/v2/ginkgo"},
	{name: "agnhost", pkg: images + "agnhost"},
	{name: "nonewprivs", pkg: images + "nonewprivs"},
	{name: "resource-consumer", pkg: images + "resource-consumer"},
	{name: "consume-cpu", pkg: images + "resource-consumer/consume-cpu"},
	{name: "regression-issue-74839", pkg: images + "regression-issue-74839"},
	{name: "sample-apiserver", pkg: "k8s.io/sample-apiserver"},
}

// Version is the version of Kubernetes that Build builds, such as v1.36.3: what test/upstream/go.mod requires.
func Version(ctx context.Context) (string, error) {
	root, err := cluster.ProjectRoot()
	if err != nil {
		return "", err
	}
	out, err := goTool(ctx, filepath.Join(root, "test", "upstream"), "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes")
	return strings.TrimSpace(out), err
}

// Build builds the programs of these names, or all when none is given, into build/upstream of the project, and returns that directory. One that is there and was
// built from the same go.mod, go.sum and arguments by the same Go is left as it is. Each that is built costs a line on w. From an empty build
// cache kube-apiserver takes minutes, the rest of them all about ten more.
func Build(ctx context.Context, w io.Writer, names ...string) (dir string, err error) {
	root, err := cluster.ProjectRoot()
	if err != nil {
		return "", err
	}
	wanted, err := choose(names)
	if err != nil {
		return "", err
	}
	version, err := Version(ctx)
	if err != nil {
		return "", fmt.Errorf("find the version of Kubernetes: %w", err)
	}
	dir = filepath.Join(root, "build", "upstream")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for _, p := range wanted {
		if err := p.build(ctx, w, filepath.Join(root, "test", "upstream"), dir, version); err != nil {
			return "", err
		}
	}
	return dir, nil
}

func choose(names []string) ([]program, error) {
	if len(names) == 0 {
		return programs, nil
	}
	var chosen []program
	for _, name := range names {
		i := slices.IndexFunc(programs, func(p program) bool { return p.name == name })
		if i < 0 {
			var known []string
			for _, p := range programs {
				known = append(known, p.name)
			}
			return nil, fmt.Errorf("build stock program %q: there is none of that name; there are %s", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, programs[i])
	}
	return chosen, nil
}

// build makes one program, unless its stamp says that it is current.
func (p program) build(ctx context.Context, w io.Writer, module, dir, version string) error {
	out := filepath.Join(dir, p.name)
	if p.etcd {
		module = filepath.Join(module, "etcd")
	}
	args := p.args(out, version)
	stamp, err := stampOf(module, args)
	if err != nil {
		return err
	}
	stampFile := filepath.Join(dir, "."+p.name+".stamp")
	was, err := os.ReadFile(stampFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(out); err == nil && string(was) == stamp {
		return nil
	}
	begin := time.Now()
	fmt.Fprintf(w, "build stock %s ... ", p.name)
	if _, err := goTool(ctx, module, args...); err != nil {
		fmt.Fprintln(w, "failed")
		return fmt.Errorf("build %s: %w", p.name, err)
	}
	fmt.Fprintf(w, "%.1f s\n", time.Since(begin).Seconds())
	return os.WriteFile(stampFile, []byte(stamp), 0o644)
}

// args are the arguments of `go` that make the program.
func (p program) args(out, version string) []string {
	ldflags := "-s -w"
	if p.etcd {
		return []string{"build", "-ldflags", ldflags, "-o", out, p.pkg}
	}
	minor := strings.Split(version, ".")[1]
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, v := range [][2]string{{"gitVersion", version}, {"gitMajor", "1"}, {"gitMinor", minor}, {"gitTreeState", "clean"}, {"gitCommit", "module"}} {
			ldflags += fmt.Sprintf(" -X %s.%s=%s", pkg, v[0], v[1])
		}
	}
	verb := []string{"build"}
	if p.test {
		verb = []string{"test", "-c"}
	}
	return append(verb, "-tags", tags, "-ldflags", ldflags, "-o", out, p.pkg)
}

// stampOf is a digest of all that decides what is built.
func stampOf(module string, args []string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOARCH, args)
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", err
		}
		h.Write(data)
	}
	return fmt.Sprintf("%x\n", h.Sum(nil)), nil
}

// goTool runs go in a module, as it would be run without this project's settings, and returns what it prints.
func goTool(ctx context.Context, module string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath -buildvcs=false -mod=readonly", "GOWORK=off")
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s in %s: %w\n%s", args[0], module, err, process.LastLines(stderr.String(), 15))
	}
	return stdout.String(), nil
}
