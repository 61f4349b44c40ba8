// SPDX-License-Identifier: Apache-2.0

package aggregation

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A server that tells of itself without end is one that does not answer: not a byte of what it has said is believed.
func TestDocumentsWithoutEnd(t *testing.T) {
	space, words, things := strings.Repeat(" ", 1<<20), `"`+strings.Repeat("{},", 1<<18)+`"`, strings.Repeat("{},", 1<<18)
	for _, tt := range []struct {
		name   string
		piece  string
		pieces int
		want   int
	}{
		{"as long as it may be", space, mostOfADocument / len(space), http.StatusOK},
		{"without end", space, mostOfADocument/len(space) + 1, http.StatusServiceUnavailable},
		{"words", words, 2, http.StatusOK},
		{"of too many things", things, 2, http.StatusServiceUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					for range tt.pieces {
						if _, err := io.WriteString(w, tt.piece); err != nil {
							return
						}
					}
				})
				w := httptest.NewRecorder()
				r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/apis", nil)
				http.TimeoutHandler(documents{server}, 5*time.Second, "request timed out").ServeHTTP(w, r)
				synctest.Wait()
				if w.Code != tt.want {
					t.Errorf("answered %d with %d bytes, want %d", w.Code, w.Body.Len(), tt.want)
				}
			})
		})
	}
}
