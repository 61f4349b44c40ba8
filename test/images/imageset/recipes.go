// SPDX-License-Identifier: Apache-2.0

package imageset

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/hivemind-project/hivemind/hack/images/rootfs"
)

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nbin:x:2:2:bin:/bin:/usr/sbin/nologin\n" +
		"www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
	// release names what the suite's own images are made of: a test reads that from an image that is mounted as a volume.
	release = "ID=hivemind-tools\nNAME=\"Hivemind test tools\"\nPRETTY_NAME=\"Debian packages in place of Alpine Linux\"\n"

	group = "root:x:0:\ndaemon:x:1:\nbin:x:2:\ntty:x:5:\nwww-data:x:33:\nnogroup:x:65534:\n"
)

// skeleton is what every file system has.
func skeleton() rootfs.Tree {
	return rootfs.Tree{
		"dev": rootfs.Directory(0o755), "etc": rootfs.Directory(0o755), "home": rootfs.Directory(0o755), "mnt": rootfs.Directory(0o755),
		"proc": rootfs.Directory(0o555), "root": rootfs.Directory(0o700), "run": rootfs.Directory(0o755), "sys": rootfs.Directory(0o555),
		"tmp": rootfs.Directory(0o1777), "var/tmp": rootfs.Directory(0o1777),
		"etc/passwd": rootfs.Text(passwd), "etc/group": rootfs.Text(group),
		"etc/nsswitch.conf": rootfs.Text("passwd: files\ngroup: files\nhosts: files dns\n"),
	}
}

// busybox is laid out as the image of that name: commands are in /bin, and hard links, but for the shell: see Command sh.
func busybox() layer {
	return layer{name: "busybox", packages: []string{"busybox-static", "bash-static"}, fill: func(ctx context.Context, in *inputs) (rootfs.Tree, error) {
		tree, err := in.packages.BusyBox(ctx, "bin/")
		if err != nil {
			return nil, err
		}
		bash, ok := in.packages["bin/bash-static"]
		if !ok {
			return nil, fmt.Errorf("the package bash-static has no bin/bash-static")
		}
		shell, err := compile(ctx, in.root, "./test/images/imageset/sh")
		if err != nil {
			return nil, err
		}
		tree.Add(skeleton(), rootfs.Tree{
			"bin/sh": rootfs.File(0o755, shell), "usr/libexec": rootfs.Directory(0o755), "usr/libexec/bash": bash, "usr/sbin": rootfs.Directory(0o755), "var/spool/mail": rootfs.Directory(0o755), "var/www": rootfs.Directory(0o755),
		})
		return tree, nil
	}}
}

// compile builds a static program of the project.
func compile(ctx context.Context, root, pkg string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "program-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "program")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", file, pkg)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile %s: %w\n%s", pkg, err, out)
	}
	return os.ReadFile(file)
}

// small is the base of images that need a shell and no libraries.
func small() layer {
	return layer{name: "small", packages: []string{"busybox-static"}, fill: smallTree}
}

func smallTree(ctx context.Context, in *inputs) (rootfs.Tree, error) {
	tree, err := in.packages.BusyBox(ctx, "bin/")
	if err != nil {
		return nil, err
	}
	tree.Add(skeleton())
	tree["sbin"], tree["lib"] = rootfs.Directory(0o755), rootfs.Directory(0o755)
	return tree.MergeUsr(), nil
}

