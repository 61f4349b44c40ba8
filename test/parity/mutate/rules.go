// SPDX-License-Identifier: Apache-2.0

package mutate

import (
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/hivemind-project/hivemind/test/parity/corpus"
)

// Rule says how a value is changed.
type Rule string

// The rules. What each makes of a value depends on its type; a rule that has nothing to say about a type makes nothing.
const (
	Unchanged      Rule = "unchanged"
	Removed        Rule = "removed"         // the field is not there
	Null           Rule = "null"            // the field is there and null
	Added          Rule = "added"           // a field that was not there gets a valid value
	Emptied        Rule = "emptied"         // "", 0, false, [] or {}
	WrongType      Rule = "wrong type"      // a number for a string, and so on
	Negative       Rule = "negative"        // -1
	TooLarge       Rule = "too large"       // the largest number of the type
	Overflow       Rule = "overflow"        // one more than that
	TooLong        Rule = "too long"        // 300 characters
	NotDNS         Rule = "not a DNS name"  //
	UnknownValue   Rule = "unknown value"   // of an enumeration, a quantity, a time
	OtherValue     Rule = "other value"     // a different valid one: what may not change is refused on update
	Duplicated     Rule = "duplicated"      // the first element of a list once more
	BadKey         Rule = "bad key"         // in a map
	UnknownField   Rule = "unknown field"   // under each fieldValidation
	DuplicateField Rule = "duplicate field" // the same
	Metadata       Rule = "metadata"        // what the server owns, and what it checks in all kinds
)

// Rules lists all.
var Rules = []Rule{Unchanged, Removed, Null, Added, Emptied, WrongType, Negative, TooLarge, Overflow, TooLong, NotDNS, UnknownValue, OtherValue,
	Duplicated, BadKey, UnknownField, DuplicateField, Metadata}

// Edit is one change of an object.
type Edit struct {
	Rule  Rule
	Path  Path
	Value any // to set; absent removes
	// Variant tells edits of the same rule and path from each other.
	Variant string
	absent  bool
}

// Absent says that the edit removes.
func (e Edit) Absent() bool { return e.absent }

// Apply changes a copy of the object; false where it has no such place.
func (e Edit) Apply(object map[string]any) (map[string]any, bool) {
	if e.Rule == Unchanged {
		return object, true
	}
	tree, ok := any(clone(object)), false
	if e.absent {
		tree, ok = remove(tree, e.Path)
	} else {
		tree, ok = set(tree, e.Path, clone(e.Value))
	}
	out, isObject := tree.(map[string]any)
	return out, ok && isObject
}

const (
	notDNS       = "Not_A.DNS name!"
	noSuchValue  = "NoSuchValue"
	noSuchField  = "noSuchField"
	badKey       = "Not a key!"
	duplicateKey = "@duplicate" // becomes the name of the field beside it when the body is written
)

// fill makes values for fields that an object has not.
type fill func(reflect.Type, corpus.Field) any

