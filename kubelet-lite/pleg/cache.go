// SPDX-License-Identifier: Apache-2.0

// Package pleg (pod lifecycle event generator) knows what the container runtime runs: a cache of every pod's sandboxes
// and containers, kept current by the runtime's event stream and checked by a slow relist. Reading a pod is a map
// lookup; an event costs one merge; a relist costs one list call and one status call for each container that changed.
package pleg

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubetypes "k8s.io/kubelet/pkg/types"
)

// Annotations that a container carries so that everything about it can be read back from the runtime.
const (
	AnnotationHash                     = "io.kubernetes.container.hash"
	AnnotationRestartCount             = "io.kubernetes.container.restartCount"
	AnnotationTerminationMessagePath   = "io.kubernetes.container.terminationMessagePath"
	AnnotationTerminationMessagePolicy = "io.kubernetes.container.terminationMessagePolicy"
	AnnotationTerminationGracePeriod   = "io.kubernetes.pod.terminationGracePeriod"
	AnnotationResources                = "hivemind.io/container.resources"
	AnnotationKind                     = "hivemind.io/container.kind"
)

// State of a container, ordered: a container only ever moves to a higher one.
type State int

const (
	Created State = iota
	Running
	Unknown
	Exited
)

// Container is one container as the runtime knows it.
type Container struct {
	ID, Name, SandboxID              string
	State                            State
	RestartCount                     int
	Hash                             string
	CreatedAt, StartedAt, FinishedAt time.Time
	ExitCode                         int32
	Reason, Message                  string
	Image, ImageRef                  string
	LogPath                          string
	MessageFile                      string // where its termination message is on this machine
	MessagePath                      string // and where the container sees it
	MessagePolicy                    string
	GracePeriod                      int64  // seconds, of its pod when it was created
	Resources                        string // what was applied to it, as JSON
	User                             *runtimeapi.LinuxContainerUser
	StopSignal                       runtimeapi.Signal

	seen time.Time
}

// Sandbox is one pod sandbox as the runtime knows it.
type Sandbox struct {
	ID        string
	Attempt   uint32
	Ready     bool
	CreatedAt time.Time
	IPs       []string
	HostNet   bool

	seen time.Time
}

// Pod is what the runtime knows of a pod; both lists are newest first. A Pod that was read is never written again.
type Pod struct {
	UID             types.UID
	Name, Namespace string
	Sandboxes       []Sandbox
	Containers      []Container
}

// Latest returns the newest container of that name.
func (p *Pod) Latest(name string) (Container, bool) {
	for _, c := range p.Containers {
		if c.Name == name {
			return c, true
		}
	}
	return Container{}, false
}

// LatestIn returns the newest container of that name in one sandbox.
func (p *Pod) LatestIn(sandboxID, name string) (Container, bool) {
	for _, c := range p.Containers {
		if c.Name == name && c.SandboxID == sandboxID {
			return c, true
		}
	}
	return Container{}, false
}

// Live returns the containers that run, or may run.
func (p *Pod) Live() []Container {
	var live []Container
	for _, c := range p.Containers {
		if c.State == Running || c.State == Unknown {
			live = append(live, c)
		}
	}
	return live
}

// IPs returns the addresses of the newest sandbox.
func (p *Pod) IPs() []string {
	if len(p.Sandboxes) == 0 {
		return nil
	}
	return p.Sandboxes[0].IPs
}

// Cache holds all pods. Its lock is never held across a call to the runtime.
type Cache struct {
	mu   sync.RWMutex
	pods map[types.UID]*Pod
	now  func() time.Time
}

// NewCache returns an empty cache.
func NewCache() *Cache {
	return &Cache{pods: map[types.UID]*Pod{}, now: time.Now}
}

// Get returns what is known of a pod; an empty Pod where nothing is.
func (c *Cache) Get(uid types.UID) *Pod {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if p, ok := c.pods[uid]; ok {
		return p
	}
	return &Pod{UID: uid}
}

