// SPDX-License-Identifier: Apache-2.0

package job

import (
	"slices"
	"strconv"
	"strings"
)

// span is a range of completion indexes, both ends included.
type span struct{ first, last int }

// indexes is a set of completion indexes: spans that ascend and neither touch nor overlap. Its size is that of the
// gaps, not of the job, and every operation on two sets is one walk along both.
type indexes []span

// parseIndexes reads what a status or a rule says, such as 1,3-5,7. Indexes from completions on are left out: a job may
// have shrunk since. What cannot be read is left out too; validation lets none of it in.
func parseIndexes(text string, completions int) indexes {
	var set indexes
	for _, part := range strings.Split(text, ",") {
		from, to, ok := strings.Cut(part, "-")
		if !ok {
			to = from
		}
		first, errFirst := strconv.Atoi(from)
		last, errLast := strconv.Atoi(to)
		if errFirst == nil && errLast == nil && first < completions {
			set = set.append(span{first, min(last, completions-1)})
		}
	}
	return set
}

// indexesOf makes a set of numbers in any order.
func indexesOf(numbers ...int) indexes {
	var set indexes
	for _, n := range slices.Sorted(slices.Values(numbers)) {
		set = set.append(span{n, n})
	}
	return set
}

// append adds a span that begins where the last one of the set does, or after that.
func (set indexes) append(s span) indexes {
	if n := len(set) - 1; n >= 0 && s.first <= set[n].last+1 {
		set[n].last = max(set[n].last, s.last)
		return set
	}
	return append(set, s)
}

// union returns what is in either set, as a new set.
func (set indexes) union(other indexes) indexes {
	var all indexes
	for len(set) > 0 && len(other) > 0 {
		if set[0].first > other[0].first {
			set, other = other, set
		}
		all, set = all.append(set[0]), set[1:]
	}
	for _, s := range append(slices.Clip(set), other...) {
		all = all.append(s)
	}
	return all
}

// common returns how many indexes both sets have.
func (set indexes) common(other indexes) int {
	n := 0
	for len(set) > 0 && len(other) > 0 {
		if both := min(set[0].last, other[0].last) - max(set[0].first, other[0].first) + 1; both > 0 {
			n += both
		}
		if set[0].last < other[0].last {
			set = set[1:]
		} else {
			other = other[1:]
		}
	}
	return n
}

// gaps returns the first n indexes below completions that are not in the set.
func (set indexes) gaps(n, completions int) []int {
	var free []int
	next := 0
	for _, s := range append(slices.Clip(set), span{completions, completions}) {
		for ; next < min(s.first, completions) && len(free) < n; next++ {
			free = append(free, next)
		}
		next = max(next, s.last+1)
	}
	return free
}

// total returns how many indexes are in the set.
func (set indexes) total() int {
	n := 0
	for _, s := range set {
		n += s.last - s.first + 1
	}
	return n
}

func (set indexes) has(index int) bool {
	i, found := slices.BinarySearchFunc(set, index, func(s span, index int) int { return s.last - index })
	return found || i < len(set) && set[i].first <= index
}

// String writes the set as it stands in a status: two neighbours as 3,4, more as 3-5.
func (set indexes) String() string {
	var b strings.Builder
	for _, s := range set {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(s.first))
		switch s.last - s.first {
		case 0:
		case 1:
			b.WriteString("," + strconv.Itoa(s.last))
		default:
			b.WriteString("-" + strconv.Itoa(s.last))
		}
	}
	return b.String()
}
