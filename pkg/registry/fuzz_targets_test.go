// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"encoding/json"
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/hivemind-project/hivemind/test/hostile/mutation"
)

// mediaTypes are what clients may send.
var mediaTypes = []string{runtime.ContentTypeJSON, runtime.ContentTypeYAML, runtime.ContentTypeProtobuf, runtime.ContentTypeCBOR}

// FuzzDecode sends bytes as an object of some kind, in every encoding.
func FuzzDecode(f *testing.F) {
	all := allRows(f)
	for i, row := range all {
		for j, mediaType := range mediaTypes {
			data, err := row.encode(mediaType, row.stored)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(uint16(i), uint8(j), data)
		}
	}
	f.Fuzz(func(t *testing.T, kind uint16, encoding uint8, data []byte) {
		row := all[int(kind)%len(all)]
		defer watchdog(row.GroupVersionKind())()
		obj, err := row.decode(mediaTypes[int(encoding)%len(mediaTypes)], data)
		if err != nil || obj.GetObjectKind() == nil || !sameType(obj, row.stored) {
			return // refused, or an object of another kind, which is refused later
		}
		row.walk(t, obj)
	})
}

// FuzzObjects changes valid objects a little, so that they get past decoding: fields go, are emptied, get values from elsewhere, lists grow.
func FuzzObjects(f *testing.F) {
	all := allRows(f)
	var words []any
	for _, row := range all {
		for _, object := range row.objects {
			words = append(words, object)
		}
	}
	vocabulary := mutation.Learn(words...)
	for i, row := range all {
		for j := range row.objects {
			f.Add(uint16(i), uint8(j), []byte{})
		}
	}
	for seed := range 64 {
		steps := make([]byte, 96)
		for i := range steps {
			steps[i] = byte((seed*131 + i*i*(seed+7)) % 251)
		}
		f.Add(uint16(seed*len(all)/64), uint8(seed), steps)
	}
	f.Fuzz(func(t *testing.T, kind uint16, object uint8, steps []byte) {
		row := all[int(kind)%len(all)]
		tree := runtime.DeepCopyJSON(row.objects[int(object)%len(row.objects)])
		data, err := json.Marshal(vocabulary.Mutate(tree, steps))
		if err != nil {
			t.Fatal(err)
		}
		obj, err := row.decode(runtime.ContentTypeJSON, data)
		if err != nil || !sameType(obj, row.stored) {
			return
		}
		row.walk(t, obj)
	})
}

// sameType says that two objects are of one Go type.
func sameType(a, b runtime.Object) bool { return reflect.TypeOf(a) == reflect.TypeOf(b) }
