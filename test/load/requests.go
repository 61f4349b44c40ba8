// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// each does n operations, spread over all clients: each takes the next one when it has done its last.
func (l *Load) each(ctx context.Context, n int, do func(ctx context.Context, client kubernetes.Interface, i int) error) series {
	var next atomic.Int64
	parts := make([]series, len(l.clients))
	var wg sync.WaitGroup
	begin := time.Now()
	for k, client := range l.clients {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				start := time.Now()
				if err := do(ctx, client, i); err != nil {
					parts[k].errs = append(parts[k].errs, err)
				} else {
					parts[k].took = append(parts[k].took, time.Since(start))
				}
			}
		})
	}
	wg.Wait()
	all := series{total: time.Since(begin)}
	for _, p := range parts {
		all.took, all.errs = append(all.took, p.took...), append(all.errs, p.errs...)
	}
	return all
}

// measured sums up what do has collected, with what the server's processes spend meanwhile.
func (l *Load) measured(name string, do func() (series, error)) ([]Result, error) {
	before, err := measureAll(l.o.Processes)
	if err != nil {
		return nil, err
	}
	collected, err := do()
	if err != nil {
		return nil, err
	}
	after, err := measureAll(l.o.Processes)
	if err != nil {
		return nil, err
	}
	r, err := collected.result(name)
	if err != nil {
		return nil, err
	}
	r.account(before, after)
	return []Result{r}, nil
}

// requests measures n operations, spread over all clients.
func (l *Load) requests(ctx context.Context, name string, n int, do func(ctx context.Context, client kubernetes.Interface, i int) error) ([]Result, error) {
	return l.measured(name, func() (series, error) { return l.each(ctx, n, do), nil })
}

func (l *Load) createConfigMaps(ctx context.Context) ([]Result, error) {
	ns := l.namespaces["configmaps"]
	return l.requests(ctx, CreateConfigMaps, l.o.ConfigMaps, func(ctx context.Context, client kubernetes.Interface, i int) error {
		_, err := client.CoreV1().ConfigMaps(ns).Create(ctx, configMap(i), metav1.CreateOptions{})
		return err
	})
}

func (l *Load) createPods(ctx context.Context) ([]Result, error) {
	return l.createFirstPods(ctx, CreatePods, l.o.Pods)
}

func (l *Load) createFirstPods(ctx context.Context, name string, n int) ([]Result, error) {
	ns := l.namespaces["pods"]
	return l.requests(ctx, name, n, func(ctx context.Context, client kubernetes.Interface, i int) error {
		pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: podName(i), Labels: map[string]string{"app": "load"}}, Spec: podSpec()}
		_, err := client.CoreV1().Pods(ns).Create(ctx, pod, metav1.CreateOptions{})
		return err
	})
}

func (l *Load) getPods(ctx context.Context) ([]Result, error) {
	which := make([]int, l.o.Gets)
	for i := range which {
		which[i] = l.random.IntN(l.o.Pods)
	}
	ns := l.namespaces["pods"]
	return l.requests(ctx, GetPods, l.o.Gets, func(ctx context.Context, client kubernetes.Interface, i int) error {
		_, err := client.CoreV1().Pods(ns).Get(ctx, podName(which[i]), metav1.GetOptions{})
		return err
	})
}

func (l *Load) listPods(ctx context.Context) ([]Result, error) {
	client, body, err := l.listClient(l.o.JSON)
	if err != nil {
		return nil, err
	}
	return l.list(ctx, ListPods, client, body)
}

func (l *Load) listPodsJSON(ctx context.Context) ([]Result, error) {
	client, _, err := l.listClient(true)
	if err != nil {
		return nil, err
	}
	return l.list(ctx, ListPodsJSON, client, nil)
}

// listClient is a client that tells when the body of its last answer had come.
func (l *Load) listClient(json bool) (kubernetes.Interface, *body, error) {
	if l.o.Config == nil {
		return l.clients[0], nil, nil // one without a connection
	}
	b := &body{}
	config := rest.CopyConfig(l.o.Config)
	config.Wrap(b.watch)
	client, err := newClient(config, json)
	return client, b, err
}

// list gets all Pods in one answer, one list after the other. An answer that lacks some is a failed one. Until a client has decoded a list takes as long
// again as until it has it, so what body tells is a result of its own.
func (l *Load) list(ctx context.Context, name string, client kubernetes.Interface, body *body) ([]Result, error) {
	var came series
	results, err := l.measured(name, func() (series, error) {
		var s series
		begin := time.Now()
		for range l.o.Lists {
			start := time.Now()
			list, err := client.CoreV1().Pods(l.namespaces["pods"]).List(ctx, metav1.ListOptions{})
			if err == nil && len(list.Items) != l.o.Pods {
				err = fmt.Errorf("a list has %d Pods, want %d", len(list.Items), l.o.Pods)
			}
			if err != nil {
				s.errs = append(s.errs, err)
				continue
			}
			s.took = append(s.took, time.Since(start))
			if body != nil {
				came.took = append(came.took, body.end().Sub(start))
			}
		}
		s.total = time.Since(begin)
		return s, nil
	})
	if err != nil || body == nil {
		return results, err
	}
	received, err := came.result(ReceivePods)
	return append(results, received), err
}

func (l *Load) patchPods(ctx context.Context) ([]Result, error) {
	ns := l.namespaces["pods"]
	return l.requests(ctx, PatchPods, l.o.Patches, func(ctx context.Context, client kubernetes.Interface, i int) error {
		patch := fmt.Appendf(nil, `{"status":{"conditions":[{"type":"Ready","status":"False","reason":"Load%d"}]}}`, i)
		_, err := client.CoreV1().Pods(ns).Patch(ctx, podName(i%l.o.Pods), types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		return err
	})
}

func (l *Load) deletePods(ctx context.Context) ([]Result, error) {
	ns := l.namespaces["pods"]
	return l.requests(ctx, DeletePods, l.o.Deletes, func(ctx context.Context, client kubernetes.Interface, i int) error {
		return client.CoreV1().Pods(ns).Delete(ctx, podName(i), metav1.DeleteOptions{})
	})
}

// refill creates again what deletePods has deleted, so that the server holds as much as before.
func (l *Load) refill(ctx context.Context) ([]Result, error) {
	return l.createFirstPods(ctx, Refill, l.o.Deletes)
}

func configMap(i int) *v1.ConfigMap {
	return &v1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("config-%05d", i), Labels: map[string]string{"app": "load"}},
		Data:       map[string]string{"value": strings.Repeat("x", 256)},
	}
}

func podName(i int) string { return fmt.Sprintf("pod-%05d", i) }

// podSpec is a plain one that the scheduler leaves alone, so that only the API server works on it, and that is deleted at once.
func podSpec() v1.PodSpec {
	return v1.PodSpec{
		SchedulingGates:               []v1.PodSchedulingGate{{Name: "load.test/never"}},
		TerminationGracePeriodSeconds: ptr.To[int64](0),
		Containers: []v1.Container{{
			Name: "main", Image: "registry.k8s.io/pause:3.10.1",
			Ports: []v1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			Env: []v1.EnvVar{
				{Name: "MODE", Value: "load"},
				{Name: "POD_IP", ValueFrom: &v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
			},
			Resources: v1.ResourceRequirements{
				Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse("10m"), v1.ResourceMemory: resource.MustParse("16Mi")},
				Limits:   v1.ResourceList{v1.ResourceMemory: resource.MustParse("64Mi")},
			},
		}},
	}
}
