// SPDX-License-Identifier: Apache-2.0

package mutate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/hivemind-project/hivemind/test/parity/corpus"
)

// Message is a request's method, type and body.
type Message struct {
	Method      string
	ContentType string
	Body        []byte
}

// Message composes the case's request. object is what the corpus has, live what the server has stored of it; of creates, nothing.
// It is false where the edit has no place in what is stored.
func (c Case) Message(kind *corpus.Kind, object, live map[string]any) (Message, bool, error) {
	switch c.Op {
	case Create:
		return c.whole(http.MethodPost, "application/json", object)
	case Update, StatusUpdate:
		return c.whole(http.MethodPut, "application/json", live)
	case Apply, ApplyForced, StatusApply:
		if c.Op == StatusApply {
			object = map[string]any{"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": map[string]any{"name": object["metadata"].(map[string]any)["name"]}, "status": object["status"]}
		}
		return c.whole(http.MethodPatch, string(types.ApplyPatchType), object)
	}
	changed, ok := c.Edit.Apply(live)
	if !ok {
		return Message{}, false, nil
	}
	m := Message{Method: http.MethodPatch}
	var err error
	switch c.Op {
	case JSONPatch:
		m.ContentType = string(types.JSONPatchType)
		m.Body, err = jsonPatch(c.Edit, live)
	case StrategicPatch:
		m.ContentType = string(types.StrategicMergePatchType)
		m.Body, err = strategicPatch(kind.Type, live, changed)
	default:
		m.ContentType = string(types.MergePatchType)
		m.Body, err = json.Marshal(difference(live, changed))
	}
	return m, err == nil, err
}

// whole sends the changed object itself.
func (c Case) whole(method, contentType string, object map[string]any) (Message, bool, error) {
	changed, ok := c.Edit.Apply(object)
	if !ok {
		return Message{}, false, nil
	}
	if c.Edit.Rule == DuplicateField {
		body, err := withDuplicate(changed, c.Edit.Path)
		return Message{method, contentType, body}, err == nil, err
	}
	body, err := json.Marshal(changed)
	return Message{method, contentType, body}, err == nil, err
}

// withDuplicate writes the object with the first field of the struct at the path twice.
func withDuplicate(object map[string]any, path Path) ([]byte, error) {
	at, _ := Get(object, path[:len(path)-1])
	tree, _ := at.(map[string]any)
	var first string
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		if name != duplicateKey {
			first = name
			break
		}
	}
	tree[duplicateKey] = tree[first]
	body, err := json.Marshal(object)
	return bytes.Replace(body, []byte(`"`+duplicateKey+`":`), fmt.Appendf(nil, "%q:", first), 1), err
}

// jsonPatch is the edit by RFC 6902.
func jsonPatch(e Edit, live map[string]any) ([]byte, error) {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	if e.Rule == Unchanged {
		return []byte(`[{"op":"test","path":"/kind","value":"` + text(live["kind"]) + `"}]`), nil
	}
	path, value := e.Path, e.Value
	if e.absent {
		return json.Marshal([]map[string]string{{"op": "remove", "path": pointer(path)}})
	}
	op := "replace"
	if _, there := Get(live, path); !there {
		op = "add"
		// What leads there must be there, or be added with it.
		for parent := path[:len(path)-1]; len(parent) > 0; parent = path[:len(path)-1] {
			if _, there := Get(live, parent); there {
				break
			}
			value, path = map[string]any{key(path[len(path)-1]): value}, parent
		}
	}
	return json.Marshal([]operation{{op, pointer(path), value}})
}

// pointer is a path by RFC 6901.
func pointer(path Path) string {
	var b strings.Builder
	for _, step := range path {
		b.WriteByte('/')
		if i, ok := step.(int); ok {
			fmt.Fprint(&b, i)
			continue
		}
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(key(step)))
	}
	return b.String()
}

// strategicPatch is the difference as kubectl would send it; where the changed object does not fit the type, the plain difference.
func strategicPatch(t reflect.Type, live, changed map[string]any) ([]byte, error) {
	before, err := json.Marshal(live)
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(changed)
	if err != nil {
		return nil, err
	}
	if patch, err := strategicpatch.CreateTwoWayMergePatch(before, after, reflect.New(t).Interface()); err == nil {
		return patch, nil
	}
	return json.Marshal(difference(live, changed))
}

// difference is the merge patch (RFC 7386) that makes after of before.
func difference(before, after map[string]any) map[string]any {
	patch := map[string]any{}
	for name := range before {
		if _, ok := after[name]; !ok {
			patch[name] = nil
		}
	}
	for name, now := range after {
		was, ok := before[name]
		if ok && reflect.DeepEqual(was, now) {
			continue
		}
		a, isMap := was.(map[string]any)
		b, staysMap := now.(map[string]any)
		if isMap && staysMap {
			now = difference(a, b)
		}
		patch[name] = now
	}
	return patch
}
