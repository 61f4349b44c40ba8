// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"slices"
	"strings"
	"testing"
)

func TestCleanRegions(t *testing.T) {
	const smaps = `00400000-02a00000 r-xp 00000000 fd:00 131  /opt/hivemindd
Size:              38912 kB
Rss:               30000 kB
Private_Dirty:         0 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
02a00000-04000000 r--p 02600000 fd:00 131  /opt/hivemindd
Anonymous:             4 kB
04000000-04100000 rw-p 03c00000 fd:00 131  /opt/hivemindd
Anonymous:             0 kB
04100000-04200000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f0000000000-7f0000001000 r--s 00000000 fd:00 99  /var/lib/hivemind/etcd/db
Anonymous:             0 kB
7f0000001000-7f0000002000 r--p 00000000 fd:00 98  /usr/lib/locale/C.utf8
Anonymous:             0 kB
7f0000002000-7f0000003000 r--p 00000000 fd:00 131  /opt/hivemindd
Anonymous:             0 kB
`
	got, err := cleanRegions(bufio.NewScanner(strings.NewReader(smaps)), "/opt/hivemindd")
	want := []region{{0x400000, 0x2a00000}, {0x7f0000000000, 0x7f0000001000}, {0x7f0000002000, 0x7f0000003000}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("cleanRegions = %x, %v; want %x: not what can be written, was changed, or is another program's", got, err, want)
	}
}

func TestTrimmedProcessGoesOn(t *testing.T) {
	for range 3 {
		if err := dropFilePages(); err != nil {
			t.Fatal(err)
		}
		// Code and constants that were let go are there again when used.
		if got := strings.Repeat("ab", 3); got != "ababab" {
			t.Fatalf("after trimming, Repeat = %q", got)
		}
	}
}
