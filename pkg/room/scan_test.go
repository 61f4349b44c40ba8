// SPDX-License-Identifier: Apache-2.0

package room

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// packed is a message that has parts in a field.
func packed(parts ...string) string {
	var out []byte
	for _, part := range parts {
		out = protowire.AppendTag(out, 2, protowire.BytesType)
		out = protowire.AppendString(out, part)
	}
	return string(out)
}

func TestScan(t *testing.T) {
	nested := ""
	for range 5 {
		nested = packed(nested)
	}
	for _, tt := range []struct {
		name, text string
		syntax     Syntax
		elements   int64
		levels     int
	}{
		{"fields", `{"a":1,"b":[1,2]}`, JSON, 4 + 1 + 2 + 1 + 1 + 1, 2},
		{"empty objects", `[{},{ }]`, JSON, 1 + 9 + 1 + 9, 2},
		{"nulls", `[null,null]`, JSON, 1 + 8 + 1 + 8, 1},
		{"words", `"{\"n\":[null]}"`, JSON, 0, 0},
		{"a merge patch", `{"a":1}`, Merge, 4 + 1 + 1, 1},
		{"JSON for YAML", `{"a":"- , -"}`, YAML, 4 + 1 + 1, 1},
		{"a list of YAML", "a:\n- {}\n- ~\n", YAML, 1 + 4 + 4 + 1 + 4 + 4, 3},
		{"YAML that only begins as JSON", "{a: ','}", YAML, 4 + 1 + 1 + 4, 1},
		{"levels of YAML", "a:\n  b:\n    - - c\n", YAML, 2 + 12, 8},
		{"empty objects with space in them", "[{\t},{\r\n}]", JSON, 1 + 9 + 1 + 9, 2},
		{"empty messages", packed("", ""), Packed, 2 * 9, 1},
		{"strings like messages", packed(strings.Repeat("x", 1000), strings.Repeat(" ", 1000)), Packed, 2, 0},
		{"strings", packed("words", "\xff"), Packed, 2, 1},
		{"messages", packed(packed("words"), packed("words")), Packed, 2 * (1 + 4 + 1), 1},
		{"a message that ends too early", packed("", "") + "\x12\x05", Packed, 2 * 9, 1},
		{"numbers", "\x08\x01\x10\x02", Packed, 2, 0},
		{"deep messages", nested, Packed, 4*5 + 9, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := tt.text
			if tt.syntax == Packed {
				text = string(protobufPrefix) + text
			}
			s := scan{syntax: tt.syntax}
			for i := range len(text) { // however it comes
				s.add([]byte(text[i : i+1]))
			}
			s.complete([]byte(text))
			if s.elements != tt.elements || s.levels != tt.levels {
				t.Errorf("%d elements and %d levels, want %d and %d", s.elements, s.levels, tt.elements, tt.levels)
			}
			if s.bytes != int64(len(text)) {
				t.Errorf("%d bytes, want %d", s.bytes, len(text))
			}
		})
	}
}

