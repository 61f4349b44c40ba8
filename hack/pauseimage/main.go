// SPDX-License-Identifier: Apache-2.0

// Command pauseimage compiles cmd/pause/pause.c with $CC (default cc) and wraps it in an OCI image archive. The same
// source and compiler give the same bytes: no times, no owners, no compression.
//
//	go run ./hack/pauseimage -o build/pause.tar
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// version of the image: raise it when pause.c changes, so that nodes load the new one beside the old.
const version = "1"

func main() {
	out := flag.String("o", "build/pause.tar", "file to write")
	program := flag.String("program", "", "write the program alone to this file, and no image")
	source := flag.String("source", "cmd/pause/pause.c", "C source of the program")
	flag.Parse()
	if err := run(*source, *out, *program); err != nil {
		fmt.Fprintln(os.Stderr, "pauseimage:", err)
		os.Exit(1)
	}
}

func run(source, out, alone string) error {
	program, err := compile(source)
	if err != nil {
		return fmt.Errorf("compile %s: %w", source, err)
	}
	if alone != "" {
		return os.WriteFile(alone, program, 0o755)
	}
	image, err := archive(program, "docker.io/hivemind/pause:"+version)
	if err != nil {
		return fmt.Errorf("build image: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(out, image, 0o644)
}

// compile links the one source file to a static program without a C library.
func compile(source string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "pause")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	bin := filepath.Join(dir, "pause")
	args := append(strings.Fields(cc)[1:], "-static", "-nostdlib", "-nostartfiles", "-ffreestanding", "-fno-stack-protector",
		"-fno-asynchronous-unwind-tables", "-fno-pie", "-no-pie", "-Os", "-Wall", "-Wextra", "-Werror",
		"-Wl,--build-id=none", "-Wl,-z,noseparate-code", "-Wl,-z,noexecstack", "-s", "-o", bin, source)
	if msg, err := exec.Command(strings.Fields(cc)[0], args...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, msg)
	}
	return os.ReadFile(bin)
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// archive lays the program out as https://github.com/opencontainers/image-spec/blob/main/image-layout.md says, in a tar.
func archive(program []byte, name string) ([]byte, error) {
	layer, err := tarOf(file{"pause", program, 0o755})
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       map[string]any{"User": "65535:65535", "Entrypoint": []string{"/pause"}, "Env": []string{"PATH=/"}, "WorkingDir": "/"},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.manifest.v1+json",
		"config":        describe("application/vnd.oci.image.config.v1+json", config),
		"layers":        []descriptor{describe("application/vnd.oci.image.layer.v1.tar", layer)},
	})
	if err != nil {
		return nil, err
	}
	top := describe("application/vnd.oci.image.manifest.v1+json", manifest)
	top.Annotations = map[string]string{"io.containerd.image.name": name, "org.opencontainers.image.ref.name": version}
	index, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.index.v1+json",
		"manifests":     []descriptor{top},
	})
	if err != nil {
		return nil, err
	}
	blob := func(data []byte) file {
		return file{"blobs/sha256/" + strings.TrimPrefix(digest(data), "sha256:"), data, 0o644}
	}
	return tarOf(file{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644}, file{"index.json", index, 0o644},
		blob(manifest), blob(config), blob(layer))
}

type file struct {
	name string
	data []byte
	mode int64
}

func tarOf(files ...file) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), Format: tar.FormatUSTAR}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return buf.Bytes(), err
}

func describe(mediaType string, data []byte) descriptor {
	return descriptor{MediaType: mediaType, Digest: digest(data), Size: len(data)}
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
