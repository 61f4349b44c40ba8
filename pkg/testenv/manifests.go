// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// document is one object of a manifest.
type document struct {
	from string // the file
	kind metav1.TypeMeta
	text []byte
}

// decode reads the document into an object; a field that the object does not have is an error.
func (d document) decode(into any) error {
	if err := yaml.UnmarshalStrict(d.text, into); err != nil {
		return fmt.Errorf("%s: read %s: %w", d.from, d.kind.Kind, err)
	}
	return nil
}

// readManifests returns the objects in a file, or in the files of a folder whose names end in .yaml, .yml or .json, but not in
// folders below it.
func readManifests(path string) ([]document, error) {
	files, err := manifestFiles(path)
	if err != nil {
		return nil, err
	}
	var all []document
	for _, file := range files {
		documents, err := readManifest(file)
		if err != nil {
			return nil, err
		}
		all = append(all, documents...)
	}
	return all, nil
}

func manifestFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, entry := range entries {
		if slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(entry.Name())) && !entry.IsDir() {
			files = append(files, filepath.Join(path, entry.Name()))
		}
	}
	return files, nil
}

func readManifest(file string) ([]document, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var documents []document
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		part, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		d := document{from: file, text: part}
		if err := yaml.Unmarshal(part, &d.kind); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if d.kind.Kind != "" {
			documents = append(documents, d)
		}
	}
}
