// SPDX-License-Identifier: Apache-2.0

// Package simulation is the agent role without containers: nodes that are simulated, many in one process.
package simulation

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/kubelet-lite/simulated"
	"github.com/hivemind-project/hivemind/pkg/component"
)

// parallelWrites is how many statuses and deletions of pods all simulated nodes send at once: enough for the storage to write several with
// one sync, few enough that those that wait cost a goroutine each and nothing more.
const parallelWrites = 32

// Upstream is the server of this process as simulated nodes know it.
type Upstream struct {
	// Client is how a node reaches it, as itself: server.Server.NodeClient.
	Client func(node string) *rest.Config
	// Controller may delete Nodes: those are removed at the start that earlier starts have left, with more nodes. Optional.
	Controller *rest.Config
	// Informers are the server's own.
	Informers informers.SharedInformerFactory
	// Serving is what the nodes' APIs serve with, to clients whose certificates are from ClientCA.
	Serving  tls.Certificate
	ClientCA *x509.Certificate
}

// Options are what is not configuration.
type Options struct {
	// Upstream is asked once, when the nodes start.
	Upstream func() (Upstream, error)
}

// Nodes are the agent role without containers: as many nodes as are configured, all in this process, each with its own identity.
// They need no rights on the machine, write no files, and listen on no port: the API server reaches theirs through Dial. What they
// watch they share. See docs/simulated.md for what pods do on them, and for what a node and a pod cost.
type Nodes struct {
	config  *config.Config
	options Options

	upstream Upstream
	rest     kubernetes.Interface // of a client without rights, for what no node's client has
	source   *sharedSource
	events   *eventRouter
	recorder record.EventBroadcaster
	synced   []cache.InformerSynced // of what nodes read beside pods
	turns    chan struct{}
	api      *nodeAPIs
	nodes    []*simulatedNode

	// life ends when the nodes stop; what runs in the background ends with it.
	life    context.Context
	end     context.CancelFunc
	running sync.WaitGroup
}

// New returns nodes that have not started. c is complete and valid; see apis/config.
func New(c *config.Config, options Options) *Nodes {
	life, end := context.WithCancel(context.Background())
	return &Nodes{config: c, options: options, api: newNodeAPIs(), turns: make(chan struct{}, parallelWrites), life: life, end: end}
}

// Components is what runs at boot, in order.
func (s *Nodes) Components() []component.Component {
	return []component.Component{
		{Name: "nodes", Start: s.start, Ready: s.ready, Stop: s.stop},
	}
}

// Dial connects to the HTTP API of the node that has the address, whatever the port. It is what server.Server.DialNodes takes.
func (s *Nodes) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	return s.api.dial(ctx, address)
}

func (s *Nodes) start(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop(ctx))
		}
	}()
	if s.upstream, err = s.options.Upstream(); err != nil {
		return err
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	for i := range *s.config.Nodes {
		n, err := s.newNode(i)
		if err != nil {
			return fmt.Errorf("node %s: %w", s.config.NodeName(i), err)
		}
		s.nodes = append(s.nodes, n)
	}
	s.events.route(s.life, s.nodes)
	s.api.serve(s.nodes, s.upstream.Serving, s.upstream.ClientCA)
	if err := s.removeOthers(ctx); err != nil {
		return err
	}
	if err := s.source.start(s.nodes); err != nil {
		return err
	}
	volumes, err := newReclaimer(s.upstream.Informers.Core().V1().PersistentVolumes().Informer(), s.nodes)
	if err != nil {
		return err
	}
	s.background("local volumes", volumes.run)
	for _, n := range s.nodes {
		s.background(n.name, n.kubelet.Run)
	}
	return nil
}

// removeOthers deletes the Nodes of a start that had more of them. Their pods go with them: podgc sees to that.
func (s *Nodes) removeOthers(ctx context.Context) error {
	if s.upstream.Controller == nil {
		return nil
	}
	ours := map[string]bool{}
	for _, n := range s.nodes {
		ours[n.name] = true
	}
	client, err := typedcorev1.NewForConfig(s.upstream.Controller)
	if err != nil {
		return fmt.Errorf("make API client: %w", err)
	}
	list, err := s.upstream.Informers.Core().V1().Nodes().Lister().List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	for _, node := range list {
		if ours[node.Name] || !strings.HasPrefix(node.Status.NodeInfo.ContainerRuntimeVersion, simulated.Name+"://") {
			continue
		}
		if err := client.Nodes().Delete(ctx, node.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete node %s, which is no more: %w", node.Name, err)
		}
	}
	return nil
}

// ready waits until every node has been Ready once.
func (s *Nodes) ready(ctx context.Context) error {
	for _, n := range s.nodes {
		if err := n.kubelet.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *Nodes) stop(ctx context.Context) error {
	s.end()
	errs := []error{s.api.stop()}
	if s.source != nil {
		errs = append(errs, s.source.stop())
	}
	if s.recorder != nil {
		s.recorder.Shutdown()
	}
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		errs = append(errs, fmt.Errorf("something still runs: %w", context.Cause(ctx)))
	}
	return errors.Join(errs...)
}

// background runs f until the nodes stop. An error is logged with the name.
func (s *Nodes) background(name string, f func(context.Context) error) {
	s.running.Go(func() {
		if err := f(s.life); err != nil && s.life.Err() == nil {
			klog.ErrorS(err, "Ended before its time", "name", name)
		}
	})
}
