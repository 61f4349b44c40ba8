// SPDX-License-Identifier: Apache-2.0

package imageset

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/hivemind-project/hivemind/hack/images/rootfs"
)

// layer is a part of an image's file system.
type layer struct {
	name     string
	packages []string // Debian's
	programs []string // of test/stock
	sources  []string // files of the module k8s.io/kubernetes
	images   []string // names of images that it holds copies of
	fill     func(ctx context.Context, in *inputs) (rootfs.Tree, error)
}

// inputs are what a layer is made of.
type inputs struct {
	packages rootfs.Tree       // what is in all its packages
	programs map[string][]byte // by name
	sources  map[string][]byte // by path
	images   map[string]Image  // by name
	root     string            // of the project
}

// code is what makes layers, beside the package rootfs.
//
//go:embed *.go sh/*.go
var code embed.FS

// layer makes l, or finds it. Its key is a digest of its inputs and of the code here, so that a change of either makes it anew; what was made
// is a tar by the name of its digest, and a line by the name of its key that leads there.
func (b *builder) layer(ctx context.Context, l layer) (v1.Layer, error) {
	if made, ok := b.made[l.name]; ok {
		return made, nil
	}
	in, key, err := b.inputs(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", l.name, err)
	}
	record := filepath.Join(b.cache, "layers", key)
	made, err := b.stored(record)
	if err != nil {
		begin := time.Now()
		fmt.Fprintf(b.out, "make layer %s ... ", l.name)
		made, err = b.make(ctx, l, in, record)
		if err != nil {
			fmt.Fprintln(b.out, "failed")
			return nil, fmt.Errorf("layer %s: %w", l.name, err)
		}
		fmt.Fprintf(b.out, "%.1f MiB, %.1f s\n", float64(made.size)/(1<<20), time.Since(begin).Seconds())
	}
	if b.made == nil {
		b.made = map[string]v1.Layer{}
	}
	b.made[l.name] = made
	return made, nil
}

// inputs reads everything but the packages, of which the names of files are enough for the key.
func (b *builder) inputs(ctx context.Context, l layer) (*inputs, string, error) {
	in := &inputs{programs: map[string][]byte{}, sources: map[string][]byte{}, images: map[string]Image{}, root: b.root}
	key := sha256.New()
	fmt.Fprintln(key, l.name, runtime.GOARCH)
	if err := digestCode(key); err != nil {
		return nil, "", err
	}
	files, err := rootfs.Fetch(ctx, b.debs(), l.packages...)
	if err != nil {
		return nil, "", err
	}
	for _, file := range files {
		fmt.Fprintln(key, "package", filepath.Base(file))
	}
	add := func(kind, name string, data []byte) []byte {
		fmt.Fprintf(key, "%s %s %x\n", kind, name, sha256.Sum256(data))
		return data
	}
	for _, name := range l.programs {
		data, err := b.program(name)
		if err != nil {
			return nil, "", err
		}
		in.programs[name] = add("program", name, data)
	}
	for _, name := range l.sources {
		data, err := b.kubernetes(ctx, name)
		if err != nil {
			return nil, "", err
		}
		in.sources[name] = add("source", name, data)
	}
	for _, name := range l.images {
		recipes, err := choose([]string{name})
		if err != nil {
			return nil, "", err
		}
		images, err := b.build(ctx, recipes[0])
		if err != nil {
			return nil, "", err
		}
		digest, err := images[0].Digest()
		if err != nil {
			return nil, "", err
		}
		in.images[name] = images[0]
		fmt.Fprintln(key, "image", digest)
	}
	return in, hex.EncodeToString(key.Sum(nil)), nil
}

// make unpacks the packages and writes the layer.
func (b *builder) make(ctx context.Context, l layer, in *inputs, record string) (*stored, error) {
	var err error
	if in.packages, err = rootfs.Debian(ctx, b.debs(), l.packages...); err != nil {
		return nil, err
	}
	tree, err := l.fill(ctx, in)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{filepath.Join(b.blobs(), "sha256"), filepath.Dir(record)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	temp, err := os.CreateTemp(b.blobs(), "layer-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	sum := sha256.New()
	if err := tree.WriteTar(io.MultiWriter(temp, sum)); err != nil {
		return nil, err
	}
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}
	if err := os.Rename(temp.Name(), filepath.Join(b.blobs(), digest.Algorithm, digest.Hex)); err != nil {
		return nil, err
	}
	if err := os.WriteFile(record, []byte(digest.String()), 0o644); err != nil {
		return nil, err
	}
	return b.stored(record)
}

// stored is a layer that was made before.
func (b *builder) stored(record string) (*stored, error) {
	text, err := os.ReadFile(record)
	if err != nil {
		return nil, err
	}
	digest, err := v1.NewHash(string(text))
	if err != nil {
		return nil, err
	}
	file := filepath.Join(b.blobs(), digest.Algorithm, digest.Hex)
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	return &stored{digest, info.Size(), file}, nil
}

func (b *builder) debs() string { return filepath.Join(b.cache, "debs") }

// kubernetes reads a file of the module k8s.io/kubernetes, at the version that the programs are built from.
func (b *builder) kubernetes(ctx context.Context, name string) ([]byte, error) {
	if b.source == "" {
		dir, err := kubernetesSource(ctx, b.root)
		if err != nil {
			return nil, err
		}
		b.source = dir
	}
	return os.ReadFile(filepath.Join(b.source, name))
}

// kubernetesSource is the directory of that module, which is downloaded if it is not there.
func kubernetesSource(ctx context.Context, root string) (string, error) {
	const module = "k8s.io/kubernetes"
	goTool := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = filepath.Join(root, "test", "upstream")
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("go %s in %s: %w\n%s", strings.Join(args, " "), cmd.Dir, err, stderr.String())
		}
		return strings.TrimSpace(string(out)), nil
	}
	if _, err := goTool("mod", "download", module); err != nil {
		return "", err
	}
	return goTool("list", "-m", "-f", "{{.Dir}}", module)
}

// digestCode writes what identifies the code that makes layers.
func digestCode(w io.Writer) error {
	for _, files := range []embed.FS{code, rootfs.Code} {
		err := fs.WalkDir(files, ".", func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || strings.HasSuffix(name, "_test.go") {
				return err
			}
			data, err := files.ReadFile(name)
			fmt.Fprintf(w, "%s %x\n", name, sha256.Sum256(data))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// stored is a layer on disk. It is not compressed, which on loopback is the quickest to serve and to unpack.
type stored struct {
	digest v1.Hash
	size   int64
	file   string
}

var _ v1.Layer = (*stored)(nil)

// Digest is DiffID, as nothing is compressed.
func (s *stored) Digest() (v1.Hash, error) { return s.digest, nil }

// DiffID is the digest of the tar.
func (s *stored) DiffID() (v1.Hash, error) { return s.digest, nil }

// Compressed opens the tar.
func (s *stored) Compressed() (io.ReadCloser, error) { return os.Open(s.file) }

// Uncompressed opens the tar.
func (s *stored) Uncompressed() (io.ReadCloser, error) { return os.Open(s.file) }

// Size is that of the tar, in bytes.
func (s *stored) Size() (int64, error) { return s.size, nil }

// MediaType is that of a plain tar.
func (s *stored) MediaType() (types.MediaType, error) { return types.OCIUncompressedLayer, nil }
