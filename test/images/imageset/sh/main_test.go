// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestShell(t *testing.T) {
	for _, c := range []struct {
		environment []string
		want        string
	}{
		{nil, busybox},
		{[]string{"PATH=/bin", "_A1=x=y", "EMPTY="}, busybox},
		{[]string{"PATH=/bin", "data-1=value"}, bash},
		{[]string{"1A=x"}, bash},
		{[]string{"a.b=x", "PATH=/bin"}, bash},
		{[]string{"=x"}, bash},
		{[]string{"é=x"}, bash},
	} {
		if got := shell(c.environment); got != c.want {
			t.Errorf("%q: got %s, want %s", c.environment, got, c.want)
		}
	}
}
