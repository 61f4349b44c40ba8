// SPDX-License-Identifier: Apache-2.0

package flowcontrol

import "testing"

func TestSeats(t *testing.T) {
	for processors, want := range map[int]int{1: 100, 2: 100, 4: 200, 12: 600, 96: 600} {
		if got := seats(processors); got != want {
			t.Errorf("%d processors: %d seats, want %d", processors, got, want)
		}
	}
}
