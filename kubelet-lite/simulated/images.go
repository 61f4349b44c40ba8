// SPDX-License-Identifier: Apache-2.0

package simulated

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
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
	for _, image := range i.runtime.images {
		list = append(list, image)
	}
	return list, nil
}

// ImageStatus returns one image, by name or by id.
func (i *Images) ImageStatus(_ context.Context, spec *runtimeapi.ImageSpec, _ bool) (*runtimeapi.ImageStatusResponse, error) {
	i.runtime.mu.Lock()
	defer i.runtime.mu.Unlock()
	if image, ok := i.runtime.images[spec.Image]; ok {
		return &runtimeapi.ImageStatusResponse{Image: image}, nil
	}
	for _, image := range i.runtime.images {
		if image.Id == spec.Image {
			return &runtimeapi.ImageStatusResponse{Image: image}, nil
		}
	}
	return &runtimeapi.ImageStatusResponse{}, nil
}

// PullImage records an image, unless it is one that cannot be pulled.
func (i *Images) PullImage(_ context.Context, spec *runtimeapi.ImageSpec, _ *runtimeapi.AuthConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	i.runtime.mu.Lock()
	defer i.runtime.mu.Unlock()
	i.runtime.calls["PullImage"]++
	if missing := i.runtime.options.Missing; missing != nil {
		if err := missing(spec.Image); err != nil {
			return "", err
		}
	}
	id := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(spec.Image)))
	i.runtime.images[spec.Image] = &runtimeapi.Image{Id: id, RepoTags: []string{spec.Image}, Size: 1 << 20, Spec: spec}
	return id, nil
}

// RemoveImage forgets an image.
func (i *Images) RemoveImage(_ context.Context, spec *runtimeapi.ImageSpec) error {
	i.runtime.mu.Lock()
	defer i.runtime.mu.Unlock()
	for name, image := range i.runtime.images {
		if name == spec.Image || image.Id == spec.Image {
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

// unsupported is what calls answer that need a process.
func unsupported(call string) error {
	return status.Errorf(codes.Unimplemented, "%s: the simulated runtime runs no processes", call)
}
