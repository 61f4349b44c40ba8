// SPDX-License-Identifier: Apache-2.0

// Package mutation changes JSON values as the bytes of a fuzzer say: what is valid becomes almost valid, which gets further than random
// bytes do. The same bytes make the same change. The cost is that of a few steps down the value.
package mutation

import (
	"cmp"
	"encoding/json"
	"maps"
	"math"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
)

// maxChanges bounds what becomes of one value, so that the bytes of a long input do not make it explode.
const maxChanges = 32

// Vocabulary is what changes put in place of what is there.
type Vocabulary struct {
	members []member
	texts   []string
}

type member struct {
	name  string
	value any
}

// texts that parsers and validations trip over, where a word of the corpus would not.
var texts = []string{
	"", " ", "/", "-", ".", ":", "*", "=", ",", "%", "\x00", "\u2028", "ä", "\xff", "..", "//", "a/b/c", "0", "-1", "1.5", "1e9", "1e999999", "1Ei", "0x10", "-0", "50%", "101%", "-1%",
	"10.0.0.1", "10.0.0.0/8", "::1", "fd00::/64", "::ffff:1.2.3.4", "1.2.3.4/99", "0.0.0.0", "*.example.com", "UPPER", "None", "true", "null", "{}", "[]", "tcp://x", "https://[::1]:99999/",
	"@every 1s", "* * * * *", "TZ=UTC 0 0 31 2 *", "2006-01-02T15:04:05Z", "9999-12-31T23:59:59Z", "-1s", "9223372036854775807", "-9223372036854775808",
	"a]b", "[", "(", "{{", "${", "$(X)", "$$", "\\", "self.x", "object.spec", "requests.cpu", "metadata.name", "status.hostIP", "kubernetes.io/x", "example.com/",
}

var numbers = []json.Number{"0", "-1", "1", "2", "65535", "65536", "-2147483648", "2147483647", "4294967296", "9223372036854775807", "-9223372036854775808", "1.5", "1e3"}

// Learn makes a vocabulary of the members and texts that occur in values.
func Learn(values ...any) *Vocabulary {
	v := &Vocabulary{texts: slices.Clone(texts)}
	names, words := map[string][]any{}, map[string]bool{}
	for _, value := range values {
		learn(value, names, words)
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		for _, value := range names[name] {
			v.members = append(v.members, member{name, value})
		}
	}
	v.texts = append(v.texts, slices.Sorted(maps.Keys(words))...)
	return v
}

// learn keeps up to three values of each member.
func learn(value any, names map[string][]any, words map[string]bool) {
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			if len(names[name]) < 3 {
				names[name] = append(names[name], value[name])
			}
			learn(value[name], names, words)
		}
	case []any:
		for _, one := range value {
			learn(one, names, words)
		}
	case string:
		if len(value) < 64 {
			words[value] = true
		}
	}
}

// reader gives the bytes of the fuzzer one by one.
type reader struct{ data []byte }

// pick is a number below n, which must be positive.
func (r *reader) pick(n int) int {
	if len(r.data) == 0 {
		return 0
	}
	b := int(r.data[0])
	r.data = r.data[1:]
	if n > 256 && len(r.data) > 0 {
		b |= int(r.data[0]) << 8
		r.data = r.data[1:]
	}
	return b % n
}

// Mutate changes tree, in place where it can, and returns it.
func (v *Vocabulary) Mutate(tree any, steps []byte) any {
	r := &reader{steps}
	for i := 0; i < maxChanges && len(r.data) > 0; i++ {
		tree = v.descend(r, tree)
	}
	return tree
}

// descend goes down to one value and changes it.
func (v *Vocabulary) descend(r *reader, value any) any {
	switch value := value.(type) {
	case map[string]any:
		names := slices.Sorted(maps.Keys(value))
		at := r.pick(len(names) + 1)
		if at == len(names) {
			return v.object(r, value)
		}
		name := names[at]
		if r.pick(8) == 0 {
			delete(value, name)
			return value
		}
		value[name] = v.descend(r, value[name])
		return value
	case []any:
		at := r.pick(len(value) + 1)
		if at == len(value) {
			return v.list(r, value)
		}
		value[at] = v.descend(r, value[at])
		return value
	}
	return v.scalar(r, value)
}

func (v *Vocabulary) object(r *reader, value map[string]any) any {
	switch r.pick(8) {
	case 0:
		return map[string]any{}
	case 1:
		return nil
	case 2:
		value[v.texts[r.pick(len(v.texts))]] = v.texts[r.pick(len(v.texts))]
	default:
		if len(v.members) > 0 {
			m := v.members[r.pick(len(v.members))]
			value[m.name] = runtime.DeepCopyJSONValue(plain(m.value))
		}
	}
	return value
}

func (v *Vocabulary) list(r *reader, value []any) any {
	switch r.pick(6) {
	case 0:
		return []any{}
	case 1:
		return nil
	case 2:
		return append(value, map[string]any{})
	case 3:
		return append(value, nil)
	case 4:
		slices.Reverse(value)
		return value
	}
	if len(value) == 0 {
		return []any{map[string]any{}}
	}
	return append(value, runtime.DeepCopyJSONValue(plain(value[r.pick(len(value))])))
}

// scalar mostly keeps the type, since decoding refuses another one.
func (v *Vocabulary) scalar(r *reader, value any) any {
	if r.pick(16) == 0 {
		return []any{nil, map[string]any{}, []any{}, "text", true, json.Number("1")}[r.pick(6)]
	}
	switch value := value.(type) {
	case string:
		if r.pick(8) == 0 {
			n := min(r.pick(64), len(r.data))
			text := string(r.data[:n])
			r.data = r.data[n:]
			return text
		}
		return v.texts[r.pick(len(v.texts))]
	case bool:
		return !value
	case nil:
		return map[string]any{}
	}
	return numbers[r.pick(len(numbers))]
}

// plain is value with the number types that DeepCopyJSONValue knows.
func plain(value any) any {
	switch value := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(value))
		for name := range value {
			out[name] = plain(value[name])
		}
		return out
	case []any:
		out := make([]any, len(value))
		for i := range value {
			out[i] = plain(value[i])
		}
		return out
	case int:
		return int64(value)
	case json.Number:
		whole, err := value.Int64()
		if err == nil {
			return whole
		}
		fraction, err := value.Float64()
		return cmp.Or(fraction, map[bool]float64{true: math.MaxFloat64}[err != nil])
	}
	return value
}
