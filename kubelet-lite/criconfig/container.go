// SPDX-License-Identifier: Apache-2.0

package criconfig

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubetypes "k8s.io/kubelet/pkg/types"

	"github.com/hivemind-project/hivemind/kubelet-lite/envvars"
	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
)

// Kind of a container, in order of their place in the pod's spec.
type Kind string

const (
	Regular   Kind = ""
	Init      Kind = "init"
	Sidecar   Kind = "sidecar"
	Ephemeral Kind = "ephemeral"
)

// Input is everything that a container's configuration is made from.
type Input struct {
	Pod          *v1.Pod
	Container    *v1.Container
	Kind         Kind
	RestartCount int
	PodIPs       []string
	Image        Image
	Env          []envvars.Var
	Mounts       []*runtimeapi.Mount
	TargetID     string // the container whose processes an ephemeral container is to see
}

// Container returns the configuration of a container, and creates what it refers to: log directory and termination message file.
func (b *Builder) Container(in Input) (*runtimeapi.ContainerConfig, error) {
	pod, c := in.Pod, in.Container
	security, err := b.security(pod, c, in.Image)
	if err != nil {
		return nil, err
	}
	if in.TargetID != "" && security.NamespaceOptions.Pid == runtimeapi.NamespaceMode_CONTAINER {
		security.NamespaceOptions.Pid = runtimeapi.NamespaceMode_TARGET
		security.NamespaceOptions.TargetId = in.TargetID
	}
	if b.PodLogDir != "" {
		if err := os.MkdirAll(filepath.Join(b.LogDir(pod), c.Name), 0o755); err != nil {
			return nil, fmt.Errorf("create container log directory for container %s failed: %w", c.Name, err)
		}
	}
	mounts := in.Mounts
	if c.TerminationMessagePath != "" && b.RootDir != "" {
		message, err := b.messageMount(pod, c, in.RestartCount)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, message)
	}
	lookup := lookupIn(in.Env)
	config := &runtimeapi.ContainerConfig{
		Metadata:    &runtimeapi.ContainerMetadata{Name: c.Name, Attempt: uint32(in.RestartCount)},
		Image:       &runtimeapi.ImageSpec{Image: in.Image.Ref, UserSpecifiedImage: c.Image},
		Command:     expandAll(c.Command, lookup),
		Args:        expandAll(c.Args, lookup),
		WorkingDir:  c.WorkingDir,
		Labels:      containerLabels(pod, c),
		Annotations: Annotations(in),
		Mounts:      mounts,
		LogPath:     LogPath(c.Name, in.RestartCount),
		Stdin:       c.Stdin,
		StdinOnce:   c.StdinOnce,
		Tty:         c.TTY,
		Linux:       &runtimeapi.LinuxContainerConfig{Resources: b.Resources(pod, c), SecurityContext: security},
	}
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		config.StopSignal = runtimeapi.Signal(runtimeapi.Signal_value[string(*c.Lifecycle.StopSignal)])
	}
	for _, v := range in.Env {
		config.Envs = append(config.Envs, &runtimeapi.KeyValue{Key: v.Name, Value: []byte(v.Value)})
	}
	return config, nil
}

// messageMount makes the file that a container leaves its last words in.
func (b *Builder) messageMount(pod *v1.Pod, c *v1.Container, restart int) (*runtimeapi.Mount, error) {
	dir := filepath.Join(b.PodDir(pod), "containers", c.Name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("create directory of container %s: %w", c.Name, err)
	}
	path := filepath.Join(dir, strconv.Itoa(restart))
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return nil, fmt.Errorf("create termination message file of container %s: %w", c.Name, err)
	}
	// Any user of the container may write it, whatever our umask.
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, fmt.Errorf("create termination message file of container %s: %w", c.Name, err)
	}
	return &runtimeapi.Mount{HostPath: path, ContainerPath: c.TerminationMessagePath}, nil
}

// LogPath is a container's log below its pod's log directory.
func LogPath(container string, restart int) string {
	return filepath.Join(container, strconv.Itoa(restart)+".log")
}

// Hash changes when a container must be replaced: when its name or image does.
func Hash(c *v1.Container) string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s\x00%s", c.Name, c.Image)
	return strconv.FormatUint(uint64(h.Sum32()), 16)
}

// Resizable is the part of a container's resources that may change while it runs, as it is kept with the container.
func Resizable(pod *v1.Pod, c *v1.Container) string {
	if len(c.Resources.Limits) == 0 && len(c.Resources.Requests) == 0 {
		return "{}"
	}
	keep := func(list v1.ResourceList) v1.ResourceList {
		kept := v1.ResourceList{}
		for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
			if q, ok := list[name]; ok {
				kept[name] = q
			}
		}
		return kept
	}
	text, err := json.Marshal(v1.ResourceRequirements{Limits: keep(c.Resources.Limits), Requests: keep(c.Resources.Requests)})
	if err != nil {
		return ""
	}
	return string(text)
}

// IsSidecar says whether an init container keeps running beside the pod's containers (KEP-753).
func IsSidecar(c *v1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways
}

// PodName is how messages name a pod: name_namespace(uid).
func PodName(pod *v1.Pod) string {
	return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID)
}

func containerLabels(pod *v1.Pod, c *v1.Container) map[string]string {
	return map[string]string{
		kubetypes.KubernetesPodNameLabel:       pod.Name,
		kubetypes.KubernetesPodNamespaceLabel:  pod.Namespace,
		kubetypes.KubernetesPodUIDLabel:        string(pod.UID),
		kubetypes.KubernetesContainerNameLabel: c.Name,
	}
}

// Annotations keep with the container what a restarted agent needs to know of it: its kind, its restarts, what it was given.
func Annotations(in Input) map[string]string {
	a := map[string]string{
		pleg.AnnotationHash:                     Hash(in.Container),
		pleg.AnnotationRestartCount:             strconv.Itoa(in.RestartCount),
		pleg.AnnotationTerminationMessagePath:   in.Container.TerminationMessagePath,
		pleg.AnnotationTerminationMessagePolicy: string(in.Container.TerminationMessagePolicy),
		pleg.AnnotationResources:                Resizable(in.Pod, in.Container),
	}
	if in.Kind != Regular {
		a[pleg.AnnotationKind] = string(in.Kind)
	}
	if grace := in.Pod.Spec.TerminationGracePeriodSeconds; grace != nil {
		a[pleg.AnnotationTerminationGracePeriod] = strconv.FormatInt(*grace, 10)
	}
	return a
}

func expandAll(words []string, lookup func(string) (string, bool)) []string {
	if len(words) == 0 {
		return nil
	}
	result := make([]string, len(words))
	for i, w := range words {
		result[i] = envvars.Expand(w, lookup)
	}
	return result
}

func lookupIn(env []envvars.Var) func(string) (string, bool) {
	values := make(map[string]string, len(env))
	for _, v := range env {
		values[v.Name] = v.Value
	}
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}
