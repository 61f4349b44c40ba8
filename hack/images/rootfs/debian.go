// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Debian fetches packages into dir, unless they are there, and unpacks them in memory. Fetching needs apt-get, unpacking dpkg-deb.
func Debian(ctx context.Context, dir string, packages ...string) (Tree, error) {
	files, err := Fetch(ctx, dir, packages...)
	if err != nil {
		return nil, err
	}
	t := Tree{}
	for _, file := range files {
		if err := t.unpack(ctx, file); err != nil {
			return nil, fmt.Errorf("unpack %s: %w", file, err)
		}
	}
	return t, nil
}

// Fetch is the first half of Debian: it returns the packages' files, whose names tell their versions, in the order of their names.
func Fetch(ctx context.Context, dir string, packages ...string) ([]string, error) {
	var missing []string
	for _, name := range packages {
		if packageFile(dir, name) == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		if err := download(ctx, dir, missing); err != nil {
			return nil, err
		}
	}
	files := make([]string, 0, len(packages))
	for _, name := range packages {
		file := packageFile(dir, name)
		if file == "" {
			return nil, fmt.Errorf("Debian package %s was not downloaded to %s", name, dir)
		}
		files = append(files, file)
	}
	slices.Sort(files)
	return files, nil
}

// packageFile is the newest downloaded version of a package, "" where there is none.
func packageFile(dir, name string) string {
	files, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
	if err != nil || len(files) == 0 {
		return ""
	}
	return slices.Max(files)
}

// download asks apt, with fresh lists where the old ones lead nowhere.
func download(ctx context.Context, dir string, packages []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	get := func(args ...string) error {
		cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-qq", "-o", "APT::Sandbox::User=root"}, args...)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	want := append([]string{"download"}, packages...)
	first := get(want...)
	if first == nil {
		return nil
	}
	if err := get("update"); err != nil {
		return errors.Join(first, err)
	}
	return get(want...)
}

func (t Tree) unpack(ctx context.Context, file string) error {
	data, err := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", file).Output()
	if err != nil {
		return err
	}
	for in := tar.NewReader(bytes.NewReader(data)); ; {
		header, err := in.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Clean(strings.TrimPrefix(header.Name, "./"))
		switch header.Typeflag {
		case tar.TypeReg:
			content, err := io.ReadAll(in)
			if err != nil {
				return err
			}
			t[name] = File(header.Mode&0o7777, content)
		case tar.TypeSymlink:
			t[name] = Symlink(header.Linkname)
		case tar.TypeLink:
			t[name] = t[path.Clean(strings.TrimPrefix(header.Linkname, "./"))]
		}
	}
}

// Closure is the part of t that the programs need: themselves, their interpreter, the libraries they name and those that
// these name, with all links on the way.
func (t Tree) Closure(programs ...string) (Tree, error) {
	out := Tree{}
	todo := slices.Clone(programs)
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if _, done := out[name]; done {
			continue
		}
		e, ok := t[name]
		if !ok {
			return nil, fmt.Errorf("no package has %s, which %s needs", name, strings.Join(programs, ", "))
		}
		out[name] = e
		if e.Link != "" {
			todo = append(todo, follow(name, e.Link))
			continue
		}
		needs, err := t.needs(e.Data)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		todo = append(todo, needs...)
	}
	return out, nil
}

// needs are the files that a program or library is loaded with.
func (t Tree) needs(data []byte) ([]string, error) {
	file, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var out []string
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			name, err := io.ReadAll(p.Open())
			if err != nil {
				return nil, err
			}
			out = append(out, strings.Trim(string(name), "/\x00"))
		}
	}
	libraries, err := file.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	for _, library := range libraries {
		out = append(out, t.library(library))
	}
	return out, nil
}

// library is the path of a library by the name that programs know it by.
func (t Tree) library(name string) string {
	for file := range t {
		dir, base := path.Split(file)
		if base == name && (strings.HasPrefix(dir, "lib/") || strings.HasPrefix(dir, "usr/lib/")) && strings.HasSuffix(dir, "-linux-gnu/") {
			return file
		}
	}
	return name
}

func follow(name, link string) string {
	if path.IsAbs(link) {
		return strings.TrimPrefix(path.Clean(link), "/")
	}
	return path.Join(path.Dir(name), link)
}
