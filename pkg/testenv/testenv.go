// SPDX-License-Identifier: Apache-2.0

// Package testenv starts a whole cluster inside a Go test: API server and storage, every controller, the scheduler and nodes
// whose containers are simulated, all in the test's own process. Nothing needs to be installed, no other process is started,
// and no root is needed.
//
//	func TestReconcile(t *testing.T) {
//		env := testenv.Start(t, testenv.Options{CRDs: testenv.CRDs{Paths: []string{"config/crd"}}})
//		mgr, err := ctrl.NewManager(env.Config(), ctrl.Options{})
//		…
//	}
//
// What the API server accepts is followed by what a cluster does with it: Deployments roll out, Jobs complete, namespaces and
// dependents are deleted, pods run and become ready. Only what happens inside of a container is simulated; docs/testenv.md says
// how, and what else differs from a real cluster.
//
// Cost: a quarter of a second of one CPU to start, a few milliseconds to stop, and about 20 MB each while it runs. Clusters are
// independent of each other, and many can run at once. When one has stopped, nothing of it is left: no goroutine, file, port
// or memory.
package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/rest"

	"github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/agent/simulation"
	"github.com/hivemind-project/hivemind/pkg/component"
	"github.com/hivemind-project/hivemind/pkg/server"
)

// TB is what an Env needs of a test. *testing.T and *testing.B have it, and so has Ginkgo's GinkgoT().
type TB interface {
	Helper()
	Cleanup(func())
	TempDir() string
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// NoNodes is an Options.Nodes for clusters without nodes, whose pods stay pending.
const NoNodes = -1

// Options of a cluster. The zero value is a cluster of one node.
type Options struct {
	// Nodes is how many nodes there are. 0 is 1; NoNodes is none. The first is called "node", the others "node-1" and so on.
	Nodes int
	// Simulated is how nodes behave: their size, how many zones they are spread over, how long pulls and starts take (none).
	Simulated config.Simulated
	// CRDs are installed, and served, when the cluster is ready.
	CRDs CRDs
	// Webhooks are registered when the cluster is ready, so that they are called where Env.WebhookServer says.
	Webhooks Webhooks
	// Dir is where the cluster keeps its data; it must be empty or not there, and is removed by Stop. Default: a directory of
	// the test's, or a new one for temporary files.
	Dir string
	// StartTimeout is how long the cluster may take to be ready. Default 1 minute.
	StartTimeout time.Duration
}

// timeouts that nobody waits for unless something hangs.
const (
	defaultStartTimeout = time.Minute
	stopTimeout         = 30 * time.Second
)

// Env is a running cluster. Its methods may be called by several goroutines.
type Env struct {
	dir        string
	admin      *rest.Config
	kubeconfig string
	webhooks   *WebhookServer
	logs       *recording

	mu      sync.Mutex
	cluster *cluster // nil once stopped, so that an Env which is still referred to holds no memory
}

// cluster is what runs.
type cluster struct {
	server *server.Server
	parts  *component.Group
}

// Start starts a cluster for a test and stops it when the test and its subtests have ended. Where the cluster does not start,
// the test ends. Where the test has failed, the last lines of the cluster's log are shown with it.
func Start(t TB, options Options) *Env {
	t.Helper()
	if options.Dir == "" {
		options.Dir = filepath.Join(t.TempDir(), "cluster")
	}
	env, err := New(options)
	if err != nil {
		t.Fatalf("testenv: %v", err)
		return nil
	}
	t.Cleanup(func() {
		t.Helper()
		if err := env.Stop(); err != nil {
			t.Errorf("testenv: %v", err)
		}
		if lines := env.Logs(); t.Failed() && lines != "" {
			t.Logf("testenv: the end of the cluster's log:\n%s", lines)
		}
	})
	return env
}

// New starts a cluster without a test, as TestMain needs it. Stop must be called.
func New(options Options) (*Env, error) {
	c, err := configuration(options)
	if err != nil {
		return nil, err
	}
	if options.StartTimeout == 0 {
		options.StartTimeout = defaultStartTimeout
	}
	crds, err := options.CRDs.read()
	if err != nil {
		return nil, fmt.Errorf("read Options.CRDs: %w", err)
	}
	webhooks, err := options.Webhooks.read()
	if err != nil {
		return nil, fmt.Errorf("read Options.Webhooks: %w", err)
	}
	dir, err := emptyDir(options.Dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), options.StartTimeout,
		fmt.Errorf("not ready within %v (Options.StartTimeout)", options.StartTimeout))
	defer cancel()
	env := &Env{dir: dir, logs: record()}
	err = env.start(ctx, c)
	if err == nil {
		err = env.install(ctx, crds, webhooks)
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		err = fmt.Errorf("the cluster did not start: %w", err)
		lines := env.Logs()
		if stopped := env.Stop(); stopped != nil {
			err = errors.Join(err, stopped)
		}
		if lines != "" {
			err = fmt.Errorf("%w\nthe end of its log:\n%s", err, lines)
		}
		return nil, err
	}
	env.logs.forget(0) // what every start says helps nobody
	return env, nil
}

