// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// cluster is a Hivemind of one node, started as a person would, and the registry that its images come from. Nothing of it is known here but
// what bin/hivemind shows.
type cluster struct {
	root       string // of the project
	dir        string // all that is written; "" where the cluster is another's
	kubeconfig string // the administrator's
	registry   string // address of the images' registry, host:port
	rest       *rest.Config
	client     kubernetes.Interface
	apiPort    int
	nodePort   int // of the node agent
	images     *exec.Cmd
}

// start brings up the cluster and the registry. close is to be called whatever it returns.
func start(ctx context.Context) (*cluster, error) {
	c := &cluster{kubeconfig: os.Getenv("HIVEMIND_TEST_KUBECONFIG")}
	var err error
	if c.root, err = filepath.Abs("../.."); err != nil {
		return c, err
	}
	if c.kubeconfig == "" {
		if err := c.create(ctx); err != nil {
			return c, err
		}
	}
	if c.rest, err = clientcmd.BuildConfigFromFlags("", c.kubeconfig); err != nil {
		return c, err
	}
	c.rest.QPS = -1 // this client only prepares; it is not what is tested
	if c.client, err = kubernetes.NewForConfig(c.rest); err != nil {
		return c, err
	}
	return c, c.takesPods(ctx)
}

// create makes a cluster in a new directory.
func (c *cluster) create(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("the cluster runs containers, which only root can: sudo make clients")
	}
	if _, err := os.Stat(filepath.Join(c.root, "bin", "hivemind")); err != nil {
		return errors.New("bin/hivemind is not built: make clients")
	}
	var err error
	if c.dir, err = os.MkdirTemp("", "hivemind-clients-"); err != nil {
		return err
	}
	for _, port := range []*int{&c.apiPort, &c.nodePort} {
		if *port, err = freePort(); err != nil {
			return err
		}
	}
	c.kubeconfig = filepath.Join(c.data(), "pki", "admin.kubeconfig")
	return errors.Join(c.serveImages(ctx), c.up(ctx))
}

// takesPods is an error where the node keeps pods away, which is so while its disk is nearly full.
func (c *cluster) takesPods(ctx context.Context) error {
	nodes, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, node := range nodes.Items {
		for _, taint := range node.Spec.Taints {
			return fmt.Errorf("the node has the taint %s and takes no pods: make room on the disk of %s, or set TMPDIR to another", taint.Key, c.dir)
		}
	}
	return nil
}

func (c *cluster) data() string { return filepath.Join(c.dir, "data") }

// up starts hivemindd, or does nothing where it runs.
func (c *cluster) up(ctx context.Context) error {
	return c.hivemind(ctx, "up", "-d", "--merge-kubeconfig=false", "--data-dir", c.data(),
		"--api-port", strconv.Itoa(c.apiPort), "--node-kubelet-port", strconv.Itoa(c.nodePort),
		"--network-pod-cidr", "10.146.0.0/16", "--network-service-cidr", "10.147.0.0/16")
}

func (c *cluster) hivemind(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(c.root, "bin", "hivemind"), args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("hivemind %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// serveImages runs the project's own server of images, which tells containerd where it is.
func (c *cluster) serveImages(ctx context.Context) error {
	program := filepath.Join(c.dir, "images")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./hack/images")
	build.Dir = c.root
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build hack/images: %w\n%s", err, out)
	}
	var problems bytes.Buffer
	c.images = exec.Command(program, "-data-dir", c.data(), "-listen", "127.0.0.1:0")
	c.images.Dir, c.images.Stderr = c.root, &problems
	out, err := c.images.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.images.Start(); err != nil {
		return err
	}
	served := regexp.MustCompile(` is served on (\S+) `)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if match := served.FindStringSubmatch(lines.Text()); match != nil {
			c.registry = match[1]
			return nil
		}
	}
	err = c.images.Wait()
	c.images = nil
	return fmt.Errorf("hack/images ended early: %v\n%s", err, problems.String())
}

// close leaves nothing.
func (c *cluster) close() error {
	var errs []error
	if c.images != nil {
		errs = append(errs, c.images.Process.Signal(syscall.SIGTERM), c.images.Wait())
	}
	if c.dir != "" {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		errs = append(errs, c.hivemind(ctx, "reset", "--yes", "--data-dir", c.data()), os.RemoveAll(c.dir))
	}
	return errors.Join(errs...)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
