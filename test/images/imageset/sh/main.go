// SPDX-License-Identifier: Apache-2.0

// Command sh is the shell of the image busybox. It becomes the image's BusyBox, whose words tests look for. Debian's BusyBox, other than newer ones, keeps
// variables such as data-1, whose names are no shell's, from the programs that it starts: where there is one, it becomes Bash, which passes them on.
package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// What it becomes, as the recipe of the image places them.
const (
	busybox = "/bin/busybox"
	bash    = "/usr/libexec/bash"
)

func main() {
	program := shell(os.Environ())
	err := syscall.Exec(program, os.Args, os.Environ())
	fmt.Fprintf(os.Stderr, "sh: run %s: %v\n", program, err)
	os.Exit(126)
}

// shell is the program that passes on all of an environment.
func shell(environment []string) string {
	for _, variable := range environment {
		if name, _, _ := strings.Cut(variable, "="); !isName(name) {
			return bash
		}
	}
	return busybox
}

// isName says whether a variable of this name can be a shell's (POSIX.1-2017, 3.235).
func isName(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
