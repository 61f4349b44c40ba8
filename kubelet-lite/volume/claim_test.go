// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apitypes "k8s.io/apimachinery/pkg/types"
)

func claimObject(name, volume string, phase v1.PersistentVolumeClaimPhase) *v1.PersistentVolumeClaim {
	return &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: apitypes.UID("uid-" + name)},
		Spec:       v1.PersistentVolumeClaimSpec{VolumeName: volume},
		Status:     v1.PersistentVolumeClaimStatus{Phase: phase},
	}
}

func volumeObject(name, claim string, source v1.PersistentVolumeSource) *v1.PersistentVolume {
	pv := &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1.PersistentVolumeSpec{PersistentVolumeSource: source}}
	if claim != "" {
		pv.Spec.ClaimRef = &v1.ObjectReference{Namespace: "ns", Name: claim, UID: apitypes.UID("uid-" + claim)}
	}
	return pv
}

func TestClaims(t *testing.T) {
	dir := t.TempDir()
	provisioned := volumeObject("pv1", "data", v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: "/elsewhere"}})
	provisioned.Annotations = map[string]string{"pv.kubernetes.io/provisioned-by": "hivemind.dev/local"}
	block := volumeObject("pv1", "data", v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: dir}})
	block.Spec.VolumeMode = ptr(v1.PersistentVolumeBlock)
	deleted := claimObject("data", "pv1", v1.ClaimBound)
	deleted.DeletionTimestamp = &metav1.Time{}
	deleted.Finalizers = []string{"other"}
	notOurs := claimObject("p-x", "pv1", v1.ClaimBound)
	ours := claimObject("p-x", "pv1", v1.ClaimBound)
	ours.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "u1", Controller: ptr(true)}}

	named := v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}
	ephemeral := v1.VolumeSource{Ephemeral: &v1.EphemeralVolumeSource{VolumeClaimTemplate: &v1.PersistentVolumeClaimTemplate{}}}
	const unbound = "Unable to attach or mount volumes: unmounted volumes=[x], unattached volumes=[], failed to process volumes=[x]: "
	for name, tc := range map[string]struct {
		source  v1.VolumeSource
		objects []runtime.Object
		want    string // host path
		err     string
	}{
		"no such claim": {source: named, err: unbound + `error processing PVC ns/data: failed to fetch PVC from API server: persistentvolumeclaims "data" not found`},
		"not bound yet": {source: named, objects: []runtime.Object{claimObject("data", "", v1.ClaimPending)}, err: unbound + "error processing PVC ns/data: PVC is not bound"},
		"being deleted": {source: named, objects: []runtime.Object{deleted}, err: unbound + "error processing PVC ns/data: PVC is being deleted"},
		"volume is gone": {source: named, objects: []runtime.Object{claimObject("data", "pv1", v1.ClaimBound)},
			err: unbound + `error processing PVC ns/data: failed to fetch PV pv1 from API server: persistentvolumes "pv1" not found`},
		"volume is another claim's": {source: named, objects: []runtime.Object{claimObject("data", "pv1", v1.ClaimBound), volumeObject("pv1", "other", v1.PersistentVolumeSource{})},
			err: unbound + "error processing PVC ns/data: found PV object pv1 but its pv.Spec.ClaimRef.UID uid-other does not point to claim.UID uid-data"},
		"host path": {source: named, want: dir, objects: []runtime.Object{claimObject("data", "pv1", v1.ClaimBound),
			volumeObject("pv1", "data", v1.PersistentVolumeSource{HostPath: &v1.HostPathVolumeSource{Path: dir}})}},
		"local": {source: named, want: dir, objects: []runtime.Object{claimObject("data", "pv1", v1.ClaimBound),
			volumeObject("pv1", "data", v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: dir}})}},
		"local, path missing": {source: named, objects: []runtime.Object{claimObject("data", "pv1", v1.ClaimBound),
			volumeObject("pv1", "data", v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: "/no/such"}})},
			err: `MountVolume.SetUp failed for volume "pv1" : path "/no/such" does not exist`},
		"made by our provisioner": {source: named, want: "volumes/pv1", objects: []runtime.Object{claimObject("data", "pv1", v1.ClaimBound), provisioned}},
		"block volume mounted as files": {source: named, objects: []runtime.Object{claimObject("data", "pv1", v1.ClaimBound), block},
			err: unbound + "volume x has volumeMode Block, but is specified in volumeMounts"},
		"ephemeral": {source: ephemeral, want: dir, objects: []runtime.Object{ours,
			volumeObject("pv1", "p-x", v1.PersistentVolumeSource{HostPath: &v1.HostPathVolumeSource{Path: dir}})}},
		"ephemeral, claim is not the pod's": {source: ephemeral, objects: []runtime.Object{notOurs},
			err: unbound + "PVC ns/p-x was not created for pod ns/p (pod is not owner)"},
		"driver that is not here": {source: named, objects: []runtime.Object{claimObject("data", "pv1", v1.ClaimBound),
			volumeObject("pv1", "data", v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{}})},
			err: `MountVolume.SetUp failed for volume "pv1" : no volume plugin matched`},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t, &world{}, tc.objects...)
			pod := podOf(vol("x", tc.source))
			pod.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "x", MountPath: "/x"}}
			got, err := m.Mount(t.Context(), pod)
			if tc.err != "" {
				if err == nil || err.Error() != tc.err {
					t.Errorf("error %v\nwant  %s", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := tc.want
			if !filepath.IsAbs(want) {
				want = filepath.Join(filepath.Dir(m.LocalDir), want)
			}
			if got["x"].HostPath != want {
				t.Errorf("path %s, want %s", got["x"].HostPath, want)
			}
			if _, err := os.Stat(want); err != nil {
				t.Error(err)
			}
		})
	}
}

// The group is given a volume once with OnRootMismatch, and whenever the pod starts without it.
func TestGroupOfPersistentVolume(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m := newManager(t, &world{}, claimObject("data", "pv1", v1.ClaimBound),
		volumeObject("pv1", "data", v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: dir}}))
	pod := podOf(vol("x", v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}))
	mount := func(policy v1.PodFSGroupChangePolicy) fs.FileMode {
		t.Helper()
		pod.Spec.SecurityContext = &v1.PodSecurityContext{FSGroup: ptr[int64](3000), FSGroupChangePolicy: &policy}
		if _, err := New(m.Options).Mount(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		mode, _, gid := stat(t, file)
		if gid != 3000 {
			t.Errorf("group %d", gid)
		}
		return mode
	}
	if got := mount(v1.FSGroupChangeOnRootMismatch); got != 0o660 {
		t.Errorf("first: %v", got)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := mount(v1.FSGroupChangeOnRootMismatch); got != 0o600 {
		t.Errorf("root matches: %v, want it left alone", got)
	}
	if got := mount(v1.FSGroupChangeAlways); got != 0o660 {
		t.Errorf("always: %v", got)
	}
}