// edits are all changes of the value at n.
func (n node) edits(enum []string, make fill) []Edit {
	set := func(rule Rule, value any) Edit { return Edit{Rule: rule, Path: n.path, Value: value} }
	if !n.present {
		if value := make(n.kind, n.field); value != nil {
			return []Edit{set(Added, value)}
		}
		return nil
	}
	var out []Edit
	if len(n.path) > 0 {
		out = append(out, Edit{Rule: Removed, Path: n.path, absent: true})
		if !n.isElement() {
			out = append(out, set(Null, nil))
		}
	}
	switch n.shape() {
	case corpus.String:
		out = append(out, n.ofString(set, enum)...)
	case corpus.Integer:
		out = append(out, n.ofInteger(set)...)
	case corpus.Number:
		out = append(out, set(Emptied, int64(0)), set(WrongType, "text"), set(Negative, -1.5))
	case corpus.Boolean:
		was, _ := n.value.(bool)
		out = append(out, set(OtherValue, !was), set(WrongType, "yes"))
	case corpus.Quantity:
		out = append(out, set(Emptied, "0"), set(WrongType, true), set(Negative, "-1"), set(UnknownValue, "a lot"), set(OtherValue, "3"))
	case corpus.Time:
		out = append(out, set(Emptied, ""), set(WrongType, int64(7)), set(UnknownValue, "yesterday"), set(OtherValue, strings.Replace(text(n.value), "2024", "2025", 1)))
	case corpus.Bytes:
		out = append(out, set(Emptied, ""), set(WrongType, int64(7)), set(UnknownValue, "***"), set(OtherValue, "b3RoZXI="))
	case corpus.IntOrStr:
		out = append(out, set(Emptied, ""), set(Emptied, int64(0)).as("zero"), set(WrongType, true), set(Negative, int64(-1)), set(TooLarge, int64(math.MaxInt32)),
			set(UnknownValue, "no%such!"), set(OtherValue, int64(3)), set(OtherValue, "17%").as("percent"))
	case corpus.List:
		out = append(out, n.ofList(set)...)
	case corpus.Map:
		out = append(out, set(Emptied, map[string]any{}), set(WrongType, "text"))
		for key, v := range map[string]any{badKey: firstOf(n.value), strings.Repeat("k", 300): firstOf(n.value)} {
			variant := "long"
			if key == badKey {
				variant = ""
			}
			out = append(out, Edit{Rule: BadKey, Path: n.path.then(mapKey(key)), Value: v, Variant: variant})
		}
		slices.SortFunc(out[len(out)-2:], func(a, b Edit) int { return strings.Compare(a.Variant, b.Variant) })
		out = append(out, Edit{Rule: OtherValue, Path: n.path.then(mapKey("example.com/other")), Value: firstOf(n.value)})
	case corpus.Struct:
		if len(n.path) > 0 {
			out = append(out, set(Emptied, map[string]any{}), set(WrongType, "text"))
		}
		out = append(out, Edit{Rule: UnknownField, Path: n.path.then(noSuchField), Value: "value"})
		if tree, _ := n.value.(map[string]any); len(tree) > 0 {
			out = append(out, Edit{Rule: DuplicateField, Path: n.path.then(duplicateKey), Value: nil})
		}
	case corpus.Opaque:
		if len(n.path) > 0 {
			out = append(out, set(WrongType, "text"), set(OtherValue, map[string]any{"other": "value"}))
		}
	}
	return out
}

func (e Edit) as(variant string) Edit {
	e.Variant = variant
	return e
}

func (n node) ofString(set func(Rule, any) Edit, enum []string) []Edit {
	was := text(n.value)
	out := []Edit{set(Emptied, ""), set(WrongType, int64(7)), set(TooLong, strings.Repeat("a", 300)), set(NotDNS, notDNS)}
	if corpus.Indirect(n.kind).PkgPath() != "" || len(enum) > 0 {
		out = append(out, set(UnknownValue, noSuchValue))
	}
	for _, value := range enum {
		if value != was {
			out = append(out, set(OtherValue, value).as(value))
		}
	}
	if len(enum) == 0 {
		out = append(out, set(OtherValue, was+"x"))
	}
	return out
}

func (n node) ofInteger(set func(Rule, any) Edit) []Edit {
	was, _ := n.value.(int64)
	out := []Edit{set(Emptied, int64(0)), set(WrongType, "text"), set(Negative, int64(-1)), set(OtherValue, was+1)}
	if corpus.Indirect(n.kind).Kind() == reflect.Int32 {
		return append(out, set(TooLarge, int64(math.MaxInt32)), set(Overflow, int64(math.MaxInt32)+1))
	}
	return append(out, set(TooLarge, int64(math.MaxInt64)))
}

func (n node) ofList(set func(Rule, any) Edit) []Edit {
	items, _ := n.value.([]any)
	out := []Edit{set(Emptied, []any{}), set(WrongType, "text")}
	if len(items) > 0 {
		out = append(out, set(Duplicated, append(slices.Clone(items), clone(items[0]))))
		out = append(out, set(Null, []any{nil}).as("element"))
	}
	if len(items) > 1 {
		reversed := slices.Clone(items)
		slices.Reverse(reversed)
		out = append(out, set(OtherValue, reversed).as("reversed"))
	}
	return out
}

