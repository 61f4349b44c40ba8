// SPDX-License-Identifier: Apache-2.0

package podworker

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/flowcontrol"
	internalapi "k8s.io/cri-api/pkg/apis"
	"k8s.io/utils/clock"

	"github.com/hivemind-project/hivemind/kubelet-lite/criconfig"
	"github.com/hivemind-project/hivemind/kubelet-lite/envvars"
	"github.com/hivemind-project/hivemind/kubelet-lite/images"
	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
	"github.com/hivemind-project/hivemind/kubelet-lite/prober"
	"github.com/hivemind-project/hivemind/kubelet-lite/status"
	"github.com/hivemind-project/hivemind/kubelet-lite/volume"
)

// Volumes mounts what pods need. Every method may be repeated.
type Volumes interface {
	// Mount returns where each of the pod's volumes is, by name.
	Mount(ctx context.Context, pod *v1.Pod) (map[string]volume.Mounted, error)
	// Refresh brings the content of ConfigMaps, Secrets, tokens and the downward API up to date.
	Refresh(ctx context.Context, pod *v1.Pod) error
	Unmount(ctx context.Context, podUID types.UID) error
}

// Objects follows the ConfigMaps and Secrets that pods refer to. Every method may be repeated.
type Objects interface {
	Register(pod *v1.Pod)
	Unregister(pod *v1.Pod)
}

// Cgroups bounds pods as a whole. Every method may be repeated.
type Cgroups interface {
	PodCgroup(pod *v1.Pod) string
	Ensure(pod *v1.Pod) error
	Remove(podUID types.UID) error
}

// Hooks runs one hook of a container to its end; lifecycle.Runner does. The error is what the container's status may show.
type Hooks interface {
	Run(ctx context.Context, pod *v1.Pod, container *v1.Container, containerID, podIP string, handler *v1.LifecycleHandler) error
}

// Deps is what the pods' workers work with.
type Deps struct {
	Client      kubernetes.Interface
	Runtime     internalapi.RuntimeService
	RuntimeName string
	// RuntimeHandler resolves a RuntimeClass to the runtime's name for it.
	RuntimeHandler func(class *string) (string, error)
	Watcher        *pleg.Watcher
	Cache          *pleg.Cache
	Images         *images.Puller
	Volumes        Volumes
	Objects        Objects
	Cgroups        Cgroups
	Builder        *criconfig.Builder
	Env            *envvars.Resolver
	Prober         *prober.Manager
	Hooks          Hooks
	Status         *status.Manager
	Recorder       record.EventRecorder
	HostIPs        []string
	Clock          clock.WithDelayedExecution
	// Refuses says why the node would not take a pod beside others; "" where it would. Optional: nil takes all.
	Refuses func(pod *v1.Pod, others []*v1.Pod) string
	// Parallel bounds how many pods are started, and how many stopped, at once. The runtime gains nothing from more.
	Parallel int
	// Turns bounds, by its capacity, how many deletions are sent at once by all who share it; nil sets no bound.
	Turns chan struct{}
}

// Back-off of containers that keep ending.
const (
	restartBackOff    = 10 * time.Second
	restartBackOffMax = 300 * time.Second
)

func newBackOff(clk clock.Clock) *flowcontrol.Backoff {
	b := flowcontrol.NewBackOff(restartBackOff, restartBackOffMax)
	b.Clock = clk
	return b
}
