// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// heard keeps the warnings of a client.
type heard struct {
	mu   sync.Mutex
	said []string
}

func (h *heard) HandleWarningHeader(_ int, _, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said = append(h.said, text)
}

func TestComponentStatuses(t *testing.T) {
	c := newCluster(t)
	warnings := &heard{}
	config := rest.CopyConfig(c.config)
	config.WarningHandler = warnings
	client := kubernetes.NewForConfigOrDie(config)
	parts := client.CoreV1().ComponentStatuses() //nolint:staticcheck // that it is deprecated is part of what is tested
	list, err := parts.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	is := map[string]corev1.ConditionStatus{}
	for _, part := range list.Items {
		is[part.Name] = part.Conditions[0].Status
	}
	if diff := cmp.Diff(map[string]corev1.ConditionStatus{"controller-manager": "True", "scheduler": "True", "etcd-0": "True"}, is); diff != "" {
		t.Error(diff)
	}
	if len(warnings.said) != 1 || warnings.said[0] != "v1 ComponentStatus is deprecated in v1.19+" {
		t.Errorf("warnings %q", warnings.said)
	}
	one, err := parts.Get(t.Context(), "scheduler", metav1.GetOptions{})
	want := []corev1.ComponentCondition{{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: "ok"}}
	if err != nil || one.Name != "scheduler" || cmp.Diff(want, one.Conditions) != "" {
		t.Errorf("scheduler: %v, %v", one, err)
	}
	if _, err := parts.Get(t.Context(), "kubelet", metav1.GetOptions{}); !apierrors.IsNotFound(err) || err.Error() != `componentstatus "kubelet" not found` {
		t.Errorf("another: %v", err)
	}
	for options, want := range map[metav1.ListOptions]int{{LabelSelector: "a=b"}: 0, {LabelSelector: "a!=b"}: 3, {FieldSelector: "metadata.name=etcd-0"}: 1} {
		if list, err := parts.List(t.Context(), options); err != nil || len(list.Items) != want {
			t.Errorf("%v: %d, %v", options, len(list.Items), err)
		}
	}
	err = client.CoreV1().RESTClient().Post().Resource("componentstatuses").Body(&corev1.ComponentStatus{}).Do(t.Context()).Error()
	var status *apierrors.StatusError
	if !errors.As(err, &status) || status.ErrStatus.Code != http.StatusMethodNotAllowed {
		t.Errorf("create: %v", err)
	}
}

func TestHealthOfBackground(t *testing.T) {
	var work background
	health := work.health("part")
	if err := health(t.Context()); err == nil || err.Error() != "it has not been started" {
		t.Errorf("before: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	work.start(ctx, "part", "one", func(ctx context.Context) error { <-ctx.Done(); return nil })
	work.start(ctx, "part", "two", func(context.Context) error { return <-failed })
	if err := health(t.Context()); err != nil {
		t.Errorf("running: %v", err)
	}
	failed <- errors.New("broken")
	eventually(t, "the failure to be told", func() (bool, error) {
		err := health(t.Context())
		return err != nil && strings.Contains(err.Error(), "two has ended: broken"), err
	})
	cancel()
	if err := work.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := health(t.Context()); err == nil || err.Error() != "two has ended: broken" {
		t.Errorf("at the end: %v", err)
	}
}
