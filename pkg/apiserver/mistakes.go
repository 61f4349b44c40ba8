// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
)

// stumbling are packages of the machinery that panic over what clients send, and what they were doing: patches are applied whose values have a type
// that was not expected, such as a list where the key of a list's element is a text; selectable fields of a
// custom resource are looked for in a schema that has no structure.
var stumbling = []struct{ prefix, doing string }{
	{"k8s.io/apimachinery/pkg/util/strategicpatch.", "apply the patch"},
	{"gopkg.in/evanphx/json-patch", "apply the patch"},
	{"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel.ValidFieldPath(", "validate the selectable fields"},
}

// refuseMistakes answers a write that such a package panics over as the mistake of the client that it is; the machinery would call it the
// server's, and log the stacks of goroutines for each.
func refuseMistakes(handler http.Handler, codecs runtime.NegotiatedSerializer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			defer func() {
				reason := recover()
				if reason == nil {
					return
				}
				why, ok := mistake(reason)
				if !ok {
					panic(reason)
				}
				responsewriters.ErrorNegotiated(errors.NewBadRequest(why), codecs, schema.GroupVersion{Version: "v1"}, w, r)
			}()
		}
		handler.ServeHTTP(w, r)
	})
}

// mistake says what could not be done, where one of the packages panicked. The machinery passes panics on as text: the value, and then the
// stack, from where it was recovered upwards; what panicked is the first that is not the runtime's.
func mistake(reason any) (why string, ok bool) {
	text, ok := reason.(string)
	if !ok {
		return "", false
	}
	value, stack, _ := strings.Cut(text, "\n")
	if _, stack, ok = strings.Cut(stack, "\npanic("); !ok {
		return "", false
	}
	for line := range strings.Lines(stack) {
		for _, s := range stumbling {
			if strings.HasPrefix(line, s.prefix) {
				return fmt.Sprintf("unable to %s: %s", s.doing, value), true
			}
		}
		// Between them stand the lines of files, which are indented, and the rest of the call of panic.
		if !strings.HasPrefix(line, "\t") && !strings.HasPrefix(line, "runtime.") && !strings.HasPrefix(line, "{") {
			return "", false
		}
	}
	return "", false
}
