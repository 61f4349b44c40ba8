// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"
	"strings"

	apirequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/hivemind-project/hivemind/pkg/room"
)

// withRoom is a filter: requests for objects have an account of all, so that large ones wait for each other. This process's own requests have none: they are
// few, and may be part of one that has.
func withRoom(handler http.Handler, all *room.Room, isLong apirequest.LongRunningRequestCheck) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := apirequest.RequestInfoFrom(r.Context())
		if !ok || !info.IsResourceRequest || r.Context().Value(loopbackUser{}) != nil || isLong(r, info) {
			handler.ServeHTTP(w, r)
			return
		}
		kind := room.Writes
		if info.Verb == "get" || info.Verb == "list" {
			kind = room.Reads
		}
		ctx, account := all.Open(r.Context(), kind, info.Verb == "list")
		defer account.Close()
		r = r.WithContext(ctx)
		if kind == room.Writes && r.Body != nil && r.Body != http.NoBody {
			r.Body = account.Text(r.Body, syntaxOf(r.Header.Get("Content-Type")), r.ContentLength)
		}
		handler.ServeHTTP(w, r)
	})
}

// syntaxOf is how a body is read that says to be of a media type.
func syntaxOf(mediaType string) room.Syntax {
	switch {
	case strings.Contains(mediaType, "protobuf"):
		return room.Packed
	case strings.Contains(mediaType, "yaml"):
		return room.YAML
	}
	return room.JSON
}