// configuration is that of a cluster which is reached by loopback alone and forgets everything when it ends.
func configuration(options Options) (*config.Config, error) {
	nodes := options.Nodes
	switch {
	case nodes == 0:
		nodes = 1
	case nodes == NoNodes:
		nodes = 0
	case nodes < NoNodes:
		return nil, fmt.Errorf("Options.Nodes is %d: give a number of nodes, or NoNodes", nodes)
	}
	c := &config.Config{Runtime: config.RuntimeSimulated, Nodes: &nodes, Simulated: options.Simulated}
	c.Node.Name, c.Node.IP = "node", "127.0.0.1"
	c.Storage.UnsafeNoFsync = true
	config.SetDefaults(c)
	if errs := config.Validate(c); len(errs) > 0 {
		return nil, fmt.Errorf("Options: %w", errs.ToAggregate())
	}
	return c, nil
}

// start starts the components: the server's, then those of the nodes.
func (e *Env) start(ctx context.Context, c *config.Config) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("open a port for the API server: %w", err)
	}
	c.DataDir, c.API.Port = e.dir, listener.Addr().(*net.TCPAddr).Port
	s := server.New(c, server.Options{Listener: listener, Failed: lastWords})
	nodes := simulation.New(c, simulation.Options{Upstream: func() (simulation.Upstream, error) {
		ids := s.Identities()
		return simulation.Upstream{Client: s.NodeClient, Informers: s.Informers(), Serving: ids.KubeletServing.TLS(), ClientCA: ids.CA.Cert}, nil
	}})
	s.DialNodes(nodes.Dial)
	group := component.NewGroup(append(s.Components(), nodes.Components()...)...)
	if err := group.Start(ctx, nil); err != nil {
		_ = listener.Close() // done already where the API server had come to life
		return err
	}
	e.cluster = &cluster{server: s, parts: group}
	e.admin, e.kubeconfig = s.Identities().RESTConfig(s.URL(), s.Identities().Admin), c.AdminKubeconfig()
	e.webhooks, err = newWebhookServer(filepath.Join(e.dir, "webhooks"), s.Identities().CA)
	return err
}

// install makes what a test wants to find in its cluster.
func (e *Env) install(ctx context.Context, crds []*apiextensionsv1.CustomResourceDefinition, webhooks Webhooks) error {
	if _, err := e.installCRDs(ctx, crds); err != nil {
		return err
	}
	return e.installWebhooks(ctx, webhooks)
}

// Stop ends the cluster and removes its data. It may be called again. Clients of the cluster that are still in use get
// errors from then on.
func (e *Env) Stop() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	stopping := e.logs.mark()
	if e.cluster != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		errs = append(errs, e.cluster.parts.Stop(ctx))
		e.cluster = nil
	}
	if e.webhooks != nil {
		e.webhooks.held.release()
	}
	e.logs.stop()
	errs = append(errs, os.RemoveAll(e.dir))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("the cluster did not stop: %w", err)
	}
	e.logs.forget(stopping)
	return nil
}

// running returns what runs.
func (e *Env) running() (*cluster, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cluster == nil {
		return nil, errors.New("the cluster has been stopped")
	}
	return e.cluster, nil
}

// Logs returns the last lines that the cluster has logged. Log lines do not tell clusters apart: while several run at once,
// each returns the lines of all.
func (e *Env) Logs() string { return e.logs.String() }

// Config is how clients reach the cluster as its administrator. Each call returns a copy.
func (e *Env) Config() *rest.Config { return rest.CopyConfig(e.admin) }

// Kubeconfig is the path of the administrator's kubeconfig, for programs such as kubectl and helm.
func (e *Env) Kubeconfig() string { return e.kubeconfig }

// lastWords says why the storage ends the process: what the log says is not shown any more.
func lastWords(err error) {
	fmt.Fprintf(os.Stderr, "testenv: a cluster cannot go on and ends this process: %v\n", err)
}

// emptyDir returns dir, made if need be; without a name, a new directory.
func emptyDir(dir string) (string, error) {
	if dir == "" {
		made, err := os.MkdirTemp("", "testenv-")
		if err != nil {
			return "", fmt.Errorf("make a directory for the cluster: %w", err)
		}
		return made, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make Options.Dir: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("read Options.Dir: %w", err)
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("Options.Dir %s is not empty: give a directory that is, since Stop removes it", dir)
	}
	return filepath.Abs(dir)
}
