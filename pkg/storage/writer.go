// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"fmt"
	"strings"
)

// writerKey holds which version of the program writes, and since which revision. It is no object of the API.
const writerKey = "/hivemind/writer"

// WrittenSince returns the first revision from which on all objects were written by this version of the program, and notes it where the
// version is another than before. Without a version, or with one that is not that of a commit, it is the next revision.
func (e *Etcd) WrittenSince(ctx context.Context, version string) (int64, error) {
	known := version != "" && version != "unknown" && !strings.HasSuffix(version, "-dirty")
	answer, err := e.Client.KV.Get(ctx, writerKey)
	if err != nil {
		return 0, fmt.Errorf("read which version wrote the storage: %w", err)
	}
	if known && len(answer.Kvs) == 1 && string(answer.Kvs[0].Value) == version {
		return answer.Kvs[0].ModRevision, nil
	}
	if !known && len(answer.Kvs) == 0 {
		return answer.Header.Revision + 1, nil
	}
	put, err := e.Client.KV.Put(ctx, writerKey, version)
	if err != nil {
		return 0, fmt.Errorf("note which version writes the storage: %w", err)
	}
	return put.Header.Revision, nil
}