// UIDs returns the pods that have a sandbox or a container.
func (c *Cache) UIDs() []types.UID {
	c.mu.RLock()
	defer c.mu.RUnlock()
	uids := make([]types.UID, 0, len(c.pods))
	for uid := range c.pods {
		uids = append(uids, uid)
	}
	return uids
}

// PutContainer records a container's status; an older state never replaces a newer one. It reports whether anything changed.
func (c *Cache) PutContainer(uid types.UID, sandboxID string, status *runtimeapi.ContainerStatus) bool {
	next := fromStatus(status)
	next.SandboxID = sandboxID
	changed := false
	c.edit(uid, status.Labels, func(p *Pod) {
		i := slices.IndexFunc(p.Containers, func(have Container) bool { return have.ID == next.ID })
		if i < 0 {
			next.seen = c.now()
			p.Containers = append(p.Containers, next)
			slices.SortStableFunc(p.Containers, func(a, b Container) int {
				if d := b.CreatedAt.Compare(a.CreatedAt); d != 0 {
					return d
				}
				return b.RestartCount - a.RestartCount
			})
			changed = true
			return
		}
		have := p.Containers[i]
		if next.State < have.State || (next.State == have.State && (have.State != Exited || !have.FinishedAt.IsZero())) {
			return
		}
		if next.SandboxID == "" {
			next.SandboxID = have.SandboxID
		}
		next.seen, next.Resources = have.seen, have.Resources
		changed = next.State != have.State
		p.Containers[i] = next
	})
	return changed
}

// SetResources records what has been applied to a running container.
func (c *Cache) SetResources(uid types.UID, id, resources string) {
	c.edit(uid, nil, func(p *Pod) {
		for i := range p.Containers {
			if p.Containers[i].ID == id {
				p.Containers[i].Resources = resources
			}
		}
	})
}

// DropContainer forgets a container that has been removed.
func (c *Cache) DropContainer(uid types.UID, id string) bool {
	changed := false
	c.edit(uid, nil, func(p *Pod) {
		before := len(p.Containers)
		p.Containers = slices.DeleteFunc(p.Containers, func(have Container) bool { return have.ID == id })
		changed = len(p.Containers) != before
	})
	return changed
}

// PutSandbox records a sandbox's status; a sandbox that stopped stays so.
func (c *Cache) PutSandbox(uid types.UID, status *runtimeapi.PodSandboxStatus) bool {
	next := fromSandbox(status)
	changed := false
	c.edit(uid, status.Labels, func(p *Pod) {
		i := slices.IndexFunc(p.Sandboxes, func(have Sandbox) bool { return have.ID == next.ID })
		if i < 0 {
			next.seen = c.now()
			p.Sandboxes = append(p.Sandboxes, next)
			slices.SortStableFunc(p.Sandboxes, func(a, b Sandbox) int {
				if a.Attempt != b.Attempt {
					return int(b.Attempt) - int(a.Attempt)
				}
				return b.CreatedAt.Compare(a.CreatedAt)
			})
			changed = true
			return
		}
		have := p.Sandboxes[i]
		if !have.Ready {
			return
		}
		next.seen = have.seen
		changed = next.Ready != have.Ready || !slices.Equal(next.IPs, have.IPs)
		p.Sandboxes[i] = next
	})
	return changed
}

// StoppedSandbox records that a sandbox has been stopped.
func (c *Cache) StoppedSandbox(uid types.UID, id string) {
	c.edit(uid, nil, func(p *Pod) {
		for i := range p.Sandboxes {
			if p.Sandboxes[i].ID == id {
				p.Sandboxes[i].Ready = false
			}
		}
	})
}

// DropSandbox forgets a sandbox that has been removed, and its containers, which went with it.
func (c *Cache) DropSandbox(uid types.UID, id string) bool {
	changed := false
	c.edit(uid, nil, func(p *Pod) {
		before := len(p.Sandboxes) + len(p.Containers)
		p.Sandboxes = slices.DeleteFunc(p.Sandboxes, func(have Sandbox) bool { return have.ID == id })
		p.Containers = slices.DeleteFunc(p.Containers, func(have Container) bool { return have.SandboxID == id })
		changed = len(p.Sandboxes)+len(p.Containers) != before
	})
	return changed
}

