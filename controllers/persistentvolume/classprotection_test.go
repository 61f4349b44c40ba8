// SPDX-License-Identifier: Apache-2.0

package persistentvolume

import (
	"context"
	"fmt"
	"slices"
	"testing"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

func TestClassNames(t *testing.T) {
	claim := &v1.PersistentVolumeClaim{Spec: v1.PersistentVolumeClaimSpec{VolumeAttributesClassName: ptr.To("a")}}
	claim.Status.CurrentVolumeAttributesClassName, claim.Status.ModifyVolumeStatus = ptr.To("a"), &v1.ModifyVolumeStatus{TargetVolumeAttributesClassName: "b"}
	pv := &v1.PersistentVolume{Spec: v1.PersistentVolumeSpec{VolumeAttributesClassName: ptr.To("c")}}
	for _, tt := range []struct {
		obj  any
		want []string
	}{{claim, []string{"a", "b"}}, {pv, []string{"c"}}, {&v1.PersistentVolumeClaim{}, nil}, {&v1.PersistentVolume{}, nil}} {
		if got := classNames(tt.obj); !slices.Equal(got, tt.want) {
			t.Errorf("%T names %v, want %v", tt.obj, got, tt.want)
		}
	}
}

// A class is protected from its start, and goes when the last claim and the last volume that name it have gone.
func TestClassProtection(t *testing.T) {
	ctx := t.Context()
	now := metav1.Now()
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
	going := &storagev1.VolumeAttributesClass{ObjectMeta: metav1.ObjectMeta{Name: "going", DeletionTimestamp: &now, Finalizers: []string{classFinalizer, "example.com/other"}}}
	unused := &storagev1.VolumeAttributesClass{ObjectMeta: metav1.ObjectMeta{Name: "unused", DeletionTimestamp: &now, Finalizers: []string{classFinalizer}}}
	claim := &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data", Namespace: "default"}, Spec: v1.PersistentVolumeClaimSpec{VolumeAttributesClassName: ptr.To("going")}}
	pv := &v1.PersistentVolume{ObjectMeta: named("pv"), Spec: v1.PersistentVolumeSpec{VolumeAttributesClassName: ptr.To("going")}}
	c := testcluster.New(t, going, unused, claim, pv, &storagev1.VolumeAttributesClass{ObjectMeta: named("new")})
	core := c.Informers.Core().V1()
	protection, err := NewClassProtection(c.Client, c.Informers.Storage().V1().VolumeAttributesClasses(), core.PersistentVolumeClaims(), core.PersistentVolumes())
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { protection.Run(ctx, 1) })
	protected := func(name string, want bool) {
		t.Helper()
		c.Eventually(fmt.Sprintf("protection of %s is %t", name, want), func() error {
			class, err := c.Client.StorageV1().VolumeAttributesClasses().Get(ctx, name, metav1.GetOptions{})
			if err == nil && slices.Contains(class.Finalizers, classFinalizer) != want {
				return fmt.Errorf("finalizers %v", class.Finalizers)
			}
			return err
		})
	}
	protected("new", true)
	protected("unused", false) // so the controller has looked at all there is, and kept the one in use
	protected("going", true)
	if err := c.Client.CoreV1().PersistentVolumes().Delete(ctx, "pv", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	claim.Spec.VolumeAttributesClassName = nil
	if _, err := c.Client.CoreV1().PersistentVolumeClaims("default").Update(ctx, claim, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	protected("going", false)
	class, err := c.Client.StorageV1().VolumeAttributesClasses().Get(ctx, "going", metav1.GetOptions{})
	if err != nil || !slices.Equal(class.Finalizers, []string{"example.com/other"}) {
		t.Errorf("finalizers %v: %v", class.Finalizers, err)
	}
}