func TestBodiesAreRefused(t *testing.T) {
	deep := func(open, end string, levels int) string {
		return strings.Repeat(open, levels) + strings.Repeat(end, levels)
	}
	inner := ""
	for range 3000 {
		inner = packed(inner)
	}
	for _, tt := range []struct {
		name, text string
		syntax     Syntax
		code       int // 0 where it is not refused
	}{
		{"as many fields as there may be", `[` + strings.Repeat("1,", mostElements-2) + `1]`, JSON, 0},
		{"more fields", `[` + strings.Repeat("1,", mostElements) + `1]`, JSON, http.StatusRequestEntityTooLarge},
		{"words that look like fields", `"` + strings.Repeat("1,", mostElements) + `1"`, JSON, 0},
		{"such words in JSON for YAML", `{"a":"` + strings.Repeat("1,", mostElements) + `1"}`, YAML, 0},
		{"many lines", strings.Repeat("- {}\n", mostElements/5), YAML, http.StatusRequestEntityTooLarge},
		{"a patch to merge", `[` + strings.Repeat("1,", mostMerged) + `1]`, Merge, http.StatusRequestEntityTooLarge},
		{"empty messages", string(protobufPrefix) + strings.Repeat(packed(""), mostElements/8), Packed, http.StatusRequestEntityTooLarge},
		{"a long string in protobuf", string(protobufPrefix) + packed(strings.Repeat("x", 2<<20)), Packed, 0},
		{"not protobuf", strings.Repeat(packed(""), mostElements/8), Packed, 0}, // the decoder refuses it
		{"as deep as may be", deep("[", "]", mostLevels), JSON, 0},
		{"deeper", deep("[", "]", mostLevels+1) + strings.Repeat(" ", FreeText), JSON, http.StatusBadRequest},
		{"so deep that the decoder refuses it", deep("[", "]", theirLevels+1), JSON, 0},
		{"deep objects", deep(`{"a":`, "}", mostLevels+1), JSON, http.StatusBadRequest},
		{"deep YAML", strings.Repeat(" ", mostLevels+1) + "a: b\n" + strings.Repeat("# \n", FreeText), YAML, http.StatusBadRequest},
		{"a deep list of YAML", strings.Repeat("- ", mostLevels) + "a\n" + strings.Repeat("# \n", FreeText), YAML, http.StatusBadRequest},
		{"deep messages", string(protobufPrefix) + inner, Packed, http.StatusBadRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, a := New().Open(t.Context(), Writes, false)
			defer a.Close()
			body := a.Body(io.NopCloser(strings.NewReader(tt.text)), tt.syntax, -1)
			defer body.Close()
			_, err := io.Copy(io.Discard, body)
			var status apierrors.APIStatus
			switch {
			case tt.code == 0:
				if err != nil {
					t.Errorf("refused: %v", err)
				}
			case !errors.As(err, &status) || int(status.Status().Code) != tt.code:
				t.Errorf("%v, want status %d", err, tt.code)
			case !strings.Contains(err.Error(), "limit is"):
				t.Errorf("%v does not tell the limit", err)
			}
			// What is not from a client is not refused.
			_, b := New().Open(t.Context(), Writes, false)
			defer b.Close()
			if err := read(b, tt.text, tt.syntax, -1); err != nil {
				t.Errorf("as a text: %v", err)
			}
		})
	}
}

func TestSprawls(t *testing.T) {
	for elements, want := range map[int]bool{manyElements - 1: false, manyElements + 1: true} {
		_, a := New().Open(t.Context(), Writes, false)
		body := a.Body(io.NopCloser(strings.NewReader(`[`+strings.Repeat("1,", elements-1)+`1]`)), JSON, -1)
		if _, err := io.Copy(io.Discard, body); err != nil {
			t.Fatal(err)
		}
		if a.Sprawls() != want {
			t.Errorf("%d elements sprawl: %v", elements, !want)
		}
		a.Close()
	}
}

func TestFew(t *testing.T) {
	for _, n := range []int{0, 1, MostErrors, MostErrors + 1, 10 * MostErrors} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			var errs field.ErrorList
			for i := range n {
				errs = append(errs, field.Required(field.NewPath("list").Index(i), ""))
			}
			few := Few(errs)
			if n <= MostErrors {
				if len(few) != n {
					t.Errorf("%d of %d", len(few), n)
				}
				return
			}
			const want = "list[1000]: Too many: "
			if last := few[MostErrors]; len(few) != MostErrors+1 || !strings.HasPrefix(last.Error(), want+fmt.Sprint(n)+": ") {
				t.Errorf("%d errors, the last of them %v", len(few), last)
			}
			if errs[MostErrors].Type != field.ErrorTypeRequired {
				t.Error("the list itself has changed")
			}
		})
	}
}
