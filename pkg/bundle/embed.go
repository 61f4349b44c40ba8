// SPDX-License-Identifier: Apache-2.0

//go:build payload

package bundle

import (
	"embed"
	"io/fs"
)

//go:embed payload
var payload embed.FS

// Embedded opens the payload that this program carries.
func Embedded() (*Bundle, error) {
	files, err := fs.Sub(payload, "payload")
	if err != nil {
		return nil, err
	}
	return Open(files)
}
