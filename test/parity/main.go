package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/hivemind-project/hivemind/test/parity/corpus"
)

func main() {
	c, err := corpus.Load()
	if err != nil {
		panic(err)
	}
	for _, gvk := range c.Kinds() {
		if len(os.Args) > 1 && !strings.Contains(gvk.Kind, os.Args[1]) {
			continue
		}
		k := c.Kind(gvk, "default")
		for _, o := range k.Objects {
			b, _ := json.Marshal(o.Content)
			fmt.Println(string(b))
		}
	}
}
