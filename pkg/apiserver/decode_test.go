// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

// An object is read by what it says it is, or the request does; what neither says is empty.
func TestPatchedDecoder(t *testing.T) {
	scheme := runtime.NewScheme()
	v1 := schema.GroupVersion{Version: "v1"}
	scheme.AddKnownTypes(v1, &corev1.ConfigMap{})
	metav1.AddToGroupVersion(scheme, v1)
	codecs := patchedSerializer{serializer.NewCodecFactory(scheme)}
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeJSON)
	kind := v1.WithKind("ConfigMap")
	for _, tt := range []struct {
		data     string
		defaults *schema.GroupVersionKind
		strict   bool
		name     string
		err      string
	}{
		{data: `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`, name: "a"},
		{data: `{"apiVersion":"v1","metadata":{"name":"a"}}`, name: "a"},
		{data: `{"metadata":{"name":"a"}}`, defaults: &kind, name: "a"},
		{data: `{"kind":"ConfigMap","metadata":{"name":"a"},"data":{}}`},
		{data: `{"kind":"ConfigMap","metadata":{"name":"a"},"data":{}}`, strict: true, err: `strict decoding error: unknown field "metadata", unknown field "data"`},
		{data: `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"x":1}`, strict: true, name: "a", err: `strict decoding error: unknown field "x"`},
	} {
		reads := info.Serializer
		if tt.strict {
			reads = info.StrictSerializer
		}
		into := &corev1.ConfigMap{}
		_, _, err := codecs.DecoderToVersion(reads, v1).Decode([]byte(tt.data), tt.defaults, into)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if into.Name != tt.name || got != tt.err {
			t.Errorf("%s: name %q, error %q; want %q, %q", tt.data, into.Name, got, tt.name, tt.err)
		}
	}
}
