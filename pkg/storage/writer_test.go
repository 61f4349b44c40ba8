// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"path/filepath"
	"testing"
)

// TestWrittenSince: the revision stays while the same version writes, and moves on with each other one, also back to an older.
func TestWrittenSince(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	last := int64(0)
	for i, c := range []struct {
		version string
		moves   bool
	}{
		{"v1", true}, {"v1", false}, {"v2", true}, {"v2", false}, {"v1", true},
		{"v2-dirty", true}, {"v2-dirty", true}, {"unknown", true}, {"", true}, {"v2", true}, {"v2", false},
	} {
		e := start(t, dir)
		since, err := e.WrittenSince(t.Context(), c.version)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := e.Client.KV.Put(t.Context(), "/object", c.version)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Header.Revision < since {
			t.Errorf("%d: what %q writes at %d is not since %d", i, c.version, answer.Header.Revision, since)
		}
		if moved := since > last; moved != c.moves {
			t.Errorf("%d: %q writes since %d, and what was written last before has %d", i, c.version, since, last)
		}
		last = answer.Header.Revision
		e.Stop()
	}
}
