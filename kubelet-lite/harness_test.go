// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	internalapi "k8s.io/cri-api/pkg/apis"

	"github.com/hivemind-project/hivemind/kubelet-lite/node"
	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
	"github.com/hivemind-project/hivemind/kubelet-lite/simulated"
	"github.com/hivemind-project/hivemind/kubelet-lite/volume"
)

const (
	nodeName = "node-a"
	patience = 20 * time.Second
)

// world is a node agent on a simulated runtime, and an API server that is a map.
type world struct {
	t       *testing.T
	client  *fake.Clientset
	runtime *simulated.Runtime
	service internalapi.RuntimeService // what the agent calls: runtime, but where a test puts something between
	objects *memoryObjects
	kubelet *Kubelet
	events  *memoryRecorder
	dir     string
	stop    func()
}

func newWorld(t *testing.T, options simulated.Options) *world {
	t.Helper()
	w := &world{t: t, client: fake.NewClientset(), runtime: simulated.New(options), objects: &memoryObjects{}, events: &memoryRecorder{}, dir: t.TempDir()}
	w.service = w.runtime
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

// start runs an agent; after stop, another one on the same runtime.
func (w *world) start() {
	w.t.Helper()
	k, err := New(Config{NodeName: nodeName, NodeIPs: []string{"192.0.2.1"}, Client: w.client, Runtime: w.service, Images: w.runtime.Images(),
		Volumes: noVolumes{}, Objects: w.objects, RootDir: w.dir + "/kubelet", PodLogDir: w.dir + "/logs", ClusterDNS: []string{"10.43.0.10"},
		ClusterDomain: "cluster.local", Recorder: w.events, Machine: &node.Machine{Capacity: v1.ResourceList{
			v1.ResourceCPU: resource.MustParse("4"), v1.ResourceMemory: resource.MustParse("8Gi"), v1.ResourceEphemeralStorage: resource.MustParse("100Gi")}}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.run(k)
}

// run lets an agent run until w.stop.
func (w *world) run(k *Kubelet) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	w.kubelet = k
	w.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil && !errors.Is(err, context.Canceled) {
				w.t.Errorf("kubelet ended: %v", err)
			}
		case <-time.After(patience):
			w.t.Error("kubelet does not end")
		}
	})
	ready, done := context.WithTimeout(ctx, patience)
	defer done()
	if err := k.Ready(ready); err != nil {
		w.t.Fatal(err)
	}
}

func newPod(name string, containers ...v1.Container) *v1.Pod {
	if len(containers) == 0 {
		containers = []v1.Container{{Name: "main", Image: "registry.test/app:1"}}
	}
	for i := range containers {
		setDefaults(&containers[i])
	}
	grace := int64(30)
	return &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID("uid-" + name)},
		Spec: v1.PodSpec{NodeName: nodeName, Containers: containers, RestartPolicy: v1.RestartPolicyAlways, DNSPolicy: v1.DNSClusterFirst,
			TerminationGracePeriodSeconds: &grace},
		Status: v1.PodStatus{Phase: v1.PodPending, Conditions: []v1.PodCondition{{Type: v1.PodScheduled, Status: v1.ConditionTrue}}},
	}
}

func setDefaults(c *v1.Container) {
	if c.Image == "" {
		c.Image = "registry.test/app:1"
	}
	c.ImagePullPolicy = v1.PullIfNotPresent
	c.TerminationMessagePath = "/dev/termination-log"
}

func (w *world) create(pod *v1.Pod) *v1.Pod {
	w.t.Helper()
	made, err := w.client.CoreV1().Pods(pod.Namespace).Create(context.Background(), pod, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

// delete marks a pod as being deleted, as the API server does on the first request.
func (w *world) delete(name string, grace int64) {
	w.t.Helper()
	pod := w.pod(name)
	now := metav1.Now()
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &now, &grace
	if _, err := w.client.CoreV1().Pods("default").Update(context.Background(), pod, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) pod(name string) *v1.Pod {
	w.t.Helper()
	pod, err := w.client.CoreV1().Pods("default").Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return pod
}

// until waits for a pod to be as wanted, and returns it.
func (w *world) until(name, what string, ok func(*v1.Pod) bool) *v1.Pod {
	w.t.Helper()
	var last *v1.Pod
	w.eventually(func() bool {
		pod, err := w.client.CoreV1().Pods("default").Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			return false
		}
		last = pod
		return ok(pod)
	}, func() string {
		if last == nil {
			return fmt.Sprintf("pod %s is not there, waiting until %s", name, what)
		}
		return fmt.Sprintf("pod %s: not %s; status %+v\nevents %v", name, what, last.Status, w.events.all())
	})
	return last
}

func (w *world) untilGone(name string) {
	w.t.Helper()
	w.eventually(func() bool {
		_, err := w.client.CoreV1().Pods("default").Get(context.Background(), name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}, func() string { return "pod " + name + " is still there" })
}

func (w *world) eventually(ok func() bool, describe func() string) {
	w.t.Helper()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-ticker.C:
		case <-deadline:
			w.t.Fatal(describe())
		}
	}
}

// exit ends the running container of that name with a code.
func (w *world) exit(pod *v1.Pod, container string, code int32) {
	w.t.Helper()
	c, ok := w.kubelet.cache.Get(pod.UID).Latest(container)
	if !ok || c.State != pleg.Running {
		w.t.Fatalf("container %s of pod %s does not run", container, pod.Name)
	}
	w.runtime.Exit(c.ID, code)
}

func isRunning(pod *v1.Pod) bool { return pod.Status.Phase == v1.PodRunning }

func isPodReady(pod *v1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == v1.PodReady {
			return c.Status == v1.ConditionTrue
		}
	}
	return false
}

func containerStatus(pod *v1.Pod, name string) v1.ContainerStatus {
	for _, list := range [][]v1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for _, s := range list {
			if s.Name == name {
				return s
			}
		}
	}
	return v1.ContainerStatus{}
}

func waitingFor(name, reason string) func(*v1.Pod) bool {
	return func(pod *v1.Pod) bool {
		s := containerStatus(pod, name)
		return s.State.Waiting != nil && s.State.Waiting.Reason == reason
	}
}

// memoryObjects are ConfigMaps and Secrets by name.
type memoryObjects struct {
	mu      sync.Mutex
	maps    map[string]*v1.ConfigMap
	secrets map[string]*v1.Secret
}

func (o *memoryObjects) Register(*v1.Pod)   {}
func (o *memoryObjects) Unregister(*v1.Pod) {}

func (o *memoryObjects) GetConfigMap(_, name string) (*v1.ConfigMap, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c, ok := o.maps[name]; ok {
		return c, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name)
}

func (o *memoryObjects) GetSecret(_, name string) (*v1.Secret, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s, ok := o.secrets[name]; ok {
		return s, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
}

func (o *memoryObjects) put(c *v1.ConfigMap) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.maps == nil {
		o.maps = map[string]*v1.ConfigMap{}
	}
	o.maps[c.Name] = c
}

type noVolumes struct{}

func (noVolumes) Mount(context.Context, *v1.Pod) (map[string]volume.Mounted, error) { return nil, nil }
func (noVolumes) Refresh(context.Context, *v1.Pod) error                            { return nil }
func (noVolumes) Unmount(context.Context, types.UID) error                          { return nil }
func (noVolumes) List() ([]types.UID, error)                                        { return nil, nil }
func (noVolumes) SubPath(types.UID, string, string, int, volume.Mounted, string) (string, error) {
	return "", errors.New("no volumes here")
}
