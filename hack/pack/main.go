// SPDX-License-Identifier: Apache-2.0

// Command pack compresses the programs that bin/hivemind carries: pack -from DIR -to DIR NAME...
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/hivemind-project/hivemind/pkg/bundle"
)

func main() {
	from := flag.String("from", "", "directory with the programs")
	to := flag.String("to", "", "directory that is embedded")
	flag.Parse()
	if err := bundle.Pack(*from, *to, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}
