// SPDX-License-Identifier: Apache-2.0

// These tests mount: they need root.

package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apitypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
)

// world holds the objects that volumes are made from, by "kind/name", and issues tokens.
type world struct {
	configMaps map[string]*v1.ConfigMap
	secrets    map[string]*v1.Secret
	token      string
	asked      authv1.TokenRequestSpec
	forgotten  apitypes.UID
}

func (w *world) GetConfigMap(_, name string) (*v1.ConfigMap, error) {
	if cm := w.configMaps[name]; cm != nil {
		return cm, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmap"}, name)
}

func (w *world) GetSecret(_, name string) (*v1.Secret, error) {
	if name == "unreachable" {
		return nil, errors.New("failed to sync secret cache: timed out waiting for the condition")
	}
	if s := w.secrets[name]; s != nil {
		return s, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secret"}, name)
}

func (w *world) Get(_ context.Context, _, _ string, spec authv1.TokenRequestSpec) (string, error) {
	w.asked = spec
	if w.token == "" {
		return "", errors.New("failed to fetch token: server is down")
	}
	return w.token, nil
}

func (w *world) Forget(pod apitypes.UID) { w.forgotten = pod }

func newManager(t *testing.T, w *world, objects ...runtime.Object) *Manager {
	t.Helper()
	dir := t.TempDir()
	m := New(Options{
		PodsDir: filepath.Join(dir, "pods"), LocalDir: filepath.Join(dir, "volumes"), Client: fake.NewClientset(objects...), Objects: w, Tokens: w,
		Allocatable: func() v1.ResourceList {
			return v1.ResourceList{v1.ResourceCPU: resource.MustParse("2"), v1.ResourceMemory: resource.MustParse("8Gi")}
		},
	})
	t.Cleanup(func() {
		if err := m.Unmount(context.Background(), "u1"); err != nil {
			t.Error(err)
		}
		if w.forgotten != "u1" {
			t.Error("the pod's tokens are kept")
		}
		if left, err := mountsBelow(dir); err != nil || len(left) > 0 {
			t.Errorf("mounts %v are left, %v", left, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "pods", "u1", "volumes")); !os.IsNotExist(err) {
			t.Errorf("volumes directory is left: %v", err)
		}
	})
	return m
}

func podOf(volumes ...v1.Volume) *v1.Pod {
	p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u1", Labels: map[string]string{"app": "web", "a": `"q"`}}}
	p.Spec.ServiceAccountName = "sa"
	p.Spec.Containers = []v1.Container{{Name: "c"}}
	p.Spec.Volumes = volumes
	return p
}

func vol(name string, source v1.VolumeSource) v1.Volume {
	return v1.Volume{Name: name, VolumeSource: source}
}

func ref(name string) v1.LocalObjectReference { return v1.LocalObjectReference{Name: name} }

func ptr[T any](v T) *T { return &v }

// content reads a volume as a container does: by the names it sees, "mode content" by path.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	var walk func(rel string)
	walk = func(rel string) {
		entries, err := os.ReadDir(filepath.Join(dir, rel))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			p := filepath.Join(rel, e.Name())
			if strings.HasPrefix(e.Name(), "..") {
				continue
			}
			info, err := os.Stat(filepath.Join(dir, p))
			if err != nil {
				t.Fatal(err)
			}
			if info.IsDir() {
				walk(p)
				continue
			}
			data, err := os.ReadFile(filepath.Join(dir, p))
			if err != nil {
				t.Fatal(err)
			}
			out[p] = fmt.Sprintf("%o %s", info.Mode().Perm(), data)
		}
	}
	walk("")
	return out
}

