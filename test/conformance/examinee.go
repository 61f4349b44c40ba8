// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/hivemind-project/hivemind/kubelet-lite/simulated"
	"github.com/hivemind-project/hivemind/test/cluster"
	"github.com/hivemind-project/hivemind/test/images/imageset"
)

// examinee is a cluster that is examined.
type examinee struct {
	kubeconfig string
	version    string
	nodes      bool         // whether it has nodes that run pods
	simulated  bool         // whether it only seems so: no node has containers
	where      string       // what to read where it fails
	end        func() error // removes it; does nothing to a cluster that ran before
	client     kubernetes.Interface
}

// subject is what can be examined: the Hivemind of this tree, or a cluster that runs already.
type subject struct {
	version string
	// start makes the cluster that tests can run on.
	start func(ctx context.Context, b batch, tell io.Writer) (*examinee, error)
}

// find returns the subject: the cluster of a kubeconfig, or bin/hivemind where there is none.
func find(ctx context.Context, root string, o options) (*subject, error) {
	if o.kubeconfig == "" {
		return built(ctx, root, o.scratch)
	}
	e, err := running(ctx, o.kubeconfig)
	if err != nil {
		return nil, err
	}
	return &subject{version: e.version, start: func(_ context.Context, b batch, _ io.Writer) (*examinee, error) {
		if b.needNode > 0 && !e.nodes {
			return nil, fmt.Errorf("the cluster of %s has no node, which %d of the tests need: choose -set no-node", o.kubeconfig, b.needNode)
		}
		return e, nil
	}}, nil
}

// built is the subject bin/hivemind. One that was built from a tree with changes is named with the digest of its programs as well, so that the
// results of two such builds are not taken for one another's. Its clusters live in the directory scratch.
func built(ctx context.Context, root, scratch string) (*subject, error) {
	out, err := (&cluster.Cluster{Root: root}).Hivemind(ctx, "version", "-o", "json")
	if err != nil {
		return nil, fmt.Errorf("bin/hivemind cannot be run (make build makes it): %w", err)
	}
	var report struct{ Version, Payload string }
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return nil, fmt.Errorf("read the version of bin/hivemind: %w", err)
	}
	if report.Payload == "" {
		return nil, errors.New("bin/hivemind carries no programs: make build makes one that does")
	}
	if strings.HasSuffix(report.Version, "-dirty") {
		report.Version += "-" + report.Payload[:min(8, len(report.Payload))]
	}
	return &subject{version: report.Version, start: func(ctx context.Context, b batch, tell io.Writer) (*examinee, error) {
		return start(ctx, root, scratch, report.Version, b.ground, tell)
	}}, nil
}

// start starts a new cluster: a server alone, with the agent, or with simulated nodes. What an earlier run left is removed first.
func start(ctx context.Context, root, scratch, version string, on ground, tell io.Writer) (*examinee, error) {
	c, err := cluster.New(scratch)
	if err != nil {
		return nil, err
	}
	c.Config.Network.PodCIDR, c.Config.Network.ServiceCIDR = "10.140.0.0/16", "10.141.0.0/16"
	e := &examinee{kubeconfig: c.Config.AdminKubeconfig(), version: version, nodes: on != serverAlone, simulated: on == twoNodes, where: c.Config.Path("logs", "hivemindd.log")}
	e.end = func() error { return remove(c, scratch) }
	if err := e.end(); err != nil {
		return nil, fmt.Errorf("remove what an earlier run left in %s: %w", scratch, err)
	}
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return nil, err
	}
	args := []string{"--merge-kubeconfig=false"}
	switch on {
	case serverAlone:
		args = append(args, "--roles", "server")
	case oneNode:
		images, stop, err := serveImages(ctx, tell)
		if err != nil {
			return nil, err
		}
		e.end = func() error { return errors.Join(remove(c, scratch), stop()) }
		args = append(args, images...)
	case twoNodes:
		// Tests count on images that are not there, and name none that is in another registry.
		args = append(args, "--runtime", "simulated", "--nodes", "2", "--simulated-registries", "registry.k8s.io")
	}
	if out, err := c.Up(ctx, args...); err != nil {
		why := "the server did not come up: " + lastLine(out)
		if log := keepLog(e.where, filepath.Join(root, "build", "conformance")); log != "" {
			why += "; its log is in " + log
		}
		return nil, errors.Join(errors.New(why), e.end())
	}
	if err := e.connect(); err != nil {
		return nil, errors.Join(err, e.end())
	}
	if e.nodes {
		if err := e.takesPods(ctx); err != nil {
			return nil, errors.Join(err, e.end())
		}
	}
	return e, nil
}

