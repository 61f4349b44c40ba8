// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Names of the documents in the archive. What follows V3Prefix is the path of a group and version, such as apis/apps/v1.
const (
	V2JSON     = "v2.json"
	V2Protobuf = "v2.pb"
	V3Prefix   = "v3/"
)

//go:embed zz_generated_documents.bin
var documents string

// document is a stored one: gzip'd, to be sent as it is.
type document struct {
	gzip string
	// hash is that of the content, as an ETag and in the hash parameter of URLs.
	hash string
}

// The form of the archive: for each document its name, the hash of its content and its gzip'd content, each with its
// length before it as an unsigned varint.

// Pack makes an archive. The same documents make the same archive.
func Pack(contents map[string][]byte) ([]byte, error) {
	var archive []byte
	for _, name := range slices.Sorted(maps.Keys(contents)) {
		var packed bytes.Buffer
		w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(contents[name]); err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
		if err := w.Close(); err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
		for _, part := range []string{name, hash(contents[name]), packed.String()} {
			archive = binary.AppendUvarint(archive, uint64(len(part)))
			archive = append(archive, part...)
		}
	}
	return archive, nil
}

// unpack reads the index of an archive; the documents are slices of it.
func unpack(archive string) (map[string]document, error) {
	docs := map[string]document{}
	next := func() (string, error) {
		// A length takes five bytes at most here.
		n, size := binary.Uvarint([]byte(archive[:min(len(archive), 10)]))
		if size <= 0 || n > uint64(len(archive)-size) {
			return "", errors.New("archive of OpenAPI documents is cut short")
		}
		part := archive[size : size+int(n)]
		archive = archive[size+int(n):]
		return part, nil
	}
	for archive != "" {
		var parts [3]string
		for i := range parts {
			var err error
			if parts[i], err = next(); err != nil {
				return nil, err
			}
		}
		docs[parts[0]] = document{hash: parts[1], gzip: parts[2]}
	}
	return docs, nil
}

// content is the document as it was before it was packed.
func (d document) content() ([]byte, error) {
	var data bytes.Buffer
	data.Grow(d.size() + bytes.MinRead)
	if _, err := d.WriteTo(&data); err != nil {
		return nil, err
	}
	return data.Bytes(), nil
}

// size is how long the content is, which the last four bytes of gzip tell.
func (d document) size() int {
	return int(binary.LittleEndian.Uint32([]byte(d.gzip[len(d.gzip)-4:])))
}

// WriteTo writes the content, of which it holds but a window.
func (d document) WriteTo(w io.Writer) (int64, error) {
	r, err := gzip.NewReader(strings.NewReader(d.gzip))
	if err != nil {
		return 0, fmt.Errorf("unpack OpenAPI document: %w", err)
	}
	n, err := io.Copy(w, r)
	if err != nil {
		return n, fmt.Errorf("unpack OpenAPI document: %w", err)
	}
	return n, nil
}

func hash(content []byte) string { return fmt.Sprintf("%X", sha512.Sum512(content)) }
