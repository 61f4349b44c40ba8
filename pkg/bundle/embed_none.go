// SPDX-License-Identifier: Apache-2.0

//go:build !payload

package bundle

// Embedded returns ErrNoPayload: without the tag "payload", which `make build` sets, nothing is embedded, so that
// vet, tests and editors need no built payload.
func Embedded() (*Bundle, error) { return nil, ErrNoPayload }