// takesLong is how long new nodes may be tainted.
const takesLong = 30 * time.Second

// takesPods waits until all nodes take pods, and fails where they do not, which the suite would wait for with every test anew.
func (e *examinee) takesPods(ctx context.Context) error {
	why := "there is none"
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, takesLong, true, func(ctx context.Context) (bool, error) {
		list, err := e.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, fmt.Errorf("list the nodes: %w", err)
		}
		for _, node := range list.Items {
			i := slices.IndexFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Effect != corev1.TaintEffectPreferNoSchedule })
			if i >= 0 {
				why = node.Name + " has the taint " + node.Spec.Taints[i].Key
				return false, nil
			}
		}
		return len(list.Items) > 0, nil
	})
	if wait.Interrupted(err) {
		return fmt.Errorf("not all nodes take pods: %s; where that is for want of space, -scratch names another place", why)
	}
	return err
}

// serveImages makes the images that the tests run, serves them, and returns the arguments of `hivemind up` that have them pulled from here.
func serveImages(ctx context.Context, tell io.Writer) (args []string, stop func() error, err error) {
	set, err := imageset.Build(ctx, tell, imageset.Options{})
	if err != nil {
		return nil, nil, err
	}
	// The images are served until the cluster is gone, also when ctx ends before.
	host, stop, err := set.Serve(context.WithoutCancel(ctx))
	if err != nil {
		return nil, nil, fmt.Errorf("serve the images of the tests: %w", err)
	}
	return set.MirrorArgs(host), stop, nil
}

// keepLog saves the server's log from the end of its cluster, and returns where it is; "" where there is none.
func keepLog(log, dir string) string {
	text, err := os.ReadFile(log)
	if err != nil {
		return ""
	}
	kept := filepath.Join(dir, filepath.Base(log))
	if err := os.WriteFile(kept, text, 0o644); err != nil {
		return ""
	}
	return kept
}

// remove ends a cluster and everything of it, whatever state it is in.
func remove(c *cluster.Cluster, scratch string) error {
	if _, err := os.Stat(c.Config.DataDir); errors.Is(err, fs.ErrNotExist) {
		return os.RemoveAll(scratch)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if _, err := c.Verb(ctx, "reset", "--yes"); err != nil {
		return err
	}
	return os.RemoveAll(scratch)
}

// running is a cluster that runs already, whoever made it.
func running(ctx context.Context, kubeconfig string) (*examinee, error) {
	path, err := filepath.Abs(kubeconfig)
	if err != nil {
		return nil, err
	}
	e := &examinee{kubeconfig: path, end: func() error { return nil }, where: "the log of the server that " + kubeconfig + " leads to"}
	if err := e.connect(); err != nil {
		return nil, err
	}
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	version, err := e.client.Discovery().ServerVersion()
	if err != nil {
		return nil, fmt.Errorf("ask the cluster of %s for its version: %w", kubeconfig, err)
	}
	e.version = strings.Trim(version.GitVersion+"-"+version.GitCommit[:min(7, len(version.GitCommit))], "-")
	nodes, err := e.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the nodes of the cluster of %s: %w", kubeconfig, err)
	}
	e.nodes = len(nodes.Items) > 0
	e.simulated = slices.ContainsFunc(nodes.Items, func(n corev1.Node) bool {
		return strings.HasPrefix(n.Status.NodeInfo.ContainerRuntimeVersion, simulated.Name+"://")
	})
	return e, nil
}

func (e *examinee) connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", e.kubeconfig)
	if err != nil {
		return fmt.Errorf("kubeconfig %s: %w", e.kubeconfig, err)
	}
	config.Timeout = 15 * time.Second
	if e.client, err = kubernetes.NewForConfig(config); err != nil {
		return fmt.Errorf("kubeconfig %s: %w", e.kubeconfig, err)
	}
	return nil
}

// ready is an error where the server does not answer, or says that it is not ready.
func (e *examinee) ready(ctx context.Context) error {
	if err := e.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	return nil
}

func lastLine(text string) string {
	all := lines(text)
	if len(all) == 0 {
		return "it said nothing"
	}
	return all[len(all)-1]
}
