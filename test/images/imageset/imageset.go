// SPDX-License-Identifier: Apache-2.0

// Package imageset makes the images that Kubernetes' conformance tests run, and serves them, so that a cluster without a way to the
// public registries can be examined. Their programs are the suite's own, built from Go modules (test/stock); what their
// Dockerfiles take from a base image comes from Debian packages. The same inputs give the same digests.
//
// catalog.go says which images there are, recipes.go what is in them, layers.go keeps what was made: some 250 MB in build/images. The
// first Build takes about ten seconds beside downloads and the building of programs, one that finds everything takes half a second.
package imageset

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/hivemind-project/hivemind/test/cluster"
	"github.com/hivemind-project/hivemind/test/registry"
	"github.com/hivemind-project/hivemind/test/stock"
)

// Options say what is made.
type Options struct {
	// Names of images: whole references, or the last part of a repository alone, such as agnhost, for all its tags. None means all.
	Names []string
}

// Image is one image by one name.
type Image struct {
	v1.Image
	Name  string // the reference that pods name it by
	Bytes int64  // of all its layers
}

// Set is images that can be served.
type Set struct {
	Images []Image // sorted by name
	blobs  string  // directory with their layers
}

// Build makes the images, and first whatever they need and is not there: packages by apt-get, programs by test/stock. Each thing that is made costs a
// line on w. What is in the cache and was made of the same inputs is left as it is.
func Build(ctx context.Context, w io.Writer, o Options) (*Set, error) {
	chosen, err := choose(o.Names)
	if err != nil {
		return nil, err
	}
	root, err := cluster.ProjectRoot()
	if err != nil {
		return nil, err
	}
	b := &builder{root: root, cache: filepath.Join(root, "build", "images"), out: w}
	if programs := programsOf(chosen); len(programs) > 0 {
		if b.programs, err = stock.Build(ctx, w, programs...); err != nil {
			return nil, fmt.Errorf("build the programs of images: %w", err)
		}
	}
	set := &Set{blobs: b.blobs()}
	for _, r := range chosen {
		images, err := b.build(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("build image %s: %w", r.names[0], err)
		}
		set.Images = append(set.Images, images...)
	}
	slices.SortFunc(set.Images, func(a, b Image) int { return strings.Compare(a.Name, b.Name) })
	return set, nil
}

// Serve serves the images from a registry on a loopback port, by plain HTTP, until stop is called or ctx ends.
func (s *Set) Serve(ctx context.Context) (host string, stop func() error, err error) {
	r, err := registry.Start("127.0.0.1:0", "", "", registry.BlobsIn(s.blobs))
	if err != nil {
		return "", nil, err
	}
	for _, image := range s.Images {
		if err := r.Push(ctx, image.Name, image); err != nil {
			r.Close()
			return "", nil, err
		}
	}
	release := context.AfterFunc(ctx, func() { r.Close() })
	return r.Addr(), func() error {
		release()
		if err := r.Close(); err != nil && err != http.ErrServerClosed {
			return err
		}
		return nil
	}, nil
}

// MirrorArgs are the arguments of `hivemind up` that have every image of the tests' registries pulled from host. What is not
// served there is not found: no name leads to the network.
func (s *Set) MirrorArgs(host string) []string {
	var args []string
	for _, registry := range Registries() {
		args = append(args, "--registry-mirror", registry+"=http://"+host+",exclusive")
	}
	return args
}

// choose finds recipes by names.
func choose(names []string) ([]recipe, error) {
	all := catalog()
	if len(names) == 0 {
		return all, nil
	}
	var known []string
	wanted := map[string]bool{}
	for _, name := range names {
		found := false
		for _, r := range all {
			for _, full := range r.names {
				if full == name || repository(full) == name {
					wanted[full], found = true, true
				}
			}
		}
		if !found {
			for _, r := range all {
				known = append(known, repository(r.names[0]))
			}
			slices.Sort(known)
			return nil, fmt.Errorf("there is no image %q; there are %s", name, strings.Join(slices.Compact(known), ", "))
		}
	}
	var chosen []recipe
	for _, r := range all {
		r.names = slices.DeleteFunc(r.names, func(full string) bool { return !wanted[full] })
		if len(r.names) > 0 {
			chosen = append(chosen, r)
		}
	}
	return chosen, nil
}

// repository is the last part of a reference's repository.
func repository(name string) string {
	repository, _, _ := strings.Cut(path.Base(name), ":")
	return repository
}

// tag is a reference's tag.
func tag(name string) string {
	_, tag, _ := strings.Cut(path.Base(name), ":")
	return tag
}

// programsOf are the stock programs that recipes need.
func programsOf(recipes []recipe) []string {
	var programs []string
	for _, r := range recipes {
		for _, l := range r.layers {
			programs = append(programs, l.programs...)
		}
	}
	slices.Sort(programs)
	return slices.Compact(programs)
}

// builder makes images.
type builder struct {
	root, cache string
	programs    string // directory of the stock programs
	out         io.Writer
	made        map[string]v1.Layer
	source      string // directory of the module k8s.io/kubernetes
}

// build makes an image for each of the names; they differ in a label, so that each has a digest of its own.
func (b *builder) build(ctx context.Context, r recipe) ([]Image, error) {
	var layers []v1.Layer
	var size int64
	for _, l := range r.layers {
		made, err := b.layer(ctx, l)
		if err != nil {
			return nil, err
		}
		n, err := made.Size()
		if err != nil {
			return nil, err
		}
		layers, size = append(layers, made), size+n
	}
	var images []Image
	for _, name := range r.names {
		config := r.config
		config.Labels = map[string]string{"org.opencontainers.image.version": tag(name)}
		if config.Env == nil {
			config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
		}
		base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
		base, err := mutate.ConfigFile(base, &v1.ConfigFile{Architecture: runtime.GOARCH, OS: "linux", Config: config, RootFS: v1.RootFS{Type: "layers"}})
		if err != nil {
			return nil, err
		}
		image, err := mutate.AppendLayers(base, layers...)
		if err != nil {
			return nil, err
		}
		images = append(images, Image{Image: image, Name: name, Bytes: size})
	}
	return images, nil
}

func (b *builder) blobs() string { return filepath.Join(b.cache, "blobs") }

// program is the content of a stock program.
func (b *builder) program(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(b.programs, name))
}
