// SPDX-License-Identifier: Apache-2.0

// Package load puts a measured load on any Kubernetes API server: creates, gets, lists, patches, watches, Deployments and deletes, one phase after the other. It
// reports latencies and rates as clients see them, and what the server's processes spend on them.
//
// load.go runs phases, requests.go has those of single requests, watches.go and deployments.go the two that wait for what the server does, result.go says
// what is reported, process.go reads /proc.
package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Options says on what to put how much load.
type Options struct {
	// Config is how to reach the server, as someone who may do everything. Limits in it are not heeded.
	Config *rest.Config
	// Clients is how many requests are under way at a time, each on a connection of its own.
	Clients int
	// JSON makes clients speak JSON. Without it they speak protobuf, as Kubernetes' own components do.
	JSON bool
	// Sizes of the phases.
	Sizes
	// Timeout is what a phase may take; requests that have not ended by then count as failed.
	Timeout time.Duration
	// Processes are the server's, by name, whose memory and CPU time are reported.
	Processes map[string]int
}

// Sizes says how much each phase does.
type Sizes struct {
	ConfigMaps  int     `json:"configMaps"`
	Pods        int     `json:"pods"`
	Gets        int     `json:"gets"`
	Lists       int     `json:"lists"`
	Patches     int     `json:"patches"`
	Watchers    int     `json:"watchers"`
	Events      int     `json:"events"`      // that each watcher sees
	EventRate   float64 `json:"eventRate"`   // events a second
	Deployments []int   `json:"deployments"` // replicas of each, one after the other
	Deletes     int     `json:"deletes"`
}

// DefaultSizes are right for a look at a server on two cores within a minute or two.
func DefaultSizes() Sizes {
	return Sizes{ConfigMaps: 5000, Pods: 5000, Gets: 5000, Lists: 10, Patches: 2000, Watchers: 100, Events: 200, EventRate: 20, Deployments: []int{100, 500}, Deletes: 2000}
}

// Load is what phases share.
type Load struct {
	o          Options
	clients    []kubernetes.Interface
	namespaces map[string]string // by purpose
	random     *rand.Rand
	done       []string // phases that have run
}

// phase is one of the things that Run can do.
type phase struct {
	name  string
	needs string // the phase that must have run before; "" for none
	run   func(*Load, context.Context) ([]Result, error)
}

// phases are in an order that they can run in.
var phases = []phase{
	{name: "configmaps", run: (*Load).createConfigMaps},
	{name: "pods", run: (*Load).createPods},
	{name: "gets", needs: "pods", run: (*Load).getPods},
	{name: "lists", needs: "pods", run: (*Load).listPods},
	{name: "jsonlists", needs: "pods", run: (*Load).listPodsJSON},
	{name: "patches", needs: "pods", run: (*Load).patchPods},
	{name: "watches", run: (*Load).watch},
	{name: "deployments", run: (*Load).deploy},
	{name: "deletes", needs: "pods", run: (*Load).deletePods},
	{name: "refill", needs: "deletes", run: (*Load).refill},
}

// Phases are the names of all phases, in an order that they can run in.
func Phases() []string {
	var names []string
	for _, p := range phases {
		names = append(names, p.name)
	}
	return names
}

// CheckPhases says what is wrong with phases that shall run in this order: a name that there is not, or a phase whose objects none before it makes.
func CheckPhases(names []string) error {
	for i, name := range names {
		p := find(name)
		if p == nil {
			return fmt.Errorf("phase %q: there is none of that name; there are %s", name, strings.Join(Phases(), ", "))
		}
		if p.needs != "" && !slices.Contains(names[:i], p.needs) {
			return fmt.Errorf("phase %q works on the objects of %q: put that before it", name, p.needs)
		}
	}
	return nil
}

func find(name string) *phase {
	if i := slices.IndexFunc(phases, func(p phase) bool { return p.name == name }); i >= 0 {
		return &phases[i]
	}
	return nil
}

