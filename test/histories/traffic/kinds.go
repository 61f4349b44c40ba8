// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/hivemind-project/hivemind/test/histories/judge"
)

const (
	namespace = "histories"
	noteKey   = "histories.example.com/note"
	manager   = "histories"
)

// kind is a kind of object that clients write. A change of its spec sets one text in it.
type kind struct {
	resource         string
	apiVersion, kind string
	prefix           string // of paths
	hasGeneration    bool
	graceful         bool // deletions mark the object before they remove it
	// body is what an object has beside its metadata, with its spec set to value.
	body func(value string) map[string]any
	// set changes the spec of an object that was read.
	set func(object map[string]any, value string) error
}

// podImage begins the image of pods, whose tag is what a change sets.
const podImage = "histories.example.com/image:"

var kinds = []kind{
	{
		resource: "configmaps", apiVersion: "v1", kind: "ConfigMap", prefix: "/api/v1",
		body: func(value string) map[string]any { return map[string]any{"data": map[string]any{"value": value}} },
		set: func(object map[string]any, value string) error {
			object["data"] = map[string]any{"value": value}
			return nil
		},
	},
	{
		// Of a scheduler that does not exist, so that nobody else writes to them.
		resource: "pods", apiVersion: "v1", kind: "Pod", prefix: "/api/v1", hasGeneration: true, graceful: true,
		body: func(value string) map[string]any {
			return map[string]any{"spec": map[string]any{
				"schedulerName": "histories", "containers": []any{map[string]any{"name": "main", "image": podImage + value}},
			}}
		},
		set: func(object map[string]any, value string) error {
			spec, _ := object["spec"].(map[string]any)
			containers, _ := spec["containers"].([]any)
			if len(containers) == 1 {
				if main, ok := containers[0].(map[string]any); ok {
					main["image"] = podImage + value
					return nil
				}
			}
			return fmt.Errorf("a pod has containers %v, want one", containers)
		},
	},
	{
		resource: "widgets", apiVersion: "histories.example.com/v1", kind: "Widget", prefix: "/apis/histories.example.com/v1", hasGeneration: true,
		body: func(value string) map[string]any { return map[string]any{"spec": map[string]any{"value": value}} },
		set: func(object map[string]any, value string) error {
			object["spec"] = map[string]any{"value": value}
			return nil
		},
	},
}

// definition is the CustomResourceDefinition of widgets.
var definition = map[string]any{
	"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "widgets.histories.example.com"},
	"spec": map[string]any{
		"group": "histories.example.com", "scope": "Namespaced",
		"names": map[string]any{"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
		"versions": []any{map[string]any{
			"name": "v1", "served": true, "storage": true,
			"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "properties": map[string]any{
				"spec": map[string]any{"type": "object", "properties": map[string]any{"value": map[string]any{"type": "string"}}},
			}}},
		}},
	},
}

// path of an object, or of all where name is "".
func (k *kind) path(name string) string {
	path := k.prefix + "/namespaces/" + namespace + "/" + k.resource
	if name != "" {
		path += "/" + name
	}
	return path
}

// manifest is an object as a client sends it.
func (k *kind) manifest(name, value string) map[string]any {
	object := k.body(value)
	object["apiVersion"], object["kind"] = k.apiVersion, k.kind
	object["metadata"] = map[string]any{"name": name, "namespace": namespace}
	return object
}

// wire is what is read of an object of any kind.
type wire struct {
	Metadata struct {
		Name            string            `json:"name"`
		UID             string            `json:"uid"`
		ResourceVersion string            `json:"resourceVersion"`
		Generation      int64             `json:"generation"`
		Deleted         string            `json:"deletionTimestamp"`
		Annotations     map[string]string `json:"annotations"`
	} `json:"metadata"`
	Data struct {
		Value string `json:"value"`
	} `json:"data"`
	Spec struct {
		Value      string `json:"value"`
		Containers []struct {
			Image string `json:"image"`
		} `json:"containers"`
	} `json:"spec"`
}

// object is what the judge looks at.
func (w *wire) object(k *kind) (judge.Object, error) {
	version, err := strconv.ParseInt(w.Metadata.ResourceVersion, 10, 64)
	if err != nil {
		return judge.Object{}, fmt.Errorf("%s %q has resourceVersion %q, want a number", k.resource, w.Metadata.Name, w.Metadata.ResourceVersion)
	}
	o := judge.Object{
		Key: judge.Key{Resource: k.resource, Name: w.Metadata.Name}, UID: w.Metadata.UID, Version: version, Generation: w.Metadata.Generation,
		Note: w.Metadata.Annotations[noteKey], Spec: w.Data.Value + w.Spec.Value, Deleting: w.Metadata.Deleted != "",
	}
	for _, c := range w.Spec.Containers {
		if len(c.Image) > len(podImage) {
			o.Spec += c.Image[len(podImage):]
		}
	}
	return o, nil
}

// both is an object as it is read, and as it can be written back.
type both struct {
	wire   wire
	object map[string]any
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *both) UnmarshalJSON(data []byte) error {
	return errors.Join(json.Unmarshal(data, &b.wire), json.Unmarshal(data, &b.object))
}

// wireList is what is read of a list.
type wireList struct {
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
		Continue        string `json:"continue"`
	} `json:"metadata"`
	Items []wire `json:"items"`
}

// wireEvent is an event of a watch.
type wireEvent struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}
