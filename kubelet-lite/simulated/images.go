// SPDX-License-Identifier: Apache-2.0

package simulated

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/images"
)

const (
	imageSize = 1 << 20 // bytes, of every image
	// imageUser is whom images run as: not root, so that pods that must not run as root can be had.
	imageUser = 65532
)

// Images is the runtime's image service: names without content.
type Images struct {
	runtime *Runtime
}

// Images returns the image service of this runtime.
func (r *Runtime) Images() *Images { return &Images{runtime: r} }

// ListImages returns every image that has been pulled.
func (i *Images) ListImages(context.Context, *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	i.runtime.mu.Lock()
	defer i.runtime.mu.Unlock()
	list := make([]*runtimeapi.Image, 0, len(i.runtime.images))
	for name, id := range i.runtime.images {
		list = append(list, image(name, id))
	}
	return list, nil
}

// ImageStatus returns one image, by name or by id. A pod whose pulls are to fail finds no image that others have pulled.
func (i *Images) ImageStatus(_ context.Context, spec *runtimeapi.ImageSpec, _ bool) (*runtimeapi.ImageStatusResponse, error) {
	if _, fails := (settings{annotations: spec.Annotations}).get(PullError); fails {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	i.runtime.mu.Lock()
	defer i.runtime.mu.Unlock()
	if id, ok := i.runtime.images[spec.Image]; ok {
		return &runtimeapi.ImageStatusResponse{Image: image(spec.Image, id)}, nil
	}
	for name, id := range i.runtime.images {
		if id == spec.Image {
			return &runtimeapi.ImageStatusResponse{Image: image(name, id)}, nil
		}
	}
	return &runtimeapi.ImageStatusResponse{}, nil
}

// PullImage records an image, unless it is one that cannot be pulled.
func (i *Images) PullImage(ctx context.Context, spec *runtimeapi.ImageSpec, _ *runtimeapi.AuthConfig, pod *runtimeapi.PodSandboxConfig) (string, error) {
	r := i.runtime
	s := settings{annotations: pod.GetAnnotations()}
	r.mu.Lock()
	r.calls["PullImage"]++
	id, present := r.images[spec.Image]
	r.mu.Unlock()
	if !present {
		if err := pause(ctx, s.duration(PullDelay, r.options.PullDelay)); err != nil {
			return "", err
		}
	}
	if err := r.unavailable(spec.Image, s); err != nil {
		return "", err
	}
	if present {
		return id, nil
	}
	id = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(spec.Image)))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images[spec.Image] = id
	return id, nil
}

// unavailable says why an image cannot be pulled: because the pod says so, because its registry is not one of those that there are, or because none can
// have a name below .invalid (RFC 6761).
func (r *Runtime) unavailable(name string, s settings) error {
	if why, ok := s.get(PullError); ok {
		return status.Error(codes.Unknown, why)
	}
	if r.options.Missing != nil {
		return r.options.Missing(name)
	}
	_, repository, err := images.Normalize(name)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	registry, _, _ := strings.Cut(repository, "/")
	host, _, _ := strings.Cut(registry, ":")
	if known := r.options.Registries; strings.HasSuffix(host, ".invalid") || len(known) > 0 && !slices.Contains(known, registry) {
		return status.Errorf(codes.Unknown, "failed to pull and unpack image %q: failed to resolve reference %q: lookup %s: no such host", name, name, host)
	}
	return nil
}

// RemoveImage forgets an image.
func (i *Images) RemoveImage(_ context.Context, spec *runtimeapi.ImageSpec) error {
	i.runtime.mu.Lock()
	defer i.runtime.mu.Unlock()
	for name, id := range i.runtime.images {
		if name == spec.Image || id == spec.Image {
			delete(i.runtime.images, name)
		}
	}
	return nil
}

// ImageFsInfo reports one empty file system.
func (i *Images) ImageFsInfo(context.Context) (*runtimeapi.ImageFsInfoResponse, error) {
	usage := []*runtimeapi.FilesystemUsage{{Timestamp: time.Now().UnixNano(), FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: "/"},
		UsedBytes: &runtimeapi.UInt64Value{}, InodesUsed: &runtimeapi.UInt64Value{}}}
	return &runtimeapi.ImageFsInfoResponse{ImageFilesystems: usage, ContainerFilesystems: usage}, nil
}

// Close ends nothing.
func (i *Images) Close(context.Context) error { return nil }

func image(name, id string) *runtimeapi.Image {
	return &runtimeapi.Image{Id: id, RepoTags: []string{name}, Size: imageSize, Spec: &runtimeapi.ImageSpec{Image: name}, Uid: &runtimeapi.Int64Value{Value: imageUser}}
}

// unsupported is what calls answer that need a process.
func unsupported(call string) error {
	return fmt.Errorf("%s: the simulated runtime runs no processes", call)
}