// Find returns the pod that a sandbox or container belongs to.
func (c *Cache) Find(id string) (types.UID, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for uid, p := range c.pods {
		for _, s := range p.Sandboxes {
			if s.ID == id {
				return uid, true
			}
		}
		for _, have := range p.Containers {
			if have.ID == id {
				return uid, true
			}
		}
	}
	return "", false
}

// edit replaces a pod's entry by an edited copy, and drops it once it is empty.
func (c *Cache) edit(uid types.UID, labels map[string]string, change func(*Pod)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := Pod{UID: uid}
	if have, ok := c.pods[uid]; ok {
		next = *have
		next.Sandboxes = slices.Clone(have.Sandboxes)
		next.Containers = slices.Clone(have.Containers)
	}
	if name := labels[kubetypes.KubernetesPodNameLabel]; name != "" {
		next.Name, next.Namespace = name, labels[kubetypes.KubernetesPodNamespaceLabel]
	}
	change(&next)
	if len(next.Sandboxes) == 0 && len(next.Containers) == 0 {
		delete(c.pods, uid)
		return
	}
	c.pods[uid] = &next
}

func fromStatus(s *runtimeapi.ContainerStatus) Container {
	c := Container{
		ID:            s.Id,
		Name:          s.GetMetadata().GetName(),
		State:         stateOf(s.State),
		Hash:          s.Annotations[AnnotationHash],
		CreatedAt:     time.Unix(0, s.CreatedAt),
		ExitCode:      s.ExitCode,
		Reason:        s.Reason,
		Message:       s.Message,
		Image:         s.GetImage().GetImage(),
		ImageRef:      s.ImageRef,
		LogPath:       s.LogPath,
		MessagePath:   s.Annotations[AnnotationTerminationMessagePath],
		MessagePolicy: s.Annotations[AnnotationTerminationMessagePolicy],
		Resources:     s.Annotations[AnnotationResources],
		User:          s.GetUser().GetLinux(),
		StopSignal:    s.StopSignal,
	}
	if s.StartedAt != 0 {
		c.StartedAt = time.Unix(0, s.StartedAt)
	}
	if s.FinishedAt != 0 {
		c.FinishedAt = time.Unix(0, s.FinishedAt)
	}
	c.RestartCount, _ = strconv.Atoi(s.Annotations[AnnotationRestartCount])
	c.GracePeriod, _ = strconv.ParseInt(s.Annotations[AnnotationTerminationGracePeriod], 10, 64)
	for _, m := range s.Mounts {
		if c.MessagePath != "" && m.ContainerPath == c.MessagePath {
			c.MessageFile = m.HostPath
		}
	}
	return c
}

func fromSandbox(s *runtimeapi.PodSandboxStatus) Sandbox {
	sandbox := Sandbox{
		ID:        s.Id,
		Attempt:   s.GetMetadata().GetAttempt(),
		Ready:     s.State == runtimeapi.PodSandboxState_SANDBOX_READY,
		CreatedAt: time.Unix(0, s.CreatedAt),
		HostNet:   s.GetLinux().GetNamespaces().GetOptions().GetNetwork() == runtimeapi.NamespaceMode_NODE,
	}
	if ip := s.GetNetwork().GetIp(); ip != "" {
		sandbox.IPs = append(sandbox.IPs, ip)
	}
	for _, more := range s.GetNetwork().GetAdditionalIps() {
		if more.Ip != "" {
			sandbox.IPs = append(sandbox.IPs, more.Ip)
		}
	}
	return sandbox
}

func stateOf(s runtimeapi.ContainerState) State {
	switch s {
	case runtimeapi.ContainerState_CONTAINER_CREATED:
		return Created
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		return Running
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		return Exited
	default:
		return Unknown
	}
}