// Check says which size is out of range.
func (s Sizes) Check() error {
	for name, n := range map[string]int{"configMaps": s.ConfigMaps, "pods": s.Pods, "gets": s.Gets, "lists": s.Lists, "patches": s.Patches,
		"watchers": s.Watchers, "events": s.Events, "deletes": s.Deletes} {
		if n < 1 {
			return fmt.Errorf("%s: %d: it must be 1 or more", name, n)
		}
	}
	if s.EventRate <= 0 {
		return fmt.Errorf("eventRate: %v: it must be more than 0", s.EventRate)
	}
	if i := slices.IndexFunc(s.Deployments, func(n int) bool { return n < 1 }); i >= 0 {
		return fmt.Errorf("deployments: %d: it must be 1 or more", s.Deployments[i])
	}
	if s.Deletes > s.Pods {
		return fmt.Errorf("deletes: %d: there are only %d pods", s.Deletes, s.Pods)
	}
	return nil
}

// New connects to the server, makes namespaces for the phases, and opens all connections.
func New(ctx context.Context, o Options) (*Load, error) {
	if err := o.Check(); err != nil {
		return nil, fmt.Errorf("set up the load: %w", err)
	}
	if o.Clients < 1 {
		return nil, fmt.Errorf("set up the load: clients: %d: it must be 1 or more", o.Clients)
	}
	l := &Load{o: o, namespaces: map[string]string{}, random: rand.New(rand.NewPCG(1, 2))}
	for range o.Clients {
		client, err := newClient(o.Config, o.JSON)
		if err != nil {
			return nil, fmt.Errorf("set up the load: %w", err)
		}
		l.clients = append(l.clients, client)
	}
	for _, purpose := range []string{"configmaps", "pods", "watches", "deployments"} {
		if err := l.makeNamespace(ctx, purpose); err != nil {
			return nil, fmt.Errorf("set up the load: %w", err)
		}
	}
	for _, client := range l.clients {
		if _, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{Limit: 1}); err != nil {
			return nil, fmt.Errorf("set up the load: %w", err)
		}
	}
	return l, nil
}

// makeNamespace makes the ServiceAccount too that Pods run as: there may be no controller that does.
func (l *Load) makeNamespace(ctx context.Context, purpose string) error {
	core := l.clients[0].CoreV1()
	ns, err := core.Namespaces().Create(ctx, &v1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "load-" + purpose + "-"}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	l.namespaces[purpose] = ns.Name
	_, err = core.ServiceAccounts(ns.Name).Create(ctx, &v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// Run runs a phase. Requests that fail are counted in its results; it is an error when all of them do.
func (l *Load) Run(ctx context.Context, name string) ([]Result, error) {
	if err := CheckPhases(append(slices.Clone(l.done), name)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, l.o.Timeout, fmt.Errorf("it has taken longer than %v", l.o.Timeout))
	defer cancel()
	results, err := find(name).run(l, ctx)
	if err != nil {
		return nil, fmt.Errorf("phase %s: %w", name, err)
	}
	l.done = append(l.done, name)
	return results, nil
}

// Clean deletes the namespaces, and does not wait until they are gone.
func (l *Load) Clean(ctx context.Context) error {
	var errs []error
	for _, name := range l.namespaces {
		errs = append(errs, l.clients[0].CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{}))
	}
	return errors.Join(errs...)
}

// newClient has a connection of its own.
func newClient(config *rest.Config, json bool) (kubernetes.Interface, error) {
	c := rest.CopyConfig(config)
	c.QPS, c.Burst = -1, -1
	c.UserAgent = "hivemind-load"
	if !json {
		c.ContentType = runtime.ContentTypeProtobuf
		c.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	}
	// client-go shares connections between clients of equal configuration; a dialer of its own makes it differ.
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	c.Dial = dialer.DialContext
	return kubernetes.NewForConfig(c)
}
