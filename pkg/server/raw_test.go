// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// anyLabels makes the server look into objects, which it then decodes and encodes, without leaving one out.
const anyLabels = "labelSelector=!no-such-label"

// protobuf reads what a path answers in protobuf.
func (c *cluster) protobuf(t *testing.T, path, query string) []byte {
	t.Helper()
	request := c.CoreV1().RESTClient().Get().AbsPath(path).SetHeader("Accept", runtime.ContentTypeProtobuf)
	for pair := range strings.SplitSeq(query, "&") {
		if name, value, ok := strings.Cut(pair, "="); ok {
			request.Param(name, value)
		}
	}
	answer, err := request.DoRaw(t.Context())
	if err != nil {
		t.Fatalf("GET %s?%s: %v", path, query, err)
	}
	return answer
}

// fill makes objects that an API server and its controllers change after they were decoded.
func (c *cluster) fill(t *testing.T) {
	t.Helper()
	labels := map[string]string{"app": "web"}
	_, err := c.AppsV1().Deployments("default").Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](40), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "c", Image: "web", Env: []corev1.EnvVar{{Name: "WORDS", Value: strings.Repeat("words ", 2000)}}}},
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Selector: labels, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pods of a deployment", func() (bool, error) {
		pods, err := c.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
		return err == nil && len(pods.Items) == 40, err
	})
}

// TestStoredBytes compares, for every resource, what is spliced from stored bytes with what decoding and encoding makes of them.
func TestStoredBytes(t *testing.T) {
	c := newCluster(t)
	c.fill(t)
	_, resources, err := c.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	filled := 0
	for _, list := range resources {
		for _, r := range list.APIResources {
			if strings.Contains(r.Name, "/") || !strings.Contains(fmt.Sprint(r.Verbs), "watch") {
				continue
			}
			path := "/apis/" + list.GroupVersion + "/" + r.Name
			if list.GroupVersion == "v1" {
				path = "/api/v1/" + r.Name
			}
			for _, query := range []string{"", "limit=1000", "resourceVersion=0"} {
				var stored, encoded []byte
				eventually(t, "two answers of one revision to "+path+"?"+query, func() (bool, error) { // controllers still write
					stored, encoded = c.protobuf(t, path, query), c.protobuf(t, path, query+"&"+anyLabels)
					return bytes.Equal(stored, encoded), nil
				})
				if len(encoded) > 200 {
					filled++
				}
			}
		}
	}
	if filled < 30 {
		t.Errorf("only %d lists had objects", filled)
	}
}

// TestStoredBytesOfOne compares the same for gets and watches.
func TestStoredBytesOfOne(t *testing.T) {
	c := newCluster(t)
	c.fill(t)
	pods, err := c.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	one := pods.Items[0]
	encoder := c.server.registry.Codecs.EncoderForVersion(protobufOf(c), corev1.SchemeGroupVersion)
	eventually(t, "a pod at rest", func() (bool, error) { // the scheduler still writes
		pod, err := c.CoreV1().Pods("default").Get(t.Context(), one.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		want, err := runtime.Encode(encoder, pod)
		if err != nil {
			return false, err
		}
		got := c.protobuf(t, "/api/v1/namespaces/default/pods/"+one.Name, "")
		if !bytes.Equal(got, want) {
			return false, fmt.Errorf("a get answers %d bytes, want %d:\n%q\n%q", len(got), len(want), got, want)
		}
		return true, nil
	})
	before := pods.ResourceVersion
	if _, err := c.CoreV1().Pods("default").Patch(t.Context(), one.Name, "application/merge-patch+json", []byte(`{"metadata":{"labels":{"more":"yes"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.CoreV1().Pods("default").Delete(t.Context(), one.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	query := "?watch=1&timeoutSeconds=2&allowWatchBookmarks=true&resourceVersion=" + before
	stored, encoded := c.stream(t, "/api/v1/namespaces/default/pods"+query), c.stream(t, "/api/v1/namespaces/default/pods"+query+"&"+anyLabels)
	if !bytes.Equal(stored, encoded) || len(stored) < 20_000 {
		t.Errorf("a watch sends %d bytes, want %d", len(stored), len(encoded))
	}
	initial := "?watch=1&timeoutSeconds=2&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
	stored, encoded = c.stream(t, "/api/v1/namespaces"+initial), c.stream(t, "/api/v1/namespaces"+initial+"&"+anyLabels)
	if !bytes.Equal(stored, encoded) || !bytes.Contains(stored, []byte("k8s.io/initial-events-end")) {
		t.Errorf("a watch with initial events sends %q, want %q", stored, encoded)
	}
}

func protobufOf(c *cluster) runtime.Serializer {
	info, _ := runtime.SerializerInfoForMediaType(c.server.registry.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	return info.Serializer
}

// stream reads a watch to its end.
func (c *cluster) stream(t *testing.T, path string) []byte {
	t.Helper()
	client, err := rest.HTTPClientFor(c.config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.config.Host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", runtime.ContentTypeProtobuf+";stream=watch")
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	all, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", path, answer.Status, err)
	}
	return all
}
