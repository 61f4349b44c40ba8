// SPDX-License-Identifier: Apache-2.0

package gc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var now = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// fakeRuntime lists what it is given and remembers what was removed.
type fakeRuntime struct {
	cri.RuntimeService
	containers []*runtimeapi.Container
	sandboxes  []*runtimeapi.PodSandbox
	broken     string // the id that cannot be removed
	removed    []string
}

func (f *fakeRuntime) ListContainers(context.Context, *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	return slices.Clone(f.containers), nil
}

func (f *fakeRuntime) ListPodSandbox(context.Context, *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	return f.sandboxes, nil
}

func (f *fakeRuntime) RemoveContainer(_ context.Context, id string) error { return f.remove(id) }
func (f *fakeRuntime) StopPodSandbox(context.Context, string) error       { return nil }
func (f *fakeRuntime) RemovePodSandbox(_ context.Context, id string) error {
	return f.remove(id)
}

func (f *fakeRuntime) remove(id string) error {
	if id == f.broken {
		return errors.New("busy")
	}
	f.removed = append(f.removed, id)
	return nil
}

// fakeImages holds images of one size.
type fakeImages struct {
	cri.ImageManagerService
	images []*runtimeapi.Image
	broken string
	gone   []string
}

func (f *fakeImages) ListImages(context.Context, *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	return slices.Clone(f.images), nil
}

func (f *fakeImages) ImageFsInfo(context.Context) (*runtimeapi.ImageFsInfoResponse, error) {
	return &runtimeapi.ImageFsInfoResponse{ImageFilesystems: []*runtimeapi.FilesystemUsage{{FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: "/"}}}}, nil
}

func (f *fakeImages) RemoveImage(_ context.Context, spec *runtimeapi.ImageSpec) error {
	if spec.Image == f.broken {
		return errors.New("busy")
	}
	f.gone = append(f.gone, spec.Image)
	f.images = slices.DeleteFunc(f.images, func(i *runtimeapi.Image) bool { return i.Id == spec.Image })
	return nil
}

func TestImages(t *testing.T) {
	const gib = 1 << 30
	image := func(id string) *runtimeapi.Image {
		return &runtimeapi.Image{Id: id, RepoDigests: []string{"repo@" + id}, Size: 5 * gib}
	}
	for name, tc := range map[string]struct {
		available uint64 // GiB of 100
		age       time.Duration
		broken    string
		want      []string
		err       string
	}{
		"enough space":                  {20, time.Hour, "", nil, ""},
		"just enough":                   {16, time.Hour, "", nil, ""},
		"full: the longest unused goes": {15, time.Hour, "", []string{"old"}, ""},
		"fuller: more go":               {11, time.Hour, "", []string{"old", "newer"}, ""},
		"more than there is":            {1, time.Hour, "", []string{"old", "newer"}, "Failed to garbage collect required amount of images. Attempted to free 20401094656 bytes, but only found 10737418240 bytes eligible to free."},
		"just arrived":                  {15, time.Minute, "", nil, "only found 0 bytes eligible"},
		"one that cannot be removed":    {15, time.Hour, "old", []string{"newer"}, "remove image old: busy"},
	} {
		t.Run(name, func(t *testing.T) {
			pinned := image("pause")
			pinned.Pinned = true
			images := &fakeImages{images: []*runtimeapi.Image{image("used"), image("by-digest"), image("newer"), image("old"), pinned}, broken: tc.broken}
			rt := &fakeRuntime{containers: []*runtimeapi.Container{{ImageId: "used"}, {ImageRef: "repo@by-digest"}, {ImageId: "newer"}}}
			var events []string
			g := NewImages(rt, images, func(reason, message string) { events = append(events, reason) })
			g.disk = func(string) (uint64, uint64, error) { return 100 * gib, tc.available * gib, nil }
			// First seen; newer was used then.
			g.now = func() time.Time { return now }
			if _, err := g.detect(t.Context()); err != nil {
				t.Fatal(err)
			}
			rt.containers = rt.containers[:2]
			g.now = func() time.Time { return now.Add(tc.age) }
			err := g.Collect(t.Context())
			if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("error %v, want %s", err, tc.err)
			}
			if d := cmp.Diff(tc.want, images.gone); d != "" {
				t.Error(d)
			}
			if told := len(events) > 0; told != strings.Contains(tc.err, "eligible") {
				t.Errorf("events %v", events)
			}
		})
	}
}

func TestPruneSparesWhatIsUsed(t *testing.T) {
	images := &fakeImages{images: []*runtimeapi.Image{{Id: "a"}, {Id: "b"}, {Id: "p", Pinned: true}}}
	g := NewImages(&fakeRuntime{containers: []*runtimeapi.Container{{ImageId: "b"}}}, images, nil)
	for _, at := range []time.Duration{0, time.Hour} {
		g.now = func() time.Time { return now.Add(at) }
		if err := g.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string{"a"}, images.gone); d != "" {
		t.Error(d)
	}
	if len(g.seen) != 3 {
		t.Errorf("%d sightings", len(g.seen))
	}
	if _, err := g.detect(t.Context()); err != nil || len(g.seen) != 2 {
		t.Errorf("a removed image is remembered: %d, %v", len(g.seen), err)
	}
}

