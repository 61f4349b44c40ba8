// SPDX-License-Identifier: Apache-2.0

// Package simulated is a container runtime that runs nothing: it implements the CRI's Go interfaces in memory, so that the node
// agent brings pods to Running without processes, root or images. It serves operators, charts, scale tests and the
// agent's own tests. What containers do is what their pods' annotations say (behaviour.go); docs/simulated.md is the reference.
//
// A pod costs a kilobyte here; lists cost what they return; nothing runs between calls except one timer for each container
// that is to end by itself. Logs, environments and files are made up when somebody asks for them. Nothing is kept anywhere
// else: what ran before the process ended is read back from the pods' statuses (adopt.go).
package simulated

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Name is the runtime's, as the head of container ids has it.
const Name = "simulated"

const (
	version        = "1.0.0"
	defaultPodCIDR = "10.88.0.0/16"
)

// Options of a simulated runtime; the zero value is usable.
type Options struct {
	// PodCIDR is where pod addresses come from, until UpdateRuntimeConfig names another. Default 10.88.0.0/16.
	PodCIDR string
	// AwaitPodCIDR has pods wait until UpdateRuntimeConfig names the range.
	AwaitPodCIDR bool
	// PullDelay is how long a pull takes of an image that is not there, and StartDelay the start of a container, unless the pod says
	// otherwise.
	PullDelay, StartDelay time.Duration
	// Exec answers ExecSync; nil means that every command succeeds.
	Exec func(containerID string, command []string) (stdout string, exitCode int)
	// Registries are the hosts of those that images can be pulled from; none means every one, but for those below .invalid.
	Registries []string
	// Missing says whether an image cannot be pulled; nil means that it follows from its registry.
	Missing func(image string) error
	// Refused is told of annotations that a pod was given while it runs and that cannot be read; those before stay in force. It must
	// not call the runtime. Optional.
	Refused func(pod *v1.Pod, err error)
	// Shell answers commands where Exec is nil. Optional.
	Shell *Shell
}

// Runtime is the simulation of one node's; it is safe for concurrent use.
type Runtime struct {
	options Options

	mu         sync.Mutex
	invalid    map[types.UID]error // why registered pods cannot run
	sandboxes  map[string]*sandbox
	containers map[string]*container
	images     map[string]string // ids by name
	listeners  map[int]func(*runtimeapi.ContainerEventResponse)
	listened   int // how many listeners there have been
	prefix     netip.Prefix
	prefixed   chan struct{} // closed once prefix is known
	used       map[netip.Addr]struct{}
	lastIP     netip.Addr
	calls      map[string]int
	stopped    []string
}

// sandbox is a pod, as far as the runtime knows.
type sandbox struct {
	id, name, namespace string
	uid                 types.UID
	attempt             uint32
	createdAt           int64 // nanoseconds since 1970, as all times here
	ip                  netip.Addr
	handler             string
	ready, hostNetwork  bool
	job                 bool              // it is one of a Job's
	annotations         map[string]string // of the pod, those below AnnotationPrefix
	containers          []*container
}

// container is one of a sandbox's.
type container struct {
	id, name, kind                   string
	box                              *sandbox
	attempt                          uint32
	image, imageRef                  string
	natural                          end
	brief                            bool              // it ends as natural says, if nothing else is asked of it
	shell                            bool              // it reads commands from its input
	annotations                      map[string]string // of the node agent
	stopSignal                       runtimeapi.Signal
	state                            runtimeapi.ContainerState
	createdAt, startedAt, finishedAt int64
	exitCode                         int32
	reason, message                  string
	timer                            *time.Timer   // of its end, where it has one
	exited                           chan struct{} // closed at its end; made by whoever waits for that
}

// New returns an empty runtime.
func New(options Options) *Runtime {
	r := &Runtime{
		options:    options,
		invalid:    map[types.UID]error{},
		sandboxes:  map[string]*sandbox{},
		containers: map[string]*container{},
		images:     map[string]string{},
		listeners:  map[int]func(*runtimeapi.ContainerEventResponse){},
		prefixed:   make(chan struct{}),
		used:       map[netip.Addr]struct{}{},
		calls:      map[string]int{},
	}
	if options.AwaitPodCIDR {
		return r
	}
	cidr := options.PodCIDR
	if cidr == "" {
		cidr = defaultPodCIDR
	}
	if prefix, err := netip.ParsePrefix(cidr); err == nil {
		r.setPrefix(prefix)
	}
	return r
}

// Version names the simulation as the node's container runtime.
func (r *Runtime) Version(context.Context, string) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{Version: "0.1.0", RuntimeName: Name, RuntimeVersion: version, RuntimeApiVersion: "v1"}, nil
}

// Status is always ready.
func (r *Runtime) Status(context.Context, bool) (*runtimeapi.StatusResponse, error) {
	return &runtimeapi.StatusResponse{Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
		{Type: runtimeapi.RuntimeReady, Status: true}, {Type: runtimeapi.NetworkReady, Status: true},
	}}}, nil
}

// RuntimeConfig says nothing: there is no cgroup driver.
func (r *Runtime) RuntimeConfig(context.Context) (*runtimeapi.RuntimeConfigResponse, error) {
	return &runtimeapi.RuntimeConfigResponse{}, nil
}

// UpdateRuntimeConfig takes the node's pod CIDR.
func (r *Runtime) UpdateRuntimeConfig(_ context.Context, config *runtimeapi.RuntimeConfig) error {
	cidr := config.GetNetworkConfig().GetPodCidr()
	if cidr == "" {
		return nil
	}
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "pod CIDR %q: %v", cidr, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setPrefix(prefix)
	return nil
}

// Close ends nothing: the runtime has no connection.
func (r *Runtime) Close(context.Context) error { return nil }

// Register takes up a pod as the API shows it now: its annotations may say something new of what runs.
func (r *Runtime) Register(pod *v1.Pod) {
	annotations := ours(pod.Annotations)
	err := Validate(annotations, containerNames(pod))
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.invalid, pod.UID)
	if err != nil {
		r.invalid[pod.UID] = err
	}
	for _, s := range r.sandboxes {
		if s.uid != pod.UID || !s.ready || maps.Equal(s.annotations, annotations) {
			continue
		}
		if err != nil {
			if r.options.Refused != nil {
				r.options.Refused(pod, err)
			}
			return // what runs goes on as it was told before
		}
		s.annotations = annotations
		for _, c := range s.containers {
			r.arm(c, false)
		}
	}
}

// Unregister forgets a pod.
func (r *Runtime) Unregister(pod *v1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.invalid, pod.UID)
}

func containerNames(pod *v1.Pod) []string {
	var names []string
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			names = append(names, list[i].Name)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		names = append(names, pod.Spec.EphemeralContainers[i].Name)
	}
	return names
}

// Calls returns how often a call that changes something has been made; for tests.
func (r *Runtime) Calls(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls[name]
}

// Stopped returns the names of the last containers that were stopped while they ran, in order; for tests.
func (r *Runtime) Stopped() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.stopped)
}

var (
	_ internalapi.RuntimeService      = (*Runtime)(nil)
	_ internalapi.ImageManagerService = (*Images)(nil)
)