func TestContentVolumes(t *testing.T) {
	w := &world{
		token: "t0",
		configMaps: map[string]*v1.ConfigMap{
			"cm": {Data: map[string]string{"a": "1", "b": "2"}, BinaryData: map[string][]byte{"bin": {'x'}}},
		},
		secrets: map[string]*v1.Secret{"s": {Data: map[string][]byte{"user": []byte("me"), "pass": []byte("pw")}}},
	}
	optional := ptr(true)
	for name, tc := range map[string]struct {
		source v1.VolumeSource
		want   map[string]string
		err    string
	}{
		"configMap, all keys": {
			source: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: ref("cm"), DefaultMode: ptr[int32](0o640)}},
			want:   map[string]string{"a": "640 1", "b": "640 2", "bin": "640 x"},
		},
		"configMap, items with modes and directories": {
			source: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: ref("cm"), Items: []v1.KeyToPath{
				{Key: "a", Path: "etc/app/a.conf", Mode: ptr[int32](0o400)}, {Key: "bin", Path: "etc/bin"}}}},
			want: map[string]string{"etc/app/a.conf": "400 1", "etc/bin": "644 x"},
		},
		"configMap missing": {
			source: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: ref("y")}},
			err:    `MountVolume.SetUp failed for volume "x" : configmap "y" not found`,
		},
		"configMap missing, optional": {
			source: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: ref("y"), Optional: optional}},
			want:   map[string]string{},
		},
		"configMap, key missing": {
			source: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: ref("cm"), Items: []v1.KeyToPath{{Key: "z", Path: "z"}}}},
			err:    `MountVolume.SetUp failed for volume "x" : configmap references non-existent config key: z`,
		},
		"configMap, key missing, optional": {
			source: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: ref("cm"), Optional: optional, Items: []v1.KeyToPath{{Key: "z", Path: "z"}, {Key: "a", Path: "a"}}}},
			want:   map[string]string{"a": "644 1"},
		},
		"path that leaves the volume": {
			source: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: ref("cm"), Items: []v1.KeyToPath{{Key: "a", Path: "../../a"}}}},
			err:    `MountVolume.SetUp failed for volume "x" : invalid path "../../a": must be relative and not begin with '..'`,
		},
		"secret": {
			source: v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "s", DefaultMode: ptr[int32](0o400)}},
			want:   map[string]string{"user": "400 me", "pass": "400 pw"},
		},
		"secret missing": {
			source: v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "y"}},
			err:    `MountVolume.SetUp failed for volume "x" : secret "y" not found`,
		},
		"secret, key missing": {
			source: v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "s", Items: []v1.KeyToPath{{Key: "z", Path: "z"}}}},
			err:    `MountVolume.SetUp failed for volume "x" : references non-existent secret key: z`,
		},
		"secret that cannot be read is not taken for missing": {
			source: v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "unreachable", Optional: optional}},
			err:    `MountVolume.SetUp failed for volume "x" : failed to sync secret cache: timed out waiting for the condition`,
		},
		"downwardAPI": {
			source: v1.VolumeSource{DownwardAPI: &v1.DownwardAPIVolumeSource{Items: []v1.DownwardAPIVolumeFile{
				{Path: "labels", FieldRef: &v1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
				{Path: "one", FieldRef: &v1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}},
				{Path: "cpu", ResourceFieldRef: &v1.ResourceFieldSelector{ContainerName: "c", Resource: "limits.cpu", Divisor: resource.MustParse("1m")}},
			}}},
			want: map[string]string{"labels": "644 a=\"\\\"q\\\"\"\napp=\"web\"", "one": "644 web", "cpu": "644 2000"},
		},
		"downwardAPI, what it cannot tell": {
			source: v1.VolumeSource{DownwardAPI: &v1.DownwardAPIVolumeSource{Items: []v1.DownwardAPIVolumeFile{
				{Path: "ip", FieldRef: &v1.ObjectFieldSelector{FieldPath: "status.podIP"}}}}},
			err: `MountVolume.SetUp failed for volume "x" : unsupported fieldPath: status.podIP`,
		},
		"projected": {
			source: v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{DefaultMode: ptr[int32](0o444), Sources: []v1.VolumeProjection{
				{ServiceAccountToken: &v1.ServiceAccountTokenProjection{Path: "token", Audience: "vault"}},
				{ConfigMap: &v1.ConfigMapProjection{LocalObjectReference: ref("cm"), Items: []v1.KeyToPath{{Key: "a", Path: "ca.crt"}}}},
				{Secret: &v1.SecretProjection{LocalObjectReference: ref("s"), Items: []v1.KeyToPath{{Key: "user", Path: "user"}}}},
				{DownwardAPI: &v1.DownwardAPIProjection{Items: []v1.DownwardAPIVolumeFile{{Path: "namespace", FieldRef: &v1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}}}},
			}}},
			want: map[string]string{"token": "444 t0", "ca.crt": "444 1", "user": "444 me", "namespace": "444 ns"},
		},
		"projected tells all that is wrong": {
			source: v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{Sources: []v1.VolumeProjection{
				{ConfigMap: &v1.ConfigMapProjection{LocalObjectReference: ref("y")}}, {Secret: &v1.SecretProjection{LocalObjectReference: ref("y")}},
				{ClusterTrustBundle: &v1.ClusterTrustBundleProjection{}},
			}}},
			err: `MountVolume.SetUp failed for volume "x" : [configmap "y" not found, secret "y" not found, ClusterTrustBundle projection is not supported in static kubelet mode]`,
		},
		"of a driver that is not here": {
			source: v1.VolumeSource{CSI: &v1.CSIVolumeSource{Driver: "d"}},
			err:    `MountVolume.SetUp failed for volume "x" : no volume plugin matched`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t, w)
			got, err := m.Mount(t.Context(), podOf(vol("x", tc.source), vol("good", v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}})))
			if _, ok := got["good"]; !ok {
				t.Error("a good volume is held up by a bad one")
			}
			if tc.err != "" {
				if err == nil || err.Error() != tc.err {
					t.Errorf("error %v\nwant  %s", err, tc.err)
				}
				if es := Errors(err); len(es) != 1 || es[0].Volume != "x" {
					t.Errorf("errors %v", es)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !got["x"].ReadOnly {
				t.Error("containers could write to it")
			}
			if d := cmp.Diff(tc.want, content(t, got["x"].HostPath)); d != "" {
				t.Error(d)
			}
			inMemory, err := isMountPoint(got["x"].HostPath)
			if err != nil || inMemory != (tc.source.ConfigMap == nil) {
				t.Errorf("in memory: %t, %v", inMemory, err)
			}
		})
	}
}

