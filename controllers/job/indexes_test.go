// SPDX-License-Identifier: Apache-2.0

package job

import (
	"slices"
	"testing"
)

func TestIndexesText(t *testing.T) {
	for _, test := range []struct {
		text        string
		completions int
		want        string
		total       int
	}{
		{"", 10, "", 0},
		{"0", 10, "0", 1},
		{"1,2", 10, "1,2", 2},
		{"1,2,3,7", 10, "1-3,7", 4},
		{"0-4,6-8", 10, "0-4,6-8", 8},
		{"0-4,6-8", 7, "0-4,6", 6},
		{"0-4,6-8", 3, "0-2", 3},
		{"8,9", 8, "", 0},
		{"1,x,3-y,5", 10, "1,5", 2},
	} {
		set := parseIndexes(test.text, test.completions)
		if set.String() != test.want || set.total() != test.total {
			t.Errorf("%q of %d: %q with %d, want %q with %d", test.text, test.completions, set, set.total(), test.want, test.total)
		}
	}
}

func TestIndexesSets(t *testing.T) {
	for _, test := range []struct {
		a, b, union string
		common      int
	}{
		{"", "", "", 0},
		{"1-3", "", "1-3", 0},
		{"1-3", "4", "1-4", 0},
		{"0,2,4", "1,3", "0-4", 0},
		{"0-9", "2,3,5", "0-9", 3},
		{"0-2,6-8", "2-6,20", "0-8,20", 2},
		{"5,6", "1,9", "1,5,6,9", 0},
	} {
		a, b := parseIndexes(test.a, 100), parseIndexes(test.b, 100)
		if got := a.union(b).String(); got != test.union {
			t.Errorf("%q with %q: %q", a, b, got)
		}
		if got := b.union(a).String(); got != test.union {
			t.Errorf("%q with %q: %q", b, a, got)
		}
		if x, y := a.common(b), b.common(a); x != test.common || y != test.common {
			t.Errorf("%q and %q have %d and %d in common", a, b, x, y)
		}
		if a.String() != test.a || b.String() != test.b {
			t.Errorf("%q, %q: changed to %q, %q", test.a, test.b, a, b)
		}
	}
	if got := indexesOf(3, 1, 3, 2, 9).String(); got != "1-3,9" {
		t.Errorf("of numbers: %q", got)
	}
}

func TestIndexesGapsAndHas(t *testing.T) {
	for _, test := range []struct {
		set            string
		n, completions int
		want           []int
	}{
		{"", 2, 5, []int{0, 1}},
		{"", 9, 3, []int{0, 1, 2}},
		{"0-2", 2, 5, []int{3, 4}},
		{"1,3", 3, 5, []int{0, 2, 4}},
		{"0-4", 3, 5, nil},
		{"2-9", 9, 5, []int{0, 1}},
		{"1", 0, 5, nil},
	} {
		if got := parseIndexes(test.set, 100).gaps(test.n, test.completions); !slices.Equal(got, test.want) {
			t.Errorf("%d outside of %q below %d: %v, want %v", test.n, test.set, test.completions, got, test.want)
		}
	}
	set := parseIndexes("1-3,7", 100)
	for i, want := range []bool{false, true, true, true, false, false, false, true, false} {
		if set.has(i) != want {
			t.Errorf("has(%d) is not %v", i, want)
		}
	}
}
