// SPDX-License-Identifier: Apache-2.0

// Package build makes the images that the samples and the tests run, out of Debian packages and the project's own programs.
// Packages are downloaded once into a cache (about 10 MB); the rest takes a second or two. What comes out depends on
// nothing but the packages and the sources.
package build

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/hivemind-project/hivemind/hack/images/rootfs"
)

// Hosts that the images are named by. Neither is reached by that name: containerd is told of a mirror.
const (
	Public  = "registry.hivemind.local"
	Private = "private.hivemind.local" // asks for a password
)

// Image is an image with the names that it goes by.
type Image struct {
	v1.Image
	Names []string
}

// All builds every image. root is the project's directory; packages are kept in build/images below it.
func All(ctx context.Context, root string) ([]Image, error) {
	cache := filepath.Join(root, "build", "images")
	var out []Image
	for _, make := range []func(context.Context, string, string) ([]Image, error){busybox, redis, web} {
		images, err := make(ctx, root, cache)
		if err != nil {
			return nil, err
		}
		out = append(out, images...)
	}
	return out, nil
}

// busybox is a shell with the usual commands, each a link to the one program.
func busybox(ctx context.Context, _, cache string) ([]Image, error) {
	packages, err := rootfs.Debian(ctx, filepath.Join(cache, "debs"), "busybox-static")
	if err != nil {
		return nil, err
	}
	files, err := packages.BusyBox(ctx, "bin/")
	if err != nil {
		return nil, err
	}
	files.Add(rootfs.Tree{"tmp": rootfs.Directory(0o1777), "root": rootfs.Directory(0o700),
		"etc/passwd": rootfs.Text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
		"etc/group":  rootfs.Text("root:x:0:\nnogroup:x:65534:\n"),
	})
	made, err := image(files, v1.Config{Cmd: []string{"sh"}, Env: []string{"PATH=/bin"}})
	if err != nil {
		return nil, fmt.Errorf("build image busybox: %w", err)
	}
	return []Image{{made, []string{Public + "/busybox:1"}}}, nil
}

// redis is the server and redis-cli, with the libraries they need and nothing else.
func redis(ctx context.Context, _, cache string) ([]Image, error) {
	// redis and all that its program is linked to
	packages, err := rootfs.Debian(ctx, filepath.Join(cache, "debs"), "redis-server", "redis-tools", "libc6", "libatomic1", "libjemalloc2", "liblzf1", "libssl3",
		"libsystemd0", "libcap2", "libgcrypt20", "libgpg-error0", "liblz4-1", "liblzma5", "libzstd1", "libgcc-s1", "libstdc++6")
	if err != nil {
		return nil, err
	}
	files, err := packages.Closure("usr/bin/redis-server", "usr/bin/redis-cli")
	if err != nil {
		return nil, fmt.Errorf("build image redis: %w", err)
	}
	files["data"] = rootfs.Directory(0o777)
	files["tmp"] = rootfs.Directory(0o1777)
	made, err := image(files, v1.Config{
		Entrypoint: []string{"/usr/bin/redis-server"},
		Cmd:        []string{"--dir", "/data", "--appendonly", "yes", "--protected-mode", "no"},
		Env:        []string{"PATH=/usr/bin"}, WorkingDir: "/data",
		ExposedPorts: map[string]struct{}{"6379/tcp": {}}, Volumes: map[string]struct{}{"/data": {}},
	})
	if err != nil {
		return nil, fmt.Errorf("build image redis: %w", err)
	}
	return []Image{{made, []string{Public + "/redis:7"}}}, nil
}

// web is the guestbook in two versions, which differ in what they say of themselves.
func web(ctx context.Context, root, cache string) ([]Image, error) {
	program, err := static(ctx, root, "./hack/images/web", filepath.Join(cache, "web"))
	if err != nil {
		return nil, err
	}
	var out []Image
	for _, version := range []string{"1", "2"} {
		made, err := image(rootfs.Tree{"guestbook": rootfs.File(0o755, program), "tmp": rootfs.Directory(0o1777)}, v1.Config{
			Entrypoint: []string{"/guestbook"}, Env: []string{"GUESTBOOK_VERSION=" + version}, User: "65532:65532",
			ExposedPorts: map[string]struct{}{"8080/tcp": {}},
		})
		if err != nil {
			return nil, fmt.Errorf("build image guestbook-web:%s: %w", version, err)
		}
		out = append(out, Image{made, []string{Public + "/guestbook-web:" + version, Private + "/guestbook-web:" + version}})
	}
	return out, nil
}

// static compiles a program of this project that needs no libraries.
func static(ctx context.Context, root, pkg, file string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", file, pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile %s: %w\n%s", pkg, err, out)
	}
	return os.ReadFile(file)
}
