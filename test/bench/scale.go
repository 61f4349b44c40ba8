// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/test/cluster"
	"github.com/hivemind-project/hivemind/test/load"
)

var (
	scaleNodes = flag.Int("nodes", 1000, "simulated nodes of scale")
	scalePods  = flag.Int("pods", 20000, "pods of scale, on all nodes together")
)

const (
	scaleApps = 20               // Deployments that the pods are of, each with a Service
	trimmed   = 20 * time.Second // after a start; by then hivemindd has given back what it needed for that
	quiet     = 30 * time.Second // after a load, for what it has left to do
)

// scale measures simulated nodes and pods: how long they take to be ready, what of hivemindd's memory each of them is, and what the cluster
// costs at rest. It needs no root, and is not part of a run that does not ask for it.
func (b *bench) scale(ctx context.Context) (err error) {
	c, err := cluster.New(b.dir)
	if err != nil {
		return err
	}
	c.Config.Runtime = "simulated"
	defer func() { err = errors.Join(err, reset(c)) }()
	base, _, err := b.startSimulated(ctx, c, 0)
	if err != nil {
		return err
	}
	if _, err := c.Verb(ctx, "down"); err != nil {
		return err
	}
	withNodes, took, err := b.startSimulated(ctx, c, *scaleNodes)
	if err != nil {
		return err
	}
	b.value("up to all nodes Ready", "s", took.Seconds(), fmt.Sprintf("%d nodes", *scaleNodes))
	b.value("RSS of hivemindd, no nodes", "MiB", base, "")
	b.value("  with nodes", "MiB", withNodes, fmt.Sprintf("%.0f KiB a node", 1024*(withNodes-base)/float64(*scaleNodes)))
	client, err := clientFor(c)
	if err != nil {
		return err
	}
	if err := b.load(ctx, c, client, withNodes); err != nil {
		return err
	}
	return b.restart(ctx, c, client)
}

// startSimulated starts a cluster and returns its memory in MiB at rest, and how long all its nodes took to be Ready.
func (b *bench) startSimulated(ctx context.Context, c *cluster.Cluster, nodes int) (float64, time.Duration, error) {
	begin := time.Now()
	_, err := c.Hivemind(ctx, "up", "-d", "--runtime", "simulated", "--nodes", strconv.Itoa(nodes), "--data-dir", c.Config.DataDir,
		"--api-port", strconv.Itoa(c.Config.API.Port))
	took := time.Since(begin)
	if err != nil {
		return 0, 0, err
	}
	if err := pause(ctx, trimmed); err != nil {
		return 0, 0, err
	}
	pid, err := pidOf(ctx, c, "hivemindd")
	if err != nil {
		return 0, 0, err
	}
	usage, err := load.Measure(pid)
	return usage.RSS, took, err
}

// load creates the pods, and measures them until they are at rest.
func (b *bench) load(ctx context.Context, c *cluster.Cluster, client kubernetes.Interface, before float64) error {
	pid, err := pidOf(ctx, c, "hivemindd")
	if err != nil {
		return err
	}
	start, err := load.Measure(pid)
	if err != nil {
		return err
	}
	begin := time.Now()
	for i := range scaleApps {
		if err := createApp(ctx, client, fmt.Sprintf("app-%d", i), *scalePods/scaleApps); err != nil {
			return err
		}
	}
	pods := *scalePods / scaleApps * scaleApps
	if err := awaitPods(ctx, client, pods); err != nil {
		return err
	}
	took := time.Since(begin)
	loaded, err := load.Measure(pid)
	if err != nil {
		return err
	}
	used := (loaded.CPU - start.CPU).Seconds()
	b.value("Deployments created to all pods Ready", "s", took.Seconds(),
		fmt.Sprintf("%d pods of %d Deployments with Services: %.0f a second, %.1f ms of CPU each, on %.1f cores", pods, scaleApps,
			float64(pods)/took.Seconds(), 1000*used/float64(pods), used/took.Seconds()))
	b.value("RSS with pods", "MiB", loaded.RSS, fmt.Sprintf("%.0f KiB a pod", 1024*(loaded.RSS-before)/float64(pods)))
	if err := pause(ctx, quiet); err != nil {
		return err
	}
	if start, err = load.Measure(pid); err != nil {
		return err
	}
	if err := pause(ctx, idle); err != nil {
		return err
	}
	if loaded, err = load.Measure(pid); err != nil {
		return err
	}
	b.value("  idle CPU", "%", 100*(loaded.CPU-start.CPU).Seconds()/idle.Seconds(), "of a core; each pod has a readiness probe")
	goroutines, err := metric(ctx, client, "go_goroutines")
	if err != nil {
		return err
	}
	b.value("  goroutines", "", goroutines, "")
	return nil
}

// restart measures a start with all that is there.
func (b *bench) restart(ctx context.Context, c *cluster.Cluster, client kubernetes.Interface) error {
	if _, err := c.Verb(ctx, "down"); err != nil {
		return err
	}
	rested, took, err := b.startSimulated(ctx, c, *scaleNodes)
	if err != nil {
		return err
	}
	if err := awaitPods(ctx, client, *scalePods/scaleApps*scaleApps); err != nil {
		return err
	}
	b.value("restart with them, up to all nodes Ready", "s", took.Seconds(), "")
	b.value("  RSS", "MiB", rested, "")
	return nil
}

// value adds a row of one value.
func (b *bench) value(what, unit string, value float64, note string) {
	b.rows = append(b.rows, row{what: what, unit: unit, values: []float64{value}, note: note})
}

// createApp makes a Deployment and its Service.
func createApp(ctx context.Context, client kubernetes.Interface, name string, replicas int) error {
	labels := map[string]string{"app": name}
	pod := v1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: v1.PodSpec{Containers: []v1.Container{{
		Name: "main", Image: image, ReadinessProbe: &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"true"}}}},
	}}}}
	_, err := client.AppsV1().Deployments(metav1.NamespaceDefault).Create(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{Replicas: ptr.To(int32(replicas)), Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: pod}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	_, err = client.CoreV1().Services(metav1.NamespaceDefault).Create(ctx, &v1.Service{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1.ServiceSpec{Selector: labels, Ports: []v1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
	return err
}

// awaitPods waits until Deployments have so many ready pods together.
func awaitPods(ctx context.Context, client kubernetes.Interface, want int) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	for told := time.Now(); ; {
		list, err := client.AppsV1().Deployments(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		ready := 0
		for i := range list.Items {
			ready += int(list.Items[i].Status.ReadyReplicas)
		}
		if ready == want {
			return nil
		}
		if time.Since(told) > 5*time.Second {
			told = time.Now()
			fmt.Fprintf(os.Stderr, "%d pods ... ", ready)
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d pods are ready: %w", ready, want, err)
		}
	}
}

// metric reads one of the server's own metrics that has no labels.
func metric(ctx context.Context, client kubernetes.Interface, name string) (float64, error) {
	text, err := client.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("the server has no metric %s", name)
}
