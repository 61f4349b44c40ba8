// SPDX-License-Identifier: Apache-2.0

// Package cluster runs bin/hivemind as a person would, beside any other cluster on the machine: with its own data directory, ports,
// address ranges and kubeconfig. Tests and benchmarks start from here.
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	apiconfig "github.com/hivemind-project/hivemind/apis/config"
)

// Cluster is a cluster on this machine, started or not.
type Cluster struct {
	Root       string // of the project
	Kubeconfig string // that kubectl and helm use
	Config     *apiconfig.Config
}

// New describes a cluster in a new directory below dir. Nothing runs yet.
func New(dir string) (*Cluster, error) {
	root, err := ProjectRoot()
	if err != nil {
		return nil, err
	}
	c := &apiconfig.Config{DataDir: filepath.Join(dir, "data")}
	c.Network.PodCIDR, c.Network.ServiceCIDR = "10.144.0.0/16", "10.145.0.0/16"
	for _, port := range []*int{&c.API.Port, &c.Node.KubeletPort} {
		if *port, err = freePort(); err != nil {
			return nil, err
		}
	}
	return &Cluster{Root: root, Kubeconfig: filepath.Join(dir, "kubeconfig"), Config: c}, nil
}

// Up runs `hivemind up -d` with this cluster's settings and the further arguments.
func (c *Cluster) Up(ctx context.Context, args ...string) (string, error) {
	return c.Hivemind(ctx, append(c.UpArgs("-d"), args...)...)
}

// UpArgs are the arguments of `hivemind up` for this cluster.
func (c *Cluster) UpArgs(args ...string) []string {
	return append([]string{"up", "--data-dir", c.Config.DataDir,
		"--api-port", strconv.Itoa(c.Config.API.Port), "--node-kubelet-port", strconv.Itoa(c.Config.Node.KubeletPort),
		"--network-pod-cidr", c.Config.Network.PodCIDR, "--network-service-cidr", c.Config.Network.ServiceCIDR}, args...)
}

// Verb runs another verb of hivemind on this cluster.
func (c *Cluster) Verb(ctx context.Context, args ...string) (string, error) {
	return c.Hivemind(ctx, append(args, "--data-dir", c.Config.DataDir)...)
}

// Hivemind runs bin/hivemind and returns all that it prints.
func (c *Cluster) Hivemind(ctx context.Context, args ...string) (string, error) {
	return c.run(ctx, nil, filepath.Join(c.Root, "bin", "hivemind"), args...)
}

// Kubectl runs kubectl with the cluster's kubeconfig; stdin may be empty.
func (c *Cluster) Kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	return c.run(ctx, strings.NewReader(stdin), "kubectl", args...)
}

// Command is a command with the cluster's environment, for those that go on in the background.
func (c *Cluster) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.find(name), args...)
	cmd.Dir = c.Root
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig, "HELM_CACHE_HOME="+filepath.Dir(c.Kubeconfig)+"/helm",
		"HELM_CONFIG_HOME="+filepath.Dir(c.Kubeconfig)+"/helm", "HELM_DATA_HOME="+filepath.Dir(c.Kubeconfig)+"/helm")
	return cmd
}

func (c *Cluster) run(ctx context.Context, stdin *strings.Reader, name string, args ...string) (string, error) {
	cmd := c.Command(ctx, name, args...)
	if stdin != nil && stdin.Len() > 0 {
		cmd.Stdin = stdin
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

// find prefers what the build has made over what happens to be on PATH.
func (c *Cluster) find(name string) string {
	if built := filepath.Join(c.Root, "build", "tools", name); !filepath.IsAbs(name) {
		if _, err := os.Stat(built); err == nil && name != "kubectl" {
			return built
		}
		if _, err := exec.LookPath(name); err != nil {
			return built
		}
	}
	return name
}

// ProjectRoot is the directory of the nearest go.mod, from the working directory upwards.
func ProjectRoot() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		if _, e := os.Stat(filepath.Join(dir, "go.mod")); e == nil {
			return dir, nil
		}
	}
	return "", errors.Join(errors.New("there is no go.mod in this directory or above it"), err)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
