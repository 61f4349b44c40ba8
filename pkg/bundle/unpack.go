// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

const (
	// stagePrefix marks a directory that is being filled. One that is left over was left by a crash.
	stagePrefix = ".unpack-"
	// verifiedFile, beside the programs, holds the id of a boot and the names of those whose checksums were compared in it.
	verifiedFile = ".verified"
	// LockName, beside the directories of programs, is the file that keeps two from unpacking at the same time.
	LockName = ".lock"
)

// Unpack makes the named files (all, if none is named) present below dir and returns the directory that they are in.
// What is there already and whole is kept. A reader never sees half a file: each is renamed into place when complete,
// and a directory that did not exist appears with all of its files at once.
func (b *Bundle) Unpack(dir string, names ...string) (string, error) {
	files, err := b.choose(names)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("unpack programs: %w", err)
	}
	unlock, err := lock(filepath.Join(dir, LockName))
	if err != nil {
		return "", fmt.Errorf("unpack programs into %s: %w", dir, err)
	}
	defer unlock()
	if err := removeStages(dir); err != nil {
		return "", err
	}

	target := filepath.Join(dir, b.digest)
	missing, err := stale(target, files)
	if err != nil || len(missing) == 0 {
		return target, err
	}
	stage, err := os.MkdirTemp(dir, stagePrefix)
	if err != nil {
		return "", fmt.Errorf("unpack programs: %w", err)
	}
	defer os.RemoveAll(stage)
	if err := b.extract(stage, missing); err != nil {
		return "", err
	}
	if err := publish(stage, target, missing); err != nil {
		return "", fmt.Errorf("unpack programs into %s: %w", target, err)
	}
	verified, err := readVerified(target)
	if err != nil {
		return "", fmt.Errorf("unpack programs into %s: %w", target, err)
	}
	for _, f := range missing {
		verified = append(verified, f.Name)
	}
	return target, writeVerified(target, verified)
}

// choose returns the manifest's entries of names, or all.
func (b *Bundle) choose(names []string) ([]File, error) {
	if len(names) == 0 {
		return b.manifest.Files, nil
	}
	var files []File
	for _, name := range names {
		found := false
		for _, f := range b.manifest.Files {
			if f.Name == name {
				files, found = append(files, f), true
			}
		}
		if !found {
			return nil, fmt.Errorf("unpack %s: this hivemind does not carry it: %w", name, fs.ErrNotExist)
		}
	}
	return files, nil
}

// stale returns those of files that target lacks or has damaged. Sizes are compared each time; checksums once a boot,
// because a power cut is what leaves files of the right size and the wrong content.
func stale(target string, files []File) ([]File, error) {
	verified, err := readVerified(target)
	if err != nil {
		return nil, fmt.Errorf("check unpacked programs: %w", err)
	}
	bad := make([]bool, len(files))
	err = inParallel(len(files), func(i int) error {
		f := files[i]
		path := filepath.Join(target, f.Name)
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			bad[i] = true
			return nil
		}
		if err != nil {
			return fmt.Errorf("check unpacked programs: %w", err)
		}
		bad[i] = !info.Mode().IsRegular() || info.Size() != f.Size
		if bad[i] || slices.Contains(verified, f.Name) {
			return nil
		}
		sum, err := fileSum(path)
		bad[i] = sum != f.SHA256
		return err
	})
	if err != nil {
		return nil, err
	}
	var missing []File
	for i, f := range files {
		if bad[i] {
			missing = append(missing, f)
		} else if !slices.Contains(verified, f.Name) {
			verified = append(verified, f.Name)
		}
	}
	if len(missing) == len(files) {
		return missing, nil
	}
	return missing, writeVerified(target, verified)
}

// readVerified lists the files of target that were found whole since the machine booted.
func readVerified(target string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(target, verifiedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	words := strings.Fields(string(text))
	if len(words) == 0 || words[0] != bootID() {
		return nil, nil
	}
	return words[1:], nil
}

func writeVerified(target string, names []string) error {
	path := filepath.Join(target, verifiedFile)
	text := bootID() + " " + strings.Join(names, " ")
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return nil
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("check unpacked programs: %w", err)
	}
	return nil
}

// extract decompresses files into stage, the largest first, so that none is waited for alone.
func (b *Bundle) extract(stage string, files []File) error {
	return inParallel(len(files), func(i int) error {
		f := files[i]
		if err := b.extractFile(filepath.Join(stage, f.Name), f); err != nil {
			return fmt.Errorf("unpack %s: %w", f.Name, err)
		}
		return nil
	})
}

func (b *Bundle) extractFile(path string, f File) error {
	packed, err := fs.ReadFile(b.payload, f.PackedName())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if sum := sha256.Sum256(packed); hex.EncodeToString(sum[:]) != f.PackedSHA256 {
		return fmt.Errorf("its SHA-256 is not %s: %w", f.PackedSHA256, ErrCorrupt)
	}
	// The digest above covers the content; the frame's own checksum would be the same work again.
	decoder, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.IgnoreChecksum(true))
	if err != nil {
		return err
	}
	defer decoder.Close()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fs.FileMode(f.Mode))
	if err != nil {
		return err
	}
	n, err := decoder.WriteTo(smallWrites{out})
	if err == nil && n != f.Size {
		err = fmt.Errorf("unpacked to %d bytes, not %d: %w", n, f.Size, ErrCorrupt)
	}
	return errors.Join(err, out.Close())
}

// writeSize is how much is written at once. The kernel caches a file in pieces as large as the writes that made it, and
// maps a whole piece into a process that touches one byte of it: with writes of 1 MiB hivemindd has 35 MB more resident
// than with these, for 20 ms less here.
const writeSize = 16 << 10

type smallWrites struct{ io.Writer }

func (w smallWrites) Write(p []byte) (int, error) {
	written := 0
	for len(p) > written {
		n, err := w.Writer.Write(p[written:min(written+writeSize, len(p))])
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// publish moves files from stage to target: as one directory where there is none yet, else one by one.
func publish(stage, target string, files []File) error {
	if err := os.Chmod(stage, 0o755); err != nil {
		return err
	}
	if _, err := os.Lstat(target); errors.Is(err, fs.ErrNotExist) {
		return os.Rename(stage, target)
	}
	for _, f := range files {
		if err := os.Rename(filepath.Join(stage, f.Name), filepath.Join(target, f.Name)); err != nil {
			return err
		}
	}
	return nil
}

// Prune removes from dir what other versions unpacked, but for those that inUse says still run from there.
func (b *Bundle) Prune(dir string, inUse func(path string) bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("remove old programs: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if !e.IsDir() || e.Name() == b.digest || strings.HasPrefix(e.Name(), stagePrefix) || inUse(path) {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove old programs: %w", err)
		}
	}
	return nil
}

func removeStages(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, stagePrefix+"*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove what an interrupted start left: %w", err)
		}
	}
	return nil
}

// lock holds path against other processes until the returned function is called.
func lock(path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { f.Close() }, nil
}

func fileSum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// bootID tells this boot of the machine from others.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown" // then files are checked for once only
	}
	return strings.TrimSpace(string(id))
}

// inParallel runs do for 0 to n-1 on all cores and joins the errors.
func inParallel(n int, do func(i int) error) error {
	var (
		wg    sync.WaitGroup
		errs  = make([]error, n)
		slots = make(chan struct{}, runtime.GOMAXPROCS(0))
	)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = do(i)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
