// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"

	"github.com/hivemind-project/hivemind/pkg/storage"
)

// withLives is a filter: a request that writes does not delete another object than the one it has decided on.
func withLives(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			r = r.WithContext(storage.WithLives(r.Context()))
		}
		handler.ServeHTTP(w, r)
	})
}