// metadataEdits are about what all kinds have. They need not be in the object.
func metadataEdits() []Edit {
	owner := func(change func(map[string]any)) []any {
		o := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "0b54d7f6-3c5e-4a07-9c7b-1d5f4b3a2c10"}
		change(o)
		return []any{o}
	}
	one := func(variant string, value any, path ...any) Edit {
		return Edit{Rule: Metadata, Path: append(Path{"metadata"}, path...), Value: value, Variant: variant}
	}
	return []Edit{
		one("", "0b54d7f6-3c5e-4a07-9c7b-1d5f4b3a2c10", "uid"),
		one("1", "1", "resourceVersion"), one("text", "text", "resourceVersion"),
		one("", int64(7), "generation"),
		one("", "2024-05-06T07:08:09Z", "creationTimestamp"),
		one("", "2024-05-06T07:08:09Z", "deletionTimestamp"),
		one("", int64(5), "deletionGracePeriodSeconds"),
		one("", "/parity", "selfLink"),
		one("", "other-namespace", "namespace"),
		one("", "parity-", "generateName"), one("bad", notDNS, "generateName"),
		one("qualified", []any{"example.com/hold"}, "finalizers"), one("plain", []any{"hold"}, "finalizers"), one("bad", []any{notDNS}, "finalizers"),
		one("twice", []any{"example.com/hold", "example.com/hold"}, "finalizers"),
		one("foreground", []any{"foregroundDeletion", "orphan"}, "finalizers"),
		one("valid", owner(func(map[string]any) {}), "ownerReferences"),
		one("no name", owner(func(o map[string]any) { delete(o, "name") }), "ownerReferences"),
		one("no uid", owner(func(o map[string]any) { delete(o, "uid") }), "ownerReferences"),
		one("no kind", owner(func(o map[string]any) { o["kind"] = "" }), "ownerReferences"),
		one("event", owner(func(o map[string]any) { o["kind"] = "Event" }), "ownerReferences"),
		one("bad version", owner(func(o map[string]any) { o["apiVersion"] = "a/b/c" }), "ownerReferences"),
		one("two controllers", append(owner(func(o map[string]any) { o["controller"] = true }), owner(func(o map[string]any) { o["controller"], o["name"] = true, "second" })...), "ownerReferences"),
		one("twice", append(owner(func(map[string]any) {}), owner(func(map[string]any) {})...), "ownerReferences"),
		one("bad value", "not a value!", "labels", mapKey("example.com/bad")), one("empty value", "", "labels", mapKey("example.com/empty")),
		one("long value", strings.Repeat("v", 64), "labels", mapKey("example.com/long")),
		one("bad prefix", "value", "labels", mapKey("Example_com/bad")),
		one("large", strings.Repeat("a", 256*1024+1), "annotations", mapKey("example.com/large")),
		one("bad operation", []any{map[string]any{"manager": "m", "operation": "Wish", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": map[string]any{}}}, "managedFields"),
		one("emptied", []any{}, "managedFields"),
		{Rule: Metadata, Path: Path{"apiVersion"}, Value: "parity.example.com/v1"},
		{Rule: Metadata, Path: Path{"apiVersion"}, absent: true, Variant: "removed"},
		{Rule: Metadata, Path: Path{"kind"}, Value: "Parity"},
		{Rule: Metadata, Path: Path{"kind"}, absent: true, Variant: "removed"},
	}
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// firstOf is a value of the map.
func firstOf(v any) any {
	tree, _ := v.(map[string]any)
	first := ""
	for name := range tree {
		if first == "" || name < first {
			first = name
		}
	}
	if first == "" {
		return "value"
	}
	return clone(tree[first])
}

// clone copies JSON.
func clone[T any](v T) T {
	out, _ := copyOf(v).(T)
	return out
}

func copyOf(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key := range v {
			out[key] = copyOf(v[key])
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = copyOf(v[i])
		}
		return out
	}
	return v
}
