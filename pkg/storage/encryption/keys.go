// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	"k8s.io/klog/v2"
)

// FileName is the file of the keys in its directory, which has mode 0700.
const FileName = "keys.json"

// nameBytes is the length of a key's name, which is random so that keys of two clusters do not share one.
const nameBytes = 6

// key is what objects are encrypted with. It prints as its name.
type key struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	// Seed is what the AES key of each single object is derived from.
	Seed seed `json:"seed"`
}

// String keeps the seed out of what is printed.
func (k *key) String() string { return k.Name }

// seed is secret: it prints as nothing and is written as base64 to the file of keys alone.
type seed []byte

func (seed) String() string   { return "(secret)" }
func (seed) GoString() string { return "(secret)" }

func newKey() (*key, error) {
	name := make([]byte, nameBytes)
	if _, err := rand.Read(name); err != nil {
		return nil, fmt.Errorf("make an encryption key: %w", err)
	}
	secret, err := aes.GenerateKey(aes.MinSeedSizeExtendedNonceGCM)
	if err != nil {
		return nil, fmt.Errorf("make an encryption key: %w", err)
	}
	return &key{Name: hex.EncodeToString(name), Created: time.Now().UTC().Truncate(time.Second), Seed: secret}, nil
}

// keyFile holds the keys: the one that is written with, then those that are only read with.
type keyFile struct {
	path string
	// fast leaves it to the kernel when the file reaches the disk.
	fast bool
	// at is told of steps, for tests; see Encryption.
	at func(step string)
}

// keyDocument is the file's content. The version is raised when an older program could not read it.
type keyDocument struct {
	Version int    `json:"version"`
	Keys    []*key `json:"keys"`
}

const keyVersion = 1

// load returns nil where there is no file.
func (f *keyFile) load() ([]*key, error) {
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the encryption keys: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		klog.InfoS("Others could read the encryption keys, which is mended: rotate them if others may have (hivemind secrets-encrypt rotate)", "file", f.path, "mode", info.Mode().Perm())
		if err := os.Chmod(f.path, 0o600); err != nil {
			return nil, fmt.Errorf("keep the encryption keys to their owner: %w", err)
		}
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		return nil, fmt.Errorf("read the encryption keys: %w", err)
	}
	const mend = "put the file back from a backup"
	var d keyDocument
	if err := json.Unmarshal(text, &d); err != nil {
		// The error of the decoder may quote what it has read.
		return nil, fmt.Errorf("%s is not a file of encryption keys: %s", f.path, mend)
	}
	if d.Version != keyVersion {
		return nil, fmt.Errorf("%s: version: %d is not %d: start the version of hivemind that wrote it, or %s", f.path, d.Version, keyVersion, mend)
	}
	if len(d.Keys) == 0 {
		return nil, fmt.Errorf("%s: keys: none is in it: %s", f.path, mend)
	}
	for i, k := range d.Keys {
		if k == nil || k.Name == "" || len(k.Seed) < aes.MinSeedSizeExtendedNonceGCM {
			return nil, fmt.Errorf("%s: keys[%d]: has no name or a seed of less than %d bytes: %s", f.path, i, aes.MinSeedSizeExtendedNonceGCM, mend)
		}
	}
	return d.Keys, nil
}

// save replaces the file, whole or not at all, and returns when the disk has it.
func (f *keyFile) save(keys []*key) error {
	err := f.replace(keys)
	if err != nil {
		return fmt.Errorf("write the encryption keys: %w", err)
	}
	return nil
}

func (f *keyFile) replace(keys []*key) error {
	text, err := json.MarshalIndent(keyDocument{keyVersion, keys}, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(f.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// One name for all: what a crash leaves is overwritten.
	temporary := f.path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := os.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = out.Write(append(text, '\n'))
	if err == nil && !f.fast {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	f.at("keys written")
	if err := os.Rename(temporary, f.path); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	f.at("keys replaced")
	if f.fast {
		return nil
	}
	return errors.Join(syncDir(dir), syncDir(filepath.Dir(dir))) // which may be new
}

// syncDir has the disk know of a rename in dir.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
