// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/hivemind-project/hivemind/pkg/storage/raw"
)

// wantRaw marks reads of whole objects in protobuf: stored bytes answer those, undecoded.
func wantRaw(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if accept := r.Header.Get("Accept"); strings.HasPrefix(accept, runtime.ContentTypeProtobuf) && !strings.Contains(accept, "as=") {
			info, ok := apirequest.RequestInfoFrom(r.Context())
			if ok && info.IsResourceRequest && info.Subresource == "" && (info.Verb == "get" || info.Verb == "list" || info.Verb == "watch") {
				r = r.WithContext(raw.Want(r.Context()))
			}
		}
		handler.ServeHTTP(w, r)
	})
}

// plainOnLoopback spares clients on this machine, and itself, the compression of answers: it would take longer than the bytes do.
func plainOnLoopback(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" && sameMachine(r) {
			r.Header.Del("Accept-Encoding")
		}
		handler.ServeHTTP(w, r)
	})
}

// sameMachine tells whether both ends of the request's connection have the same address.
func sameMachine(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	here, _, err := net.SplitHostPort(local.String())
	there, _, err2 := net.SplitHostPort(r.RemoteAddr)
	return err == nil && err2 == nil && here == there
}
