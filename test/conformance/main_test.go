// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for args, want := range map[string]string{
		"-procs 0":                 "-procs 0",
		"-timeout -1s":             "-timeout -1s",
		"-o xml":                   `-o "xml"`,
		"Quota":                    `unexpected argument "Quota"`,
		"-wrong":                   "not defined: -wrong",
		"-scratch a -kubeconfig b": "choose one",
		"-fresh -report":           "choose one",
		"-fresh -resume v1-abcde":  "choose one",
	} {
		_, err := parse(strings.Fields(args), io.Discard)
		if !errors.As(err, &usageError{}) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a mistake in the command line with %q", args, err, want)
		}
	}
	o, err := parse(strings.Fields("-set pinned -sig api,node -focus Quota -o name -procs 2"), io.Discard)
	if err != nil || o.set != "pinned" || o.sigs != "api,node" || o.focus != "Quota" || o.output != "name" || o.procs != 2 {
		t.Errorf("got %+v, %v", o, err)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	release, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(dir); err == nil || !strings.Contains(err.Error(), "another run is at work") {
		t.Errorf("a second run may begin: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	again, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	again()
}
