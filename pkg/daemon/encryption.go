// SPDX-License-Identifier: Apache-2.0

package daemon

import "time"

// Paths of the API server where `hivemind secrets-encrypt` learns of encryption at rest (GET, an Encryption) and has the key
// rotated (POST; the answer is an Encryption too). Whoever may use them needs no right to read a Secret: a role with the
// path among its nonResourceURLs, and the verb get or post, is enough.
const (
	EncryptionPath = "/hivemind/v1/encryption"
	RotationPath   = EncryptionPath + "/rotation"
)

// Stages of Encryption.
const (
	EncryptionSettled   = "Settled"   // nothing is to be done
	EncryptionPending   = "Pending"   // objects wait to be rewritten, by the next start or rotation; Error says why
	EncryptionRewriting = "Rewriting" // objects are being rewritten
	EncryptionCleaning  = "Cleaning"  // earlier versions of objects are being removed from the storage's file
)

// Encryption says how objects are encrypted at rest.
type Encryption struct {
	Stage string `json:"stage"`
	// Keys that objects need, the one that is written with first. What is secret of them is nowhere but in KeyFile.
	Keys    []EncryptionKey `json:"keys"`
	KeyFile string          `json:"keyFile"`
	// Resources that are encrypted, or still have encrypted objects.
	Resources []EncryptedResource `json:"resources"`
	// Rewritten of Total objects have been looked at, and rewritten where need be, since the work was begun.
	Rewritten int64 `json:"rewritten,omitempty"`
	Total     int64 `json:"total,omitempty"`
	// Error is why the last rotation, or rewriting at start, did not end.
	Error string `json:"error,omitempty"`
}

// EncryptionKey is what may be told of a key.
type EncryptionKey struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}

// EncryptedResource counts objects as they are stored.
type EncryptedResource struct {
	Resource string `json:"resource"` // as in the configuration: widgets.example.com
	Encrypt  bool   `json:"encrypt"`  // whether new objects are encrypted
	Plain    int64  `json:"plain"`
	// Encrypted objects by the name of their key.
	Encrypted map[string]int64 `json:"encrypted,omitempty"`
}