// tools is the base of agnhost and of what tests of names run: a shell with the usual commands, and those that tests of the network call, with
// their libraries.
func tools() layer {
	return layer{
		name: "tools",
		packages: []string{
			"busybox-static", "bash", "bind9-dnsutils", "bind9-host", "coreutils", "curl", "iperf", "iproute2", "libc-bin", "netbase", "netcat-openbsd", "util-linux",
			// what these are linked to
			"bind9-libs", "libacl1", "libattr1", "libbpf1", "libbrotli1", "libbsd0", "libc6", "libcap2", "libcom-err2", "libcrypt1", "libcurl4", "libdb5.3", "libedit2", "libelf1",
			"libffi8", "libfstrm0", "libgcc-s1", "libgmp10", "libgnutls30", "libgssapi-krb5-2", "libhogweed6", "libicu72", "libidn2-0", "libjemalloc2", "libjson-c5",
			"libk5crypto3", "libkeyutils1", "libkrb5-3", "libkrb5support0", "libldap-2.5-0", "liblmdb0", "liblzma5", "libmaxminddb0", "libmd0", "libmnl0", "libnettle8",
			"libnghttp2-14", "libp11-kit0", "libpcre2-8-0", "libprotobuf-c1", "libpsl5", "librtmp1", "libsasl2-2", "libselinux1", "libssh2-1", "libssl3", "libstdc++6",
			"libtasn1-6", "libtinfo6", "libtirpc3", "libunistring2", "libuv1", "libxml2", "libxtables12", "libzstd1", "zlib1g",
		},
		fill: func(ctx context.Context, in *inputs) (rootfs.Tree, error) {
			tree, err := smallTree(ctx, in)
			if err != nil {
				return nil, err
			}
			programs, err := in.packages.Closure("bin/bash", "bin/ip", "bin/nc.openbsd", "bin/ss", "usr/bin/curl", "usr/bin/dig", "usr/bin/getent", "usr/bin/host",
				"usr/bin/iperf", "usr/bin/ipcmk", "usr/bin/ipcrm", "usr/bin/ipcs", "usr/bin/nslookup", "usr/bin/printenv")
			if err != nil {
				return nil, err
			}
			tree.Add(programs.MergeUsr(), rootfs.Tree{
				// BusyBox' own shell runs its own nc, ip and nslookup, whatever else is on PATH, and see busybox().
				"usr/bin/sh": rootfs.Symlink("bash"),
				"usr/bin/nc": rootfs.Symlink("nc.openbsd"), "usr/sbin/ip": rootfs.Symlink("../bin/ip"), "usr/local/bin/iperf": rootfs.Symlink("/usr/bin/iperf"),
				"etc/os-release": rootfs.Text(release),
				"etc/protocols":  in.packages["etc/protocols"], "etc/services": in.packages["etc/services"],
			})
			return tree, nil
		},
	}
}

// agnhost is the program, by the two names that tests tell apart, with what its commands look for.
func agnhost() layer {
	const porter, held = "test/images/agnhost/porter/", "registry.k8s.io/pause:3.10.2"
	return layer{
		name: "agnhost", programs: []string{"agnhost"}, sources: []string{porter + "localhost.crt", porter + "localhost.key"}, images: []string{held},
		fill: func(_ context.Context, in *inputs) (rootfs.Tree, error) {
			// A fake registry has one image to give away.
			tree, err := fakeRegistry("var/registry/pause/", "testing", in.images[held])
			if err != nil {
				return nil, err
			}
			tree.Add(rootfs.Tree{
				"agnhost": rootfs.File(0o755, in.programs["agnhost"]), "agnhost-2": rootfs.Symlink("agnhost"), "uploads": rootfs.Directory(0o755),
				"localhost.crt": rootfs.Text(string(in.sources[porter+"localhost.crt"])), "localhost.key": rootfs.Text(string(in.sources[porter+"localhost.key"])),
				// A test of supplemental groups runs as this user and looks for this group.
				"etc/passwd":                 rootfs.Text(passwd + "user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n"),
				"etc/group":                  rootfs.Text(group + "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n"),
				"home/user-defined-in-image": {Mode: 0o755, Dir: true, UID: 1000, GID: 1000},
			})
			return tree, nil
		},
	}
}

