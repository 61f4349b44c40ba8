// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	kjson "sigs.k8s.io/json"
)

// patchedSerializer answers for patched objects as kube-apiserver does. A patch is applied to the object's JSON, and what comes of it is read
// back without a word of what it is. Where the patch took apiVersion away, kube-apiserver reads it as the internal version, which knows no
// field of JSON but those of the type: the object is empty, and refused for having no name. Here the internal version is the versioned type,
// and would be read as if nothing were missing.
type patchedSerializer struct{ runtime.NegotiatedSerializer }

// DecoderToVersion implements runtime.NegotiatedSerializer.
func (s patchedSerializer) DecoderToVersion(serializer runtime.Decoder, gv runtime.GroupVersioner) runtime.Decoder {
	reads, ok := serializer.(interface{ IsStrict() bool })
	return patchedDecoder{s.NegotiatedSerializer.DecoderToVersion(serializer, gv), ok && reads.IsStrict()}
}

// patchedDecoder reads one object; strict tells of fields that the type does not have.
type patchedDecoder struct {
	runtime.Decoder
	strict bool
}

// Decode implements runtime.Decoder. Requests that create or replace objects say what is expected, and are not concerned.
func (d patchedDecoder) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	if defaults != nil || into == nil {
		return d.Decoder.Decode(data, defaults, into)
	}
	if said, err := jsonserializer.DefaultMetaFactory.Interpret(data); err != nil || !said.GroupVersion().Empty() {
		return d.Decoder.Decode(data, defaults, into)
	}
	var internal struct {
		metav1.TypeMeta
		metav1.ObjectMeta
	}
	unknown, err := kjson.UnmarshalStrict(data, &internal)
	if err == nil && d.strict && len(unknown) > 0 {
		err = runtime.NewStrictDecodingError(unknown)
	}
	return into, &schema.GroupVersionKind{}, err
}

var (
	_ runtime.NegotiatedSerializer = patchedSerializer{}
	_ runtime.Decoder              = patchedDecoder{}
)
