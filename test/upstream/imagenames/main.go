// SPDX-License-Identifier: Apache-2.0

// Command imagenames prints the names of all images that the end-to-end suite knows, one a line, sorted.
package main

import (
	"fmt"
	"slices"

	"k8s.io/kubernetes/test/utils/image"
)

func main() {
	var names []string
	for _, config := range image.GetImageConfigs() {
		names = append(names, config.GetE2EImage())
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		fmt.Println(name)
	}
}
