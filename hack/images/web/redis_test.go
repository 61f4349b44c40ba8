// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"reflect"
	"strings"
	"testing"
)

func TestReadReply(t *testing.T) {
	for _, test := range []struct {
		in   string
		want any
		err  string
	}{
		{"+PONG\r\n", "PONG", ""},
		{":3\r\n", int64(3), ""},
		{"$5\r\nhe\r\no\r\n", "he\r\no", ""},
		{"$-1\r\n", nil, ""},
		{"*2\r\n$1\r\na\r\n$0\r\n\r\n", []string{"a", ""}, ""},
		{"*0\r\n", []string{}, ""},
		{"-NOAUTH Authentication required.\r\n", nil, "NOAUTH Authentication required."},
		{"$5\r\nhe", nil, "unexpected EOF"},
		{"?\r\n", nil, "reply begins with '?'"},
	} {
		got, err := readReply(bufio.NewReader(strings.NewReader(test.in)))
		if (err == nil) != (test.err == "") || (err != nil && err.Error() != test.err) {
			t.Errorf("%q: error %v, want %q", test.in, err, test.err)
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q: got %#v, want %#v", test.in, got, test.want)
		}
	}
}
