// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var programs = map[string]string{
	"big":   strings.Repeat("all work and no play ", 100_000),
	"small": "#!/bin/sh\n",
	"empty": "",
}

// packed returns a payload directory of programs.
func packed(t *testing.T) string {
	t.Helper()
	from, to := t.TempDir(), t.TempDir()
	var names []string
	for name, content := range programs {
		if err := os.WriteFile(filepath.Join(from, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if err := Pack(from, to, names); err != nil {
		t.Fatal(err)
	}
	return to
}

func open(t *testing.T, payload string) *Bundle {
	t.Helper()
	b, err := Open(os.DirFS(payload))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func checkUnpacked(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != programs[name] {
			t.Errorf("%s: %d bytes, %v; want %d", name, len(got), err, len(programs[name]))
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
}

func TestUnpackWhatIsMissingOrDamaged(t *testing.T) {
	for name, harm := range map[string]func(dir, target string) error{
		"nothing":              func(string, string) error { return nil },
		"a file is gone":       func(_, target string) error { return os.Remove(filepath.Join(target, "big")) },
		"a file is cut off":    func(_, target string) error { return os.Truncate(filepath.Join(target, "big"), 10) },
		"a link in its place":  func(_, target string) error { return relink(filepath.Join(target, "small")) },
		"all is gone":          func(_, target string) error { return os.RemoveAll(target) },
		"a start was broken":   func(dir, _ string) error { return os.Mkdir(filepath.Join(dir, ".unpack-123"), 0o755) },
		"a power cut, no boot": func(_, target string) error { return powerCut(target) },
	} {
		t.Run(name, func(t *testing.T) {
			b, dir := open(t, packed(t)), filepath.Join(t.TempDir(), "bin")
			target, err := b.Unpack(dir)
			if err != nil {
				t.Fatal(err)
			}
			checkUnpacked(t, target, "big", "small", "empty")
			if err := harm(dir, target); err != nil {
				t.Fatal(err)
			}
			again, err := b.Unpack(dir)
			if err != nil || again != target {
				t.Fatalf("second time: %s, %v", again, err)
			}
			checkUnpacked(t, target, "big", "small", "empty")
			if left, err := filepath.Glob(filepath.Join(dir, ".unpack-*")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func relink(path string) error {
	return errors.Join(os.Remove(path), os.Symlink("/bin/true", path))
}

// powerCut leaves a file of the right size and the wrong content, checked in another boot.
func powerCut(target string) error {
	return errors.Join(
		os.WriteFile(filepath.Join(target, "big"), make([]byte, len(programs["big"])), 0o755),
		os.WriteFile(filepath.Join(target, verifiedFile), []byte("another-boot big small empty"), 0o644))
}

func TestUnpackSome(t *testing.T) {
	b, dir := open(t, packed(t)), t.TempDir()
	target, err := b.Unpack(dir, "small")
	if err != nil {
		t.Fatal(err)
	}
	checkUnpacked(t, target, "small")
	if _, err := os.Stat(filepath.Join(target, "big")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("big was unpacked too: %v", err)
	}
	if _, err := b.Unpack(dir, "big"); err != nil {
		t.Fatal(err)
	}
	checkUnpacked(t, target, "small", "big")
	if _, err := b.Unpack(dir, "bigger"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("unknown name: %v", err)
	}
}

func TestDamagedPayloadIsRefused(t *testing.T) {
	for name, harm := range map[string]func(payload string) error{
		"a byte changed": func(payload string) error {
			path := filepath.Join(payload, "big.zst")
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content[len(content)/2] ^= 1
			return os.WriteFile(path, content, 0o644)
		},
		"cut off": func(payload string) error { return os.Truncate(filepath.Join(payload, "big.zst"), 20) },
		"gone":    func(payload string) error { return os.Remove(filepath.Join(payload, "big.zst")) },
	} {
		t.Run(name, func(t *testing.T) {
			payload, dir := packed(t), t.TempDir()
			b := open(t, payload)
			if err := harm(payload); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Unpack(dir); !errors.Is(err, ErrCorrupt) {
				t.Errorf("error %v, want ErrCorrupt", err)
			}
			if left, err := filepath.Glob(filepath.Join(dir, "[^.]*")); err != nil || len(left) > 0 {
				t.Errorf("half written: %v, %v", left, err)
			}
		})
	}
	payload := packed(t)
	if err := os.WriteFile(filepath.Join(payload, ManifestName), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(os.DirFS(payload)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("damaged manifest: %v", err)
	}
	if _, err := Open(os.DirFS(t.TempDir())); !errors.Is(err, ErrNoPayload) {
		t.Errorf("no payload: %v", err)
	}
}

func TestPackKeepsWhatIsCurrent(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(from, "a"), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	pack := func(names ...string) ([]byte, os.FileInfo) {
		t.Helper()
		if err := Pack(from, to, names); err != nil {
			t.Fatal(err)
		}
		manifest, err := os.ReadFile(filepath.Join(to, ManifestName))
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(to, "a.zst"))
		if err != nil {
			t.Fatal(err)
		}
		return manifest, info
	}
	write("one")
	if err := os.WriteFile(filepath.Join(from, "b"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	first, before := pack("a", "b")
	same, after := pack("a", "b")
	if !bytes.Equal(first, same) || !before.ModTime().Equal(after.ModTime()) {
		t.Error("packing again changed what was current")
	}
	write("two")
	if changed, _ := pack("a"); bytes.Equal(first, changed) {
		t.Error("a changed program was not packed")
	}
	if _, err := os.Stat(filepath.Join(to, "b.zst")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is no longer carried is still embedded: %v", err)
	}
}

func TestPrune(t *testing.T) {
	b, dir := open(t, packed(t)), t.TempDir()
	target, err := b.Unpack(dir)
	if err != nil {
		t.Fatal(err)
	}
	old, used := filepath.Join(dir, "0123"), filepath.Join(dir, "4567")
	for _, path := range []string{old, used} {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Prune(dir, func(path string) bool { return path == used }); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{target: true, used: true, old: false} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", path, err == nil, want)
		}
	}
}
