// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// BlobsIn has a registry keep layers and configurations in dir, in files <algorithm>/<digest> as an OCI image layout has them below blobs. Those that are
// there are served, and need not be pushed. Content is not compared with digests here: whoever pulls does that.
func BlobsIn(dir string) registry.Option { return registry.WithBlobHandler(blobs(dir)) }

type blobs string

var (
	_ registry.BlobHandler     = blobs("")
	_ registry.BlobStatHandler = blobs("")
	_ registry.BlobPutHandler  = blobs("")
)

func (b blobs) file(h v1.Hash) string { return filepath.Join(string(b), h.Algorithm, h.Hex) }

// Stat returns the size of a blob.
func (b blobs) Stat(_ context.Context, _ string, h v1.Hash) (int64, error) {
	info, err := os.Stat(b.file(h))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, registry.ErrNotFound
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Get opens a blob.
func (b blobs) Get(_ context.Context, _ string, h v1.Hash) (io.ReadCloser, error) {
	f, err := os.Open(b.file(h))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, registry.ErrNotFound
	}
	return f, err
}

// Put writes a blob, whole or not at all.
func (b blobs) Put(_ context.Context, _ string, h v1.Hash, in io.ReadCloser) error {
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(b.file(h)), 0o755); err != nil {
		return err
	}
	temp, err := os.CreateTemp(string(b), "put-")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = io.Copy(temp, in)
	if err := errors.Join(err, temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), b.file(h))
}
