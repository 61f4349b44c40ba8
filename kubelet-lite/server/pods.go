// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubelettypes "k8s.io/kubelet/pkg/types"
)

// pods lists what the agent is to run.
func (s *Server) pods(w http.ResponseWriter, _ *http.Request) {
	writePods(w, s.Pods.GetPods())
}

// runningPods lists what the runtime runs, as far as it knows: names and containers.
func (s *Server) runningPods(w http.ResponseWriter, r *http.Request) {
	list, err := s.Runtime.ListContainers(r.Context(), &runtimeapi.ContainerFilter{State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING}})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var out []*v1.Pod
	byUID := map[string]*v1.Pod{}
	for _, c := range list {
		uid := c.Labels[kubelettypes.KubernetesPodUIDLabel]
		pod := byUID[uid]
		if pod == nil {
			pod = &v1.Pod{ObjectMeta: metav1.ObjectMeta{
				Namespace: c.Labels[kubelettypes.KubernetesPodNamespaceLabel], Name: c.Labels[kubelettypes.KubernetesPodNameLabel], UID: types.UID(uid)}}
			byUID[uid] = pod
			out = append(out, pod)
		}
		pod.Spec.Containers = append(pod.Spec.Containers, v1.Container{Name: c.Labels[kubelettypes.KubernetesContainerNameLabel], Image: c.Image.GetImage()})
	}
	writePods(w, out)
}

func writePods(w http.ResponseWriter, pods []*v1.Pod) {
	list := v1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []v1.Pod{}}
	for _, p := range pods {
		list.Items = append(list.Items, *p)
	}
	writeJSON(w, &list)
}

// pod finds the pod that a path names, and answers the request if there is none.
func (s *Server) pod(w http.ResponseWriter, r *http.Request) *v1.Pod {
	pod, ok := s.Pods.GetPodByName(r.PathValue("namespace"), r.PathValue("pod"))
	if !ok {
		http.Error(w, "pod does not exist", http.StatusNotFound)
		return nil
	}
	if uid := r.PathValue("uid"); uid != "" && string(pod.UID) != uid {
		http.Error(w, "pod not found", http.StatusNotFound)
		return nil
	}
	return pod
}

// instances are the runtime's containers of one name in a pod, the newest first.
func (s *Server) instances(ctx context.Context, pod *v1.Pod, container string) ([]*runtimeapi.Container, error) {
	list, err := s.Runtime.ListContainers(ctx, &runtimeapi.ContainerFilter{LabelSelector: map[string]string{
		kubelettypes.KubernetesPodUIDLabel: string(pod.UID), kubelettypes.KubernetesContainerNameLabel: container}})
	if err != nil {
		return nil, fmt.Errorf("find container %s of pod %s/%s: %w", container, pod.Namespace, pod.Name, err)
	}
	slices.SortFunc(list, func(a, b *runtimeapi.Container) int { return int(b.Metadata.Attempt) - int(a.Metadata.Attempt) })
	return list, nil
}

// hasContainer tells whether the pod's spec names the container, and whether it has a terminal.
func hasContainer(pod *v1.Pod, name string) (tty, ok bool) {
	for _, list := range [][]v1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return list[i].TTY, true
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if c := &pod.Spec.EphemeralContainers[i]; c.Name == name {
			return c.TTY, true
		}
	}
	return false, false
}