func TestRefreshSwapsWhole(t *testing.T) {
	w := &world{configMaps: map[string]*v1.ConfigMap{"cm": {Data: map[string]string{"a": "1", "gone": "x"}}}}
	m := newManager(t, w)
	pod := podOf(vol("x", v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: ref("cm")}}))
	got, err := m.Mount(t.Context(), pod)
	if err != nil {
		t.Fatal(err)
	}
	dir := got["x"].HostPath
	link := func() string {
		to, err := os.Readlink(filepath.Join(dir, "..data"))
		if err != nil {
			t.Fatal(err)
		}
		return to
	}
	first := link()
	// What does not change is not written: not now, and not by the next process, which knows no digest.
	for range 2 {
		if err := m.Refresh(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		if link() != first {
			t.Error("unchanged content was written again")
		}
		m = New(m.Options)
	}
	w.configMaps["cm"] = &v1.ConfigMap{Data: map[string]string{"a": "2", "new": "y"}}
	if err := m.Refresh(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"a": "644 2", "new": "644 y"}, content(t, dir)); d != "" {
		t.Error(d)
	}
	if _, err := os.Stat(filepath.Join(dir, first)); !os.IsNotExist(err) {
		t.Errorf("old content is left: %v", err)
	}
	// A crash between two steps leaves a link behind, which the next write replaces.
	if err := os.Symlink("nowhere", filepath.Join(dir, "..data_tmp")); err != nil {
		t.Fatal(err)
	}
	w.configMaps["cm"] = &v1.ConfigMap{Data: map[string]string{"a": "3"}}
	if err := m.Refresh(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"a": "644 3"}, content(t, dir)); d != "" {
		t.Error(d)
	}
	delete(w.configMaps, "cm")
	if err := m.Refresh(t.Context(), pod); err == nil {
		t.Error("a deleted ConfigMap was not told")
	}
	if got := content(t, dir)["a"]; got != "644 3" {
		t.Errorf("content after deletion: %q, want it kept", got)
	}
}

func stat(t *testing.T, path string) (fs.FileMode, uint32, uint32) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	s := info.Sys().(*syscall.Stat_t)
	return info.Mode(), s.Uid, s.Gid
}

