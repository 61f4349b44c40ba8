// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// version is a client in one version.
type version struct {
	name     string            // of the subtest, and of its namespaces
	programs map[string]string // what the scripts call a program, and where it is, seen from the project's root
}

var kubectls = []version{
	{"newest", map[string]string{"kubectl": "build/tools/kubectl"}},
	{"older", map[string]string{"kubectl": "build/clients/kubectl"}},
}

var helms = []version{
	{"helm3", map[string]string{"helm": "build/tools/helm", "kubectl": "build/tools/kubectl"}},
	{"helm4", map[string]string{"helm": "build/clients/helm", "kubectl": "build/tools/kubectl"}},
}

func TestKubectl(t *testing.T) {
	t.Parallel()
	scripts(t, "testdata/kubectl", kubectls)
}

func TestHelm(t *testing.T) {
	t.Parallel()
	scripts(t, "testdata/helm", helms)
}

// TestAlone runs what disturbs others, one script after the other, before the tests that run side by side.
func TestAlone(t *testing.T) {
	files, err := filepath.Glob("testdata/alone/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in testdata/alone: %v", err)
	}
	for _, v := range kubectls {
		for _, file := range files {
			t.Run(v.name, func(t *testing.T) {
				t.Cleanup(func() { freeNodes(t) })
				testscript.Run(t, params(t, v, testscript.Params{Files: []string{file}}))
			})
		}
	}
}

// freeNodes takes away what a script that failed has left on them.
func freeNodes(t *testing.T) {
	ctx := context.Background()
	nodes, err := shared.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes.Items {
		if node.Spec.Unschedulable || len(node.Spec.Taints) > 0 {
			free := []byte(`{"spec":{"unschedulable":null,"taints":null}}`)
			if _, err := shared.client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, free, metav1.PatchOptions{}); err != nil {
				t.Error(err)
			}
		}
	}
}

// scripts runs every script of a directory with every version, several at a time.
func scripts(t *testing.T, dir string, versions []version) {
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			testscript.Run(t, params(t, v, testscript.Params{Dir: dir}))
		})
	}
}

// params adds to those of a run what all have in common.
func params(t *testing.T, v version, p testscript.Params) testscript.Params {
	bin := t.TempDir()
	for name, file := range v.programs {
		if err := os.Symlink(filepath.Join(shared.root, file), filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	p.RequireUniqueNames = true
	p.Cmds = commands
	p.Condition = condition(v)
	p.Setup = func(env *testscript.Env) error {
		env.Values[followersKey{}] = followers{}
		return setUp(env, v, bin)
	}
	return p
}

// setUp gives a script a namespace, a kubeconfig that points there, and the programs of its version.
func setUp(env *testscript.Env, v version, bin string) error {
	script := strings.TrimPrefix(filepath.Base(env.WorkDir), "script-")
	namespace := script + "-" + v.name
	ctx := context.Background()
	if err := createNamespace(ctx, namespace); err != nil {
		return err
	}
	config, err := clientcmd.LoadFromFile(shared.kubeconfig)
	if err != nil {
		return err
	}
	config.Contexts = map[string]*clientcmdapi.Context{"here": {Cluster: only(config.Clusters), AuthInfo: only(config.AuthInfos), Namespace: namespace}}
	config.CurrentContext = "here"
	file := filepath.Join(env.WorkDir, ".kube", "config")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		return err
	}
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("KUBECONFIG", file)
	env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
	env.Setenv("NS", namespace)
	env.Setenv("ROOT", shared.root)
	env.Setenv("SERVER", shared.rest.Host)
	env.Defer(func() {
		if t, ok := env.T().(testscript.TFailed); ok && t.Failed() {
			env.T().Log(tell(namespace))
		}
		if err := shared.client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			env.T().Log(err)
			env.T().FailNow()
		}
	})
	return nil
}

// createNamespace returns when what every namespace has is there, without which no pod is admitted or started.
func createNamespace(ctx context.Context, name string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := shared.client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, 10*time.Second, true, func(ctx context.Context) (bool, error) {
		_, err := shared.client.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		if err == nil {
			_, err = shared.client.CoreV1().ConfigMaps(name).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		}
		return err == nil, ignoreNotFound(err)
	})
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// tell is what helps to understand a failure: what there is in a namespace, and what happened.
func tell(namespace string) string {
	var text strings.Builder
	for _, args := range [][]string{{"get", "all", "-o", "wide"}, {"get", "events", "--sort-by=.lastTimestamp"}} {
		cmd := exec.Command(filepath.Join(shared.root, "build/tools/kubectl"), append(args, "-n", namespace, "--kubeconfig", shared.kubeconfig)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			out = fmt.Appendln(out, err)
		}
		fmt.Fprintf(&text, "$ kubectl %s\n%s", strings.Join(args, " "), out)
	}
	return text.String()
}

// condition answers [newest], [older], [helm3], [helm4], and [serves:RESOURCE.GROUP/VERSION].
func condition(v version) func(string) (bool, error) {
	return func(name string) (bool, error) {
		if what, ok := strings.CutPrefix(name, "serves:"); ok {
			resource, groupVersion, _ := strings.Cut(what, ".")
			list, err := shared.client.Discovery().ServerResourcesForGroupVersion(groupVersion)
			if err != nil {
				return false, ignoreNotFound(err)
			}
			for _, r := range list.APIResources {
				if r.Name == resource {
					return true, nil
				}
			}
			return false, nil
		}
		for _, all := range [][]version{kubectls, helms} {
			for _, other := range all {
				if other.name == name {
					return v.name == name, nil
				}
			}
		}
		return false, errors.New("no such condition")
	}
}

// only is the key of a map that has one.
func only[V any](m map[string]V) string {
	for key := range m {
		return key
	}
	return ""
}
