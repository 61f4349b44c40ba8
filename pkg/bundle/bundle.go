// SPDX-License-Identifier: Apache-2.0

// Package bundle is the set of programs that bin/hivemind carries: hivemindd, containerd and its shim, runc, the CNI
// plugin, the pause image, kubectl and helm, each compressed by zstd on its own, with a manifest of their digests.
//
// They are unpacked once into <dir>/<digest>/, where digest is that of the manifest, so that two versions never share
// a file. Unpacking costs what decompression does: about 0.2 s on two cores for the 150 MB that a node needs. Later
// starts cost one stat a file, and once a boot a checksum of each.
package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
)

// ManifestName is the manifest's file name, in the payload and among the unpacked files.
const ManifestName = "manifest.json"

// ErrNoPayload is returned by a hivemind that was built without the tag "payload".
var ErrNoPayload = errors.New("this hivemind was built without the programs it should carry")

// ErrCorrupt is returned for a payload that does not have the digest its manifest gives.
var ErrCorrupt = errors.New("the hivemind file is damaged")

// Manifest lists the programs of a bundle.
type Manifest struct {
	Files []File `json:"files"`
}

// File is one program: what it is called, and what identifies it packed and unpacked.
type File struct {
	Name         string `json:"name"`
	Mode         uint32 `json:"mode"`
	Size         int64  `json:"size"`         // bytes, unpacked
	SHA256       string `json:"sha256"`       // of the unpacked file, hex
	PackedSHA256 string `json:"packedSHA256"` // of the compressed file, hex
}

// PackedName is the name of the compressed file in the payload.
func (f File) PackedName() string { return f.Name + ".zst" }

// Bundle is a payload that can be unpacked.
type Bundle struct {
	payload  fs.FS
	manifest Manifest
	digest   string
}

// Open reads the manifest of the payload in files.
func Open(files fs.FS) (*Bundle, error) {
	raw, err := fs.ReadFile(files, ManifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoPayload
	}
	if err != nil {
		return nil, fmt.Errorf("read payload %s: %w", ManifestName, err)
	}
	b := &Bundle{payload: files}
	if err := json.Unmarshal(raw, &b.manifest); err != nil {
		return nil, fmt.Errorf("read payload %s: %w: %w", ManifestName, ErrCorrupt, err)
	}
	sum := sha256.Sum256(raw)
	b.digest = hex.EncodeToString(sum[:8])
	return b, nil
}

// Digest names the directory that the bundle is unpacked into: the first 16 hex digits of its manifest's SHA-256.
func (b *Bundle) Digest() string { return b.digest }

// Files lists what the bundle carries.
func (b *Bundle) Files() []File { return b.manifest.Files }