func TestOwnership(t *testing.T) {
	w := &world{token: "t", secrets: map[string]*v1.Secret{"s": {Data: map[string][]byte{"k": []byte("v")}}}}
	m := newManager(t, w)
	pod := podOf(
		vol("disk", v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}),
		vol("memory", v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{Medium: v1.StorageMediumMemory, SizeLimit: resource.NewQuantity(1<<20, resource.BinarySI)}}),
		vol("secret", v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "s", DefaultMode: ptr[int32](0o400)}}),
		vol("token", v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{Sources: []v1.VolumeProjection{{ServiceAccountToken: &v1.ServiceAccountTokenProjection{Path: "token"}}}}}))
	pod.Spec.SecurityContext = &v1.PodSecurityContext{FSGroup: ptr[int64](2000), RunAsUser: ptr[int64](1000)}
	got, err := m.Mount(t.Context(), pod)
	if err != nil {
		t.Fatal(err)
	}
	type seen struct {
		Mode     fs.FileMode
		UID, GID uint32
	}
	for path, want := range map[string]seen{
		got["disk"].HostPath:              {fs.ModeDir | fs.ModeSetgid | 0o777, 0, 2000},
		got["memory"].HostPath:            {fs.ModeDir | fs.ModeSetgid | fs.ModeSticky | 0o777, 0, 2000},
		got["secret"].HostPath + "/k":     {0o440, 0, 2000},
		got["token"].HostPath + "/token":  {0o640&^0o200 | 0o200, 1000, 2000},
		got["token"].HostPath + "/..data": {fs.ModeDir | fs.ModeSetgid | 0o755, 0, 2000},
	} {
		var s seen
		s.Mode, s.UID, s.GID = stat(t, path)
		if s != want {
			t.Errorf("%s: %v %d:%d, want %v %d:%d", path, s.Mode, s.UID, s.GID, want.Mode, want.UID, want.GID)
		}
	}
	var fsStat syscall.Statfs_t
	if err := syscall.Statfs(got["memory"].HostPath, &fsStat); err != nil || fsStat.Blocks*uint64(fsStat.Bsize) != 1<<20 {
		t.Errorf("memory volume holds %d bytes, %v", fsStat.Blocks*uint64(fsStat.Bsize), err)
	}

	// What containers made of an emptyDir is theirs.
	if err := os.WriteFile(got["disk"].HostPath+"/mine", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(got["disk"].HostPath, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := New(m.Options).Mount(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if mode, _, _ := stat(t, got["disk"].HostPath); mode != fs.ModeDir|0o700 {
		t.Errorf("mode of a used emptyDir became %v", mode)
	}
	if w.asked.BoundObjectRef == nil || w.asked.BoundObjectRef.UID != "u1" || w.asked.BoundObjectRef.Kind != "Pod" {
		t.Errorf("token is bound to %v", w.asked.BoundObjectRef)
	}
}

func TestMemorySize(t *testing.T) {
	m := newManager(t, &world{})
	limited := podOf()
	limited.Spec.Containers[0].Resources.Limits = v1.ResourceList{v1.ResourceMemory: resource.MustParse("64Mi")}
	for name, tc := range map[string]struct {
		pod   *v1.Pod
		limit *resource.Quantity
		want  int64
	}{
		"nothing said":         {podOf(), nil, 8 << 30},
		"the volume's limit":   {podOf(), resource.NewQuantity(1<<30, resource.BinarySI), 1 << 30},
		"the pod's limit":      {limited, nil, 64 << 20},
		"the pod's is smaller": {limited, resource.NewQuantity(1<<30, resource.BinarySI), 64 << 20},
	} {
		if got := m.memorySize(tc.pod, &v1.EmptyDirVolumeSource{SizeLimit: tc.limit}); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

func TestHostPath(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.Mkdir(at("dir"), 0o755), os.WriteFile(at("file"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, tc := range []struct {
		path string
		kind v1.HostPathType
		err  string
	}{
		{at("nothing"), v1.HostPathUnset, ""},
		{at("dir"), v1.HostPathDirectory, ""},
		{at("file"), v1.HostPathDirectory, "hostPath type check failed: " + at("file") + " is not a directory"},
		{at("nothing"), v1.HostPathDirectory, "hostPath type check failed: " + at("nothing") + " is not a directory"},
		{at("made/deep"), v1.HostPathDirectoryOrCreate, ""},
		{at("file"), v1.HostPathDirectoryOrCreate, "hostPath type check failed: " + at("file") + " is not a directory"},
		{at("file"), v1.HostPathFile, ""},
		{at("dir"), v1.HostPathFile, "hostPath type check failed: " + at("dir") + " is not a file"},
		{at("made/file"), v1.HostPathFileOrCreate, ""},
		{at("dir"), v1.HostPathFileOrCreate, "hostPath type check failed: " + at("dir") + " is not a file"},
		{at("no/parent"), v1.HostPathFileOrCreate, "open " + at("no/parent") + ": no such file or directory"},
		{at("socket"), v1.HostPathSocket, ""},
		{at("file"), v1.HostPathSocket, "hostPath type check failed: " + at("file") + " is not a socket file"},
		{"/dev/null", v1.HostPathCharDev, ""},
		{"/dev/null", v1.HostPathBlockDev, "hostPath type check failed: /dev/null is not a block device"},
		{at("file"), v1.HostPathCharDev, "hostPath type check failed: " + at("file") + " is not a character device"},
		{at("file"), "Odd", "Odd is an invalid volume type"},
		{at("dir/../file"), v1.HostPathUnset, "invalid HostPath `" + at("dir") + "`: must not contain '..'"},
	} {
		source := &v1.HostPathVolumeSource{Path: tc.path, Type: &tc.kind}
		if strings.HasPrefix(tc.err, "invalid HostPath") {
			source.Path = dir + "/dir/../file" // Join would clean it
			tc.err = "invalid HostPath `" + source.Path + "`: must not contain '..'"
		}
		err := checkHostPath(source)
		if got := fmt.Sprint(err); err == nil && tc.err != "" || err != nil && got != tc.err {
			t.Errorf("%s as %q: %v, want %q", tc.path, tc.kind, err, tc.err)
		}
	}
	for _, made := range []string{"made/deep", "made/file"} {
		if _, err := os.Stat(at(made)); err != nil {
			t.Error(err)
		}
	}
}

func TestSubPath(t *testing.T) {
	m := newManager(t, &world{configMaps: map[string]*v1.ConfigMap{"cm": {Data: map[string]string{"key": "1"}}}})
	pod := podOf(vol("data", v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}), vol("cm", v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: ref("cm")}}))
	got, err := m.Mount(t.Context(), pod)
	if err != nil {
		t.Fatal(err)
	}
	root := got["data"].HostPath
	secret := filepath.Join(t.TempDir(), "secret")
	if err := errors.Join(
		os.WriteFile(secret, []byte("host"), 0o600),
		os.Mkdir(root+"/dir", 0o755),
		os.Symlink("dir", root+"/inside"),
		os.Symlink(secret, root+"/absolute"),
		os.Symlink("../../../../..", root+"/up"),
	); err != nil {
		t.Fatal(err)
	}
	const prepare = `failed to create subPath directory for volumeMount "data" of container "c"`
	for i, tc := range []struct{ path, err string }{
		{"dir", ""},
		{"inside", ""},
		{"new/deeper", ""},
		{"inside/made", ""},
		{"absolute", prepare},
		{"up/etc", prepare},
		{"up", prepare},
		{"/etc", "error SubPath `/etc` must not be an absolute path"},
		{"dir/../../x", "unable to provision SubPath `dir/../../x`: must not contain '..'"},
	} {
		target, err := m.SubPath("u1", "data", "c", i, got["data"], tc.path)
		if tc.err != "" {
			if err == nil || err.Error() != tc.err {
				t.Errorf("%s: %v, want %s", tc.path, err, tc.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tc.path, err)
			continue
		}
		if err := os.WriteFile(filepath.Join(target, "probe"), nil, 0o644); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(root, tc.path, "probe")); err != nil {
			t.Errorf("%s is not the volume's: %v", tc.path, err)
		}
		if err := os.Remove(filepath.Join(target, "probe")); err != nil {
			t.Error(err)
		}
	}
	if mode, _, _ := stat(t, root+"/new/deeper"); mode.Perm() != 0o777 {
		t.Errorf("made directory has mode %v, want the volume's", mode)
	}

	// A file; kept when asked for again, followed to the new content when the volume changed.
	sub := func() string {
		target, err := m.SubPath("u1", "cm", "c", 9, got["cm"], "key")
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(target)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if a, b := sub(), sub(); a != "1" || b != "1" {
		t.Errorf("file: %q, then %q", a, b)
	}
	m.Objects.(*world).configMaps["cm"] = &v1.ConfigMap{Data: map[string]string{"key": "2"}}
	if err := m.Refresh(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if got := sub(); got != "2" {
		t.Errorf("after a change a started container has %q", got)
	}
	mounts, err := mountsBelow(m.podDir("u1"))
	if err != nil || len(mounts) != 5 {
		t.Errorf("mounts %v, %v; want one a sub-path", mounts, err)
	}
	// Data behind a sub-path is not removed with it.
	if err := m.Unmount(t.Context(), "u1"); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(secret); err != nil || string(data) != "host" {
		t.Errorf("the host's file: %q, %v", data, err)
	}
}

func TestUnmountRefusesOddNames(t *testing.T) {
	m := newManager(t, &world{})
	for _, uid := range []string{"", "a/b", "../x"} {
		if err := m.Unmount(t.Context(), apitypes.UID(uid)); err == nil {
			t.Errorf("uid %q was taken", uid)
		}
	}
}
