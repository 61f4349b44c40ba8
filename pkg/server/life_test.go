// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestWriteDeletesOnlyWhatItHasSeen: a write that takes away what a deleted object has waited for removes it, but not another that has its name by then.
func TestWriteDeletesOnlyWhatItHasSeen(t *testing.T) {
	c := newCluster(t)
	arrived, goOn := make(chan struct{}), make(chan struct{})
	h := newReviewer(t, c, "127.0.0.1", func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		if strings.Contains(string(r.Options.Raw), `"fieldManager":"late"`) {
			close(arrived)
			select {
			case <-goOn:
			case <-t.Context().Done():
			}
		}
		return &admissionv1.AdmissionResponse{Allowed: true}
	})
	c.validate(t, validating(h, on("configmaps", "UPDATE"), nil))
	maps := c.CoreV1().ConfigMaps("default")
	old := newConfigMap("a")
	old.Finalizers = []string{"example.com/wait"}
	if _, err := maps.Create(t.Context(), old, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	finish := func(manager string) error {
		_, err := maps.Patch(t.Context(), "a", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{FieldManager: manager})
		return err
	}
	late := make(chan error, 1)
	go func() { late <- finish("late") }()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	select {
	case <-arrived:
	case err := <-late:
		t.Fatalf("the webhook was not asked: %v", err)
	case <-ctx.Done():
		t.Fatal("the webhook was not asked in 30 s")
	}
	if err := finish("early"); err != nil {
		t.Fatal(err)
	}
	made, err := maps.Create(t.Context(), newConfigMap("a"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	close(goOn)
	if err := <-late; err != nil {
		t.Errorf("the late write: %v", err)
	}
	got, err := maps.Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil || got.UID != made.UID {
		t.Errorf("after the late write there is %v, %v; want the object with UID %s", got, err, made.UID)
	}
}
