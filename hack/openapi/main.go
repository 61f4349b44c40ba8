// SPDX-License-Identifier: Apache-2.0

//go:build openapi

// Command openapi writes what the API server tells of its types, from the definitions that openapi-gen made of the Go
// types. Run it by hack/update-codegen.sh.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/pkg/apiserver/openapi"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: openapi DIRECTORY")
		os.Exit(2)
	}
	// The server that is described need not tell of its start.
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	kinds, err := newKinds()
	if err != nil {
		return err
	}
	table, err := typeTable(kinds)
	if err != nil {
		return fmt.Errorf("make the table of types: %w", err)
	}
	if err := write(filepath.Join(dir, "zz_generated_types.bin"), []byte(table)); err != nil {
		return err
	}
	docs, err := documents(kinds)
	if err != nil {
		return fmt.Errorf("make the documents: %w", err)
	}
	archive, err := openapi.Pack(docs)
	if err != nil {
		return err
	}
	return write(filepath.Join(dir, "zz_generated_documents.bin"), archive)
}

func write(path string, data []byte) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == string(data) {
		return nil
	}
	return os.WriteFile(path, data, 0o644)
}
