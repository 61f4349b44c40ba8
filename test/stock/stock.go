// SPDX-License-Identifier: Apache-2.0

package stock

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/client-go/rest"

	"github.com/hivemind-project/hivemind/test/process"
)

// startTimeout is how long the programs may take to become ready, each; a stock API server takes about four seconds on two cores.
const startTimeout = 2 * time.Minute

// Options says what runs and where.
type Options struct {
	// Dir holds all that the control plane writes: certificates, etcd's data, and a log per program. It is made if it is missing; one that was used
	// before brings its data back.
	Dir string
	// BinDir holds the programs, as Build returned it.
	BinDir string
	// Controllers runs kube-controller-manager too. Without it nothing makes ServiceAccounts, so that pods are refused in a namespace where nobody has
	// created "default".
	Controllers bool
	// Scheduler runs kube-scheduler too.
	Scheduler bool
	// ServiceCIDR is the range of ClusterIPs. Default 10.96.0.0/16.
	ServiceCIDR string
	// APIServerArgs are further arguments of kube-apiserver. They come last, so that they win.
	APIServerArgs []string
	// ClientQPS raises how many requests a second the controller manager and the scheduler each allow themselves, with twice that in a burst. 0 leaves the
	// defaults (20 and 50), which a Deployment of 500 takes 25 seconds with.
	ClientQPS int
}

// ControlPlane is a running stock control plane on loopback ports of its own. It ends with the process that started it.
type ControlPlane struct {
	url        string
	kubeconfig string
	config     *rest.Config
	processes  []*process.Process // in the order of their start
	ready      time.Duration
}

// Start starts etcd and kube-apiserver, waits until /readyz says so, then starts the controller manager and the scheduler if they are asked for, and waits
// for these. A program that ends or does not become ready is an error that carries the last lines of its log.
func Start(ctx context.Context, o Options) (_ *ControlPlane, err error) {
	if o.ServiceCIDR == "" {
		o.ServiceCIDR = "10.96.0.0/16"
	}
	serviceIP, _, err := net.ParseCIDR(o.ServiceCIDR)
	if err != nil {
		return nil, fmt.Errorf("start a stock control plane: ServiceCIDR: %w", err)
	}
	serviceIP = serviceIP.To4()
	if serviceIP == nil {
		return nil, fmt.Errorf("start a stock control plane: ServiceCIDR %s: only IPv4 is served", o.ServiceCIDR)
	}
	serviceIP[3]++ // the address of the service default/kubernetes
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	ports, err := freePorts(5)
	if err != nil {
		return nil, err
	}
	c := &ControlPlane{url: fmt.Sprintf("https://127.0.0.1:%d", ports[2])}
	f, err := writeFiles(filepath.Join(o.Dir, "pki"), c.url, serviceIP)
	if err != nil {
		return nil, err
	}
	c.kubeconfig, c.config = f.path("admin.kubeconfig"), f.bundle.RESTConfig(c.url, f.bundle.Admin)
	defer func() {
		if err != nil {
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			err = errors.Join(err, c.Stop(stop))
		}
	}()

	begin := time.Now()
	etcd, peers := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	if err := c.run(ctx, o, "etcd", etcdArgs(filepath.Join(o.Dir, "etcd"), etcd, peers), etcd+"/health", http.DefaultClient); err != nil {
		return nil, err
	}
	admin, err := rest.HTTPClientFor(c.config)
	if err != nil {
		return nil, err
	}
	if err := c.run(ctx, o, "kube-apiserver", apiServerArgs(f, etcd, ports[2], o), c.url+"/readyz", admin); err != nil {
		return nil, err
	}
	c.ready = time.Since(begin)
	// Both serve with a certificate that they sign themselves.
	anyone := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	if o.Controllers {
		health := fmt.Sprintf("https://127.0.0.1:%d/healthz", ports[3])
		if err := c.run(ctx, o, "kube-controller-manager", controllerManagerArgs(f, ports[3], o), health, anyone); err != nil {
			return nil, err
		}
	}
	if o.Scheduler {
		health := fmt.Sprintf("https://127.0.0.1:%d/healthz", ports[4])
		if err := c.run(ctx, o, "kube-scheduler", clientArgs(f, "kube-scheduler", ports[4], o), health, anyone); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// URL is where the API server listens.
func (c *ControlPlane) URL() string { return c.url }

// Kubeconfig is the path of the administrator's kubeconfig file.
func (c *ControlPlane) Kubeconfig() string { return c.kubeconfig }

// RESTConfig is the administrator's, for client-go, without limits.
func (c *ControlPlane) RESTConfig() *rest.Config { return rest.CopyConfig(c.config) }

// ReadyAfter is how long it took from the start of etcd until the API server answered /readyz with 200.
func (c *ControlPlane) ReadyAfter() time.Duration { return c.ready }

// Processes are the ids of the running programs, by name.
func (c *ControlPlane) Processes() map[string]int {
	pids := map[string]int{}
	for _, p := range c.processes {
		pids[p.Name] = p.PID
	}
	return pids
}

// Err is nil while all programs run; else it says which has ended, with the last lines of its log.
func (c *ControlPlane) Err() error {
	var errs []error
	for _, p := range c.processes {
		errs = append(errs, p.Err())
	}
	return errors.Join(errs...)
}

// Stop ends all programs, the last started first, and kills those that still run when ctx ends. The data stays: Start with the same Dir goes on with it.
func (c *ControlPlane) Stop(ctx context.Context) error {
	var errs []error
	for _, p := range slices.Backward(c.processes) {
		errs = append(errs, p.Stop(ctx))
	}
	return errors.Join(errs...)
}

// run starts a program and waits until it answers a GET with 200.
func (c *ControlPlane) run(ctx context.Context, o Options, name string, args []string, url string, client *http.Client) error {
	cmd := exec.Command(filepath.Join(o.BinDir, name), args...)
	cmd.Dir = o.Dir
	p, err := process.Start(cmd, o.Dir, name)
	if err != nil {
		return err
	}
	c.processes = append(c.processes, p)
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("it has not become ready within %v", startTimeout))
	defer cancel()
	for {
		last := get(ctx, client, url)
		if last == nil {
			return nil
		}
		if err := c.Err(); err != nil {
			return fmt.Errorf("wait for %s: %w", name, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %v; the last of %s:\n%s", name, context.Cause(ctx), last, p.Log, p.Tail())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// get is nil when the answer is 200.
func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, answer.Status)
	}
	return nil
}

// freePorts are ports of the loopback address that nobody listens on.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // at the end, so that no port comes twice
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
