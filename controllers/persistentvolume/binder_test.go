// SPDX-License-Identifier: Apache-2.0

package persistentvolume

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/component-helpers/storage/volume"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

func start(t *testing.T, objects ...runtime.Object) *testcluster.Cluster {
	t.Helper()
	c := testcluster.New(t, objects...)
	core := c.Informers.Core().V1()
	binder, err := NewBinder(c.Client, core.PersistentVolumeClaims(), core.PersistentVolumes(), c.Informers.Storage().V1().StorageClasses(),
		core.Nodes(), core.Pods(), c.Events, "/data/volumes")
	if err != nil {
		t.Fatal(err)
	}
	claims, err := NewClaimProtection(c.Client, core.PersistentVolumeClaims(), core.Pods())
	if err != nil {
		t.Fatal(err)
	}
	volumes, err := NewVolumeProtection(c.Client, core.PersistentVolumes())
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) {
		var wg sync.WaitGroup
		wg.Go(func() { binder.Run(ctx, 2) })
		wg.Go(func() { claims.Run(ctx, 1) })
		wg.Go(func() { volumes.Run(ctx, 1) })
		wg.Wait()
	})
	return c
}

// TestLocalVolume follows a claim from its creation to its deletion.
func TestLocalVolume(t *testing.T) {
	ctx := t.Context()
	node := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{v1.LabelHostname: "host-n"}}}
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"}, Spec: v1.PodSpec{NodeName: "n", Volumes: []v1.Volume{{Name: "v",
		VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}}}
	c := start(t, node, pod, newClass("local", LocalProvisioner, storagev1.VolumeBindingWaitForFirstConsumer))
	claims, volumes := c.Client.CoreV1().PersistentVolumeClaims("default"), c.Client.CoreV1().PersistentVolumes()

	if _, err := claims.Create(ctx, newClaim("data", "local"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("pending and protected", func() error {
		claim, err := claims.Get(ctx, "data", metav1.GetOptions{})
		if err != nil || claim.Status.Phase != v1.ClaimPending || !slices.Contains(claim.Finalizers, claimFinalizer) {
			return fmt.Errorf("phase %s, finalizers %v: %w", claim.Status.Phase, claim.Finalizers, err)
		}
		metav1.SetMetaDataAnnotation(&claim.ObjectMeta, volume.AnnSelectedNode, "n")
		_, err = claims.Update(ctx, claim, metav1.UpdateOptions{})
		return err
	})
	c.Eventually("bound", func() error {
		claim, err := claims.Get(ctx, "data", metav1.GetOptions{})
		if err != nil || claim.Status.Phase != v1.ClaimBound || claim.Spec.VolumeName != "pvc-data" {
			return fmt.Errorf("phase %s, volume %q: %w", claim.Status.Phase, claim.Spec.VolumeName, err)
		}
		return nil
	})
	claim, err := claims.Get(ctx, "data", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := claim.Annotations[volume.AnnStorageProvisioner]; got != LocalProvisioner {
		t.Errorf("provisioner annotation %q", got)
	}
	if got := claim.Status.Capacity.Storage().String(); got != "1Gi" {
		t.Errorf("capacity %s", got)
	}
	pv, err := volumes.Get(ctx, "pvc-data", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if pv.Status.Phase != v1.VolumeBound || pv.Spec.HostPath.Path != "/data/volumes/pvc-data" || pv.Spec.PersistentVolumeReclaimPolicy != v1.PersistentVolumeReclaimDelete {
		t.Errorf("volume %+v, phase %s", pv.Spec, pv.Status.Phase)
	}
	if err := volume.CheckNodeAffinity(pv, node.Labels); err != nil {
		t.Error(err)
	}
	if err := volume.CheckNodeAffinity(pv, map[string]string{v1.LabelHostname: "other"}); err == nil {
		t.Error("the volume can be used on another node")
	}
	if want := "Normal ProvisioningSucceeded Successfully provisioned volume pvc-data using hivemind.dev/local"; !slices.Contains(c.Events.Lines(), want) {
		t.Errorf("events %q", c.Events.Lines())
	}

	// The claim is deleted while the pod still uses it, then the pod goes too.
	now := metav1.Now()
	claim.DeletionTimestamp = &now
	if _, err := claims.Update(ctx, claim, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Client.CoreV1().Pods("default").Delete(ctx, "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("claim let go", func() error {
		claim, err := claims.Get(ctx, "data", metav1.GetOptions{})
		if err != nil || len(claim.Finalizers) > 0 {
			return fmt.Errorf("finalizers %v: %w", claim.Finalizers, err)
		}
		return claims.Delete(ctx, "data", metav1.DeleteOptions{})
	})
	c.Eventually("volume released", func() error {
		pv, err := volumes.Get(ctx, "pvc-data", metav1.GetOptions{})
		if err != nil || pv.Status.Phase != v1.VolumeReleased {
			return fmt.Errorf("phase %s: %w", pv.Status.Phase, err)
		}
		return nil
	})
}

// TestTwoClaimsOneVolume has exactly one of two claims get the only volume.
func TestTwoClaimsOneVolume(t *testing.T) {
	c := start(t, newClaim("a", "hand"), newClaim("b", "hand"), newVolume("pv", "hand", "1Gi"))
	c.Eventually("one bound", func() error {
		list, err := c.Client.CoreV1().PersistentVolumeClaims("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		phases := map[v1.PersistentVolumeClaimPhase]int{}
		for _, claim := range list.Items {
			phases[claim.Status.Phase]++
		}
		if phases[v1.ClaimBound] != 1 || phases[v1.ClaimPending] != 1 {
			return fmt.Errorf("phases %v", phases)
		}
		return nil
	})
}

func TestLocalVolumeRefusals(t *testing.T) {
	block := v1.PersistentVolumeBlock
	class := newClass("local", LocalProvisioner, storagev1.VolumeBindingWaitForFirstConsumer)
	options := class.DeepCopy()
	options.MountOptions = []string{"ro"}
	for _, test := range []struct {
		name  string
		claim *v1.PersistentVolumeClaim
		class *storagev1.StorageClass
		want  string
	}{
		{"block", newClaim("c", "local", func(c *v1.PersistentVolumeClaim) { c.Spec.VolumeMode = &block }), class,
			"hivemind.dev/local does not support block volume provisioning"},
		{"selector", newClaim("c", "local", func(c *v1.PersistentVolumeClaim) { c.Spec.Selector = &metav1.LabelSelector{} }), class,
			"claim.Spec.Selector is not supported for dynamic provisioning on hivemind.dev/local"},
		{"mount options", newClaim("c", "local"), options,
			`mount options are not supported by hivemind.dev/local but StorageClass "local" has mount options [ro]`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := localVolume("pv", "/dir", test.claim, test.class, &v1.Node{})
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}