// fakeRegistry is an image as agnhost's fake-registry-server finds it: a file <algorithm>/<two digits>/<digest>/data for each manifest and blob, and one by the
// tag's name with the digest of an index.
func fakeRegistry(dir, tag string, image Image) (rootfs.Tree, error) {
	file := func(kind string, h v1.Hash) string {
		return dir + kind + "/" + filepath.Join(h.Algorithm, h.Hex[:2], h.Hex, "data")
	}
	digest, err := image.Digest()
	if err != nil {
		return nil, err
	}
	manifest, err := image.RawManifest()
	if err != nil {
		return nil, err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return nil, err
	}
	name, err := image.ConfigName()
	if err != nil {
		return nil, err
	}
	layers, err := image.Layers()
	if err != nil {
		return nil, err
	}
	configFile, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{{
		MediaType: types.OCIManifestSchema1, Size: int64(len(manifest)), Digest: digest,
		Platform: &v1.Platform{OS: configFile.OS, Architecture: configFile.Architecture},
	}}})
	if err != nil {
		return nil, err
	}
	top, _, err := v1.SHA256(bytes.NewReader(index))
	if err != nil {
		return nil, err
	}
	tree := rootfs.Tree{
		dir + "manifests/" + tag:  rootfs.Text(top.String() + "\n"),
		file("manifests", top):    rootfs.File(0o644, index),
		file("manifests", digest): rootfs.File(0o644, manifest),
		file("blobs", name):       rootfs.File(0o644, config),
	}
	for _, l := range layers {
		blob, err := l.Digest()
		if err != nil {
			return nil, err
		}
		data, err := readLayer(l)
		if err != nil {
			return nil, err
		}
		tree[file("blobs", blob)] = rootfs.File(0o644, data)
	}
	return tree, nil
}

func readLayer(l v1.Layer) ([]byte, error) {
	in, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return io.ReadAll(in)
}

// pictures are the files that kitten and nautilus serve, which tests tell them apart by.
func pictures(name string) layer {
	dir := "test/images/" + name + "/html/"
	return layer{name: name, sources: []string{dir + name + ".jpg", dir + "data.json"}, fill: func(_ context.Context, in *inputs) (rootfs.Tree, error) {
		return rootfs.Tree{name + ".jpg": rootfs.File(0o644, in.sources[dir+name+".jpg"]), "data.json": rootfs.File(0o644, in.sources[dir+"data.json"])}, nil
	}}
}

// nonewprivs has a program that runs as its owner, whoever starts it.
func nonewprivs() layer {
	return layer{name: "nonewprivs", programs: []string{"nonewprivs"}, fill: func(_ context.Context, in *inputs) (rootfs.Tree, error) {
		return rootfs.Tree{"usr/local/bin/nnp": rootfs.File(0o6755, in.programs["nonewprivs"])}, nil
	}}
}

func resourceConsumer() layer {
	return layer{
		name: "resource-consumer", packages: []string{"stress", "libc6"}, programs: []string{"resource-consumer", "consume-cpu"},
		fill: func(_ context.Context, in *inputs) (rootfs.Tree, error) {
			tree, err := in.packages.Closure("usr/bin/stress")
			if err != nil {
				return nil, err
			}
			tree = tree.MergeUsr()
			tree.Add(rootfs.Tree{"consumer": rootfs.File(0o755, in.programs["resource-consumer"]), "consume-cpu": rootfs.File(0o755, in.programs["consume-cpu"])})
			return tree, nil
		},
	}
}

func regressionIssue74839() layer {
	return layer{name: "regression-issue-74839", programs: []string{"regression-issue-74839"}, fill: func(_ context.Context, in *inputs) (rootfs.Tree, error) {
		return rootfs.Tree{"regression-issue-74839": rootfs.File(0o755, in.programs["regression-issue-74839"])}, nil
	}}
}

func sampleAPIServer() layer {
	return layer{name: "sample-apiserver", programs: []string{"sample-apiserver"}, fill: func(_ context.Context, in *inputs) (rootfs.Tree, error) {
		return rootfs.Tree{"sample-apiserver": rootfs.File(0o755, in.programs["sample-apiserver"])}, nil
	}}
}

// etcd is the server alone, which is all that tests start.
func etcd() layer {
	return layer{name: "etcd", programs: []string{"etcd"}, fill: func(_ context.Context, in *inputs) (rootfs.Tree, error) {
		tree := skeleton()
		tree["usr/local/bin/etcd"] = rootfs.File(0o755, in.programs["etcd"])
		return tree, nil
	}}
}

// pause is the program that Hivemind's own sandboxes run.
func pause() layer {
	return layer{name: "pause", fill: func(ctx context.Context, in *inputs) (rootfs.Tree, error) {
		dir, err := os.MkdirTemp("", "pause-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		file := filepath.Join(dir, "pause")
		cmd := exec.CommandContext(ctx, "go", "run", "./hack/pauseimage", "-program", file)
		cmd.Dir = in.root
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("compile pause: %w\n%s", err, out)
		}
		program, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		return rootfs.Tree{"pause": rootfs.File(0o755, program)}, nil
	}}
}
