// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// Pack compresses the named files of from into to and writes the manifest. A file that is there already, made from
// the same content, is kept: compressing costs about a second for 20 MB on one core.
func Pack(from, to string, names []string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	manifestPath := filepath.Join(to, ManifestName)
	var before Manifest
	if raw, err := os.ReadFile(manifestPath); err == nil {
		// An unreadable manifest only means that all is packed anew.
		_ = json.Unmarshal(raw, &before)
	}
	files := make([]File, len(names))
	err := inParallel(len(names), func(i int) error {
		f, err := packFile(from, to, names[i], before)
		files[i] = f
		if err != nil {
			return fmt.Errorf("pack %s: %w", names[i], err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(files, func(a, b File) int { return cmp.Compare(b.Size, a.Size) })
	if err := removeOthers(to, files); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(Manifest{Files: files}, "", "  ")
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(manifestPath); err == nil && bytes.Equal(old, raw) {
		return nil
	}
	return os.WriteFile(manifestPath, raw, 0o644)
}

func packFile(from, to, name string, before Manifest) (File, error) {
	path := filepath.Join(from, name)
	info, err := os.Stat(path)
	if err != nil {
		return File{}, err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return File{}, err
	}
	sum := sha256.Sum256(content)
	f := File{Name: name, Mode: uint32(info.Mode().Perm()), Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
	target := filepath.Join(to, f.PackedName())
	for _, old := range before.Files {
		if old.Name != name || old.SHA256 != f.SHA256 {
			continue
		}
		if packed, err := fileSum(target); err == nil && packed == old.PackedSHA256 {
			f.PackedSHA256 = packed
			return f, nil
		}
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(8<<20), zstd.WithEncoderCRC(false))
	if err != nil {
		return File{}, err
	}
	packed := encoder.EncodeAll(content, nil)
	sum = sha256.Sum256(packed)
	f.PackedSHA256 = hex.EncodeToString(sum[:])
	return f, errors.Join(encoder.Close(), os.WriteFile(target, packed, 0o644))
}

// removeOthers removes from to what an earlier build packed and this one does not, so that it is not embedded.
func removeOthers(to string, files []File) error {
	entries, err := os.ReadDir(to)
	if err != nil {
		return err
	}
	for _, e := range entries {
		keep := e.Name() == ManifestName || slices.ContainsFunc(files, func(f File) bool { return f.PackedName() == e.Name() })
		if keep {
			continue
		}
		if err := os.RemoveAll(filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
