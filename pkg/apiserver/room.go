// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
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
			r.Body = account.Body(r.Body, syntaxOf(r.Header.Get("Content-Type")), r.ContentLength)
		}
		handler.ServeHTTP(w, r)
	})
}

// syntaxOf is how a body is read that says to be of a media type.
func syntaxOf(mediaType string) room.Syntax {
	name, _, _ := strings.Cut(mediaType, ";")
	switch name = strings.TrimSpace(name); {
	case strings.EqualFold(name, runtime.ContentTypeProtobuf):
		return room.Packed
	case strings.Contains(strings.ToLower(name), "yaml"):
		return room.YAML
	case strings.EqualFold(name, string(types.StrategicMergePatchType)):
		return room.Merge
	}
	return room.JSON
}
