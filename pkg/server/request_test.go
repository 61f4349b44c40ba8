// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
)

// BenchmarkRequest is what the handler chain costs: a request that has next to nothing to do (the version) and one that reads an
// object, by somebody whom no limit holds and by somebody who waits in line. cpu-ns/op is what the whole process used.
func BenchmarkRequest(b *testing.B) {
	c := newCluster(b)
	for _, who := range []user.Info{
		&user.DefaultInfo{Name: "exempt", Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}},
		&user.DefaultInfo{Name: user.KubeScheduler, Groups: []string{user.AllAuthenticated}},
	} {
		transport := c.server.loopback.Config(who).Transport
		for _, path := range []string{"/version", "/api/v1/namespaces/default/services/kubernetes"} {
			b.Run(fmt.Sprintf("%s%s", who.GetName(), path), func(b *testing.B) {
				start := processorTime(b)
				for b.Loop() {
					request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://loopback"+path, nil)
					if err != nil {
						b.Fatal(err)
					}
					response, err := transport.RoundTrip(request)
					if err != nil {
						b.Fatal(err)
					}
					text, err := io.ReadAll(response.Body)
					response.Body.Close()
					if err != nil || response.StatusCode != http.StatusOK {
						b.Fatalf("%d %s, %v", response.StatusCode, text, err)
					}
				}
				b.ReportMetric(float64(processorTime(b)-start)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// BenchmarkCreate is what it costs to write a small object, and one that is deep, sixteen at a time.
func BenchmarkCreate(b *testing.B) {
	c := newCluster(b)
	config := c.server.loopback.Config(&user.DefaultInfo{Name: user.KubeScheduler, Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}})
	config.ContentType, config.QPS = runtime.ContentTypeProtobuf, -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		b.Fatal(err)
	}
	template := corev1.PodSpec{
		SchedulingGates: []corev1.PodSchedulingGate{{Name: "bench.test/never"}},
		Containers: []corev1.Container{{
			Name: "main", Image: "registry.k8s.io/pause:3.10.1", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			Env: []corev1.EnvVar{{Name: "POD_IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}}},
		}},
	}
	for name, create := range map[string]func(ctx context.Context, meta metav1.ObjectMeta) error{
		"ConfigMap": func(ctx context.Context, meta metav1.ObjectMeta) error {
			_, err := client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"key": "value"}}, metav1.CreateOptions{})
			return err
		},
		"Pod": func(ctx context.Context, meta metav1.ObjectMeta) error {
			_, err := client.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: meta, Spec: template}, metav1.CreateOptions{})
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			start := processorTime(b)
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := create(b.Context(), metav1.ObjectMeta{GenerateName: "bench-"}); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(processorTime(b)-start)/float64(b.N), "cpu-ns/op")
		})
	}
}

// processorTime is what this process has used of it, in nanoseconds.
func processorTime(b *testing.B) int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return syscall.TimevalToNsec(usage.Utime) + syscall.TimevalToNsec(usage.Stime)
}
