// SPDX-License-Identifier: Apache-2.0

// Command images builds the images that config/samples and charts/demo name, and serves them from a registry on this machine, to which it
// sends the containerd of a cluster:
//
//	go run ./hack/images -data-dir /var/lib/hivemind
//
// It serves until it is interrupted; what has been pulled by then stays on the node.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/hivemind-project/hivemind/hack/images/build"
	"github.com/hivemind-project/hivemind/test/registry"
)

func main() {
	dataDir := flag.String("data-dir", "/var/lib/hivemind", "data directory of the cluster that should find the images")
	listen := flag.String("listen", "127.0.0.1:5000", "address to serve on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *dataDir, *listen); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dataDir, listen string) error {
	images, err := build.All(ctx, ".")
	if err != nil {
		return err
	}
	r, err := registry.Start(listen, "", "")
	if err != nil {
		return err
	}
	defer r.Close()
	for _, image := range images {
		digest, err := image.Digest()
		if err != nil {
			return err
		}
		for _, name := range image.Names {
			if !strings.HasPrefix(name, build.Public+"/") {
				continue
			}
			if err := r.Push(ctx, name, image); err != nil {
				return err
			}
			fmt.Println(name, digest)
		}
	}
	if err := r.MirrorFor(dataDir, build.Public); err != nil {
		return err
	}
	fmt.Printf("%s is served on %s to the cluster in %s; Ctrl-C ends it\n", build.Public, r.Addr(), dataDir)
	<-ctx.Done()
	return nil
}
