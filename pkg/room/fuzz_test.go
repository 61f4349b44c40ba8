// SPDX-License-Identifier: Apache-2.0

package room

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzScan: no text is too much for it, and what it finds does not depend on how the text comes. Of JSON it finds the depth.
func FuzzScan(f *testing.F) {
	for _, text := range []string{`{"a":[1,{},null]}`, "a:\n- {}\n", string(protobufPrefix) + packed("", packed("text")), `[[[]]]`, "\"\\\""} {
		for syntax := range 4 {
			f.Add([]byte(text), syntax, 3)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, syntax, cut int) {
		if syntax < int(JSON) || syntax > int(Merge) {
			return
		}
		cut = min(max(cut, 0), len(text))
		whole, parts := scan{syntax: Syntax(syntax)}, scan{syntax: Syntax(syntax)}
		whole.add(text)
		parts.add(text[:cut])
		parts.add(text[cut:])
		whole.complete(text)
		parts.complete(text)
		if whole != parts {
			t.Errorf("%q cut at %d: %+v, whole %+v", text, cut, parts, whole)
		}
		if Syntax(syntax) == JSON && json.Valid(text) && whole.levels > strings.Count(string(text), "{")+strings.Count(string(text), "[") {
			t.Errorf("%q has %d levels", text, whole.levels)
		}
	})
}
