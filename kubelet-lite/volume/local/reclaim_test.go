// SPDX-License-Identifier: Apache-2.0

package local

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestReclaim(t *testing.T) {
	dir := t.TempDir()
	volume := func(name string, change func(*v1.PersistentVolume)) *v1.PersistentVolume {
		pv := &v1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: name, UID: "u", Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": Provisioner}},
			Spec: v1.PersistentVolumeSpec{
				PersistentVolumeReclaimPolicy: v1.PersistentVolumeReclaimDelete,
				NodeAffinity: &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
					MatchExpressions: []v1.NodeSelectorRequirement{{Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{"n1"}}}}}}},
			},
			Status: v1.PersistentVolumeStatus{Phase: v1.VolumeReleased},
		}
		change(pv)
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, name), 0o755), os.WriteFile(filepath.Join(dir, name, "data"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		return pv
	}
	keep := map[string]func(*v1.PersistentVolume){
		"bound": func(pv *v1.PersistentVolume) { pv.Status.Phase = v1.VolumeBound },
		"retain": func(pv *v1.PersistentVolume) {
			pv.Spec.PersistentVolumeReclaimPolicy = v1.PersistentVolumeReclaimRetain
		},
		"by-hand": func(pv *v1.PersistentVolume) { pv.Annotations = nil },
		"other-node": func(pv *v1.PersistentVolume) {
			pv.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values = []string{"n2"}
		},
		"no-node": func(pv *v1.PersistentVolume) { pv.Spec.NodeAffinity = nil },
	}
	ctx, cancel := context.WithCancel(t.Context())
	client := fake.NewClientset(volume("gone", func(*v1.PersistentVolume) {}))
	for name, change := range keep {
		if _, err := client.CoreV1().PersistentVolumes().Create(ctx, volume(name, change), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var running sync.WaitGroup
	running.Add(1)
	go func() {
		defer running.Done()
		New(client, "n1", dir).Run(ctx)
	}()
	defer running.Wait()
	defer cancel()

	exists := func(name string) bool {
		_, err := client.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		return err == nil
	}
	wait := func(name string) {
		t.Helper()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		deadline := time.After(10 * time.Second)
		for exists(name) {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("%s is not reclaimed", name)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, name)); !os.IsNotExist(err) {
			t.Errorf("data of %s is left: %v", name, err)
		}
	}
	wait("gone")
	for name := range keep {
		if _, err := os.Stat(filepath.Join(dir, name, "data")); err != nil || !exists(name) {
			t.Errorf("%s was taken: %v", name, err)
		}
	}
	bound, err := client.CoreV1().PersistentVolumes().Get(ctx, "bound", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bound.Status.Phase = v1.VolumeReleased
	if _, err := client.CoreV1().PersistentVolumes().UpdateStatus(ctx, bound, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	wait("bound")
}
