// SPDX-License-Identifier: Apache-2.0

package build

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// directory is an entry of a layer that is a directory with this mode.
func directory(mode int64) entry { return entry{mode: mode | isDirectory} }

const isDirectory = 1 << 32

// image makes an OCI image of one layer. The same files give the same digest: no times, one owner, sorted.
func image(files tree, config v1.Config) (v1.Image, error) {
	var blob bytes.Buffer
	if err := writeLayer(&blob, files); err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(blob.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, fmt.Errorf("compress layer: %w", err)
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	base, err = mutate.ConfigFile(base, &v1.ConfigFile{Architecture: runtime.GOARCH, OS: "linux", Config: config, RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	return mutate.AppendLayers(base, layer)
}

func writeLayer(out io.Writer, files tree) error {
	all := maps.Clone(files)
	for name := range files { // what a file lies in has to come first
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, ok := all[dir]; !ok {
				all[dir] = directory(0o755)
			}
		}
	}
	w := tar.NewWriter(out)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		e := all[name]
		header := &tar.Header{Name: name, Mode: e.mode & 0o7777, Typeflag: tar.TypeReg, Size: int64(len(e.data)), Format: tar.FormatPAX}
		switch {
		case e.mode&isDirectory != 0:
			header.Typeflag, header.Name = tar.TypeDir, strings.TrimSuffix(name, "/")+"/"
		case e.link != "":
			header.Typeflag, header.Linkname = tar.TypeSymlink, e.link
		}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := w.Write(e.data); err != nil {
			return err
		}
	}
	return w.Close()
}
