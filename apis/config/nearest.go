// SPDX-License-Identifier: Apache-2.0

package config

import "strings"

// Nearest returns the one of known that takes the fewest edits to reach from name, letters' case aside; "" if known is
// empty. A known key also matches by its last part alone, so that podCIDR finds network.podCIDR. The cost is the
// product of the lengths for each known key: a few microseconds, paid only for an error.
func Nearest(name string, known []string) string {
	best, bestCost := "", 0
	for _, k := range known {
		cost := edits(strings.ToLower(name), strings.ToLower(k))
		if dot := strings.LastIndexByte(k, '.'); dot >= 0 {
			// The whole key is preferred where both match equally well.
			cost = min(cost, edits(strings.ToLower(name), strings.ToLower(k[dot+1:]))+1)
		}
		if best == "" || cost < bestCost {
			best, bestCost = k, cost
		}
	}
	return best
}

// edits is the Levenshtein distance of a and b.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