func container(id, uid, name, sandbox string, state runtimeapi.ContainerState, age time.Duration) *runtimeapi.Container {
	return &runtimeapi.Container{Id: id, PodSandboxId: sandbox, State: state, CreatedAt: now.Add(-age).UnixNano(),
		Labels: map[string]string{"io.kubernetes.pod.uid": uid, "io.kubernetes.container.name": name}}
}

func sandbox(id, uid string, ready bool, age time.Duration) *runtimeapi.PodSandbox {
	state := runtimeapi.PodSandboxState_SANDBOX_NOTREADY
	if ready {
		state = runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return &runtimeapi.PodSandbox{Id: id, Metadata: &runtimeapi.PodSandboxMetadata{Uid: uid}, State: state, CreatedAt: now.Add(-age).UnixNano()}
}

func TestContainers(t *testing.T) {
	const (
		exited  = runtimeapi.ContainerState_CONTAINER_EXITED
		running = runtimeapi.ContainerState_CONTAINER_RUNNING
		created = runtimeapi.ContainerState_CONTAINER_CREATED
	)
	for name, tc := range map[string]struct {
		containers []*runtimeapi.Container
		sandboxes  []*runtimeapi.PodSandbox
		broken     string
		want       []string
		err        string
	}{
		"the newest dead one of each name stays": {
			containers: []*runtimeapi.Container{
				container("c1", "kept", "c", "s", exited, 30*time.Minute), container("c3", "kept", "c", "s", exited, 10*time.Minute), container("c2", "kept", "c", "s", exited, 20*time.Minute),
				container("c4", "kept", "c", "s", running, 5*time.Minute), container("d1", "kept", "d", "s", exited, time.Hour)},
			sandboxes: []*runtimeapi.PodSandbox{sandbox("s", "kept", true, time.Hour)},
			want:      []string{"c1", "c2"},
		},
		"of a pod that is gone nothing dead stays": {
			containers: []*runtimeapi.Container{container("c", "gone", "c", "s", exited, time.Hour), container("r", "gone", "c", "s2", running, time.Hour)},
			sandboxes:  []*runtimeapi.PodSandbox{sandbox("s", "gone", false, time.Hour), sandbox("s2", "gone", false, time.Hour)},
			want:       []string{"c", "s"},
		},
		"one that is being made is not dead": {
			containers: []*runtimeapi.Container{container("new", "gone", "c", "s", created, time.Second), container("forgotten", "gone", "c", "s", created, time.Hour)},
			sandboxes:  []*runtimeapi.PodSandbox{sandbox("young", "gone", false, time.Second)},
			want:       []string{"forgotten"},
		},
		"the newest sandbox of a pod stays, for its status": {
			sandboxes: []*runtimeapi.PodSandbox{sandbox("s1", "kept", false, time.Hour), sandbox("s2", "kept", false, 30*time.Minute), sandbox("s3", "kept", true, 45*time.Minute)},
			want:      []string{"s1"},
		},
		"one that cannot be removed holds up nothing, but its sandbox": {
			containers: []*runtimeapi.Container{container("a", "gone", "a", "s", exited, time.Hour), container("b", "gone2", "b", "s2", exited, time.Hour)},
			sandboxes:  []*runtimeapi.PodSandbox{sandbox("s", "gone", false, time.Hour), sandbox("s2", "gone2", false, time.Hour)},
			broken:     "a",
			want:       []string{"b", "s2"},
			err:        "remove container a: busy",
		},
	} {
		t.Run(name, func(t *testing.T) {
			rt := &fakeRuntime{containers: tc.containers, sandboxes: tc.sandboxes, broken: tc.broken}
			g := NewContainers(rt, filepath.Join(t.TempDir(), "none"), func(uid types.UID) bool { return uid == "kept" })
			g.now = func() time.Time { return now }
			err := g.Collect(t.Context())
			if (err == nil) != (tc.err == "") || err != nil && err.Error() != tc.err {
				t.Errorf("error %v, want %s", err, tc.err)
			}
			if d := cmp.Diff(tc.want, rt.removed); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestLogDirectories(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"ns_p_kept", "ns_p_known", "ns_p_gone", "something else"} {
		if err := os.MkdirAll(filepath.Join(dir, d, "c"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	rt := &fakeRuntime{sandboxes: []*runtimeapi.PodSandbox{sandbox("s", "known", true, 0)}}
	if err := NewContainers(rt, dir, func(uid types.UID) bool { return uid == "kept" }).Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if d := cmp.Diff([]string{"ns_p_kept", "ns_p_known", "something else"}, got); d != "" {
		t.Error(d)
	}
}
