// SPDX-License-Identifier: Apache-2.0

// Command images makes the images of Kubernetes' conformance tests and serves them until it is interrupted:
//
//	go run ./test/images [-o table|wide|json|yaml|name] [-serve=false] [NAME…]
//
// A name is a whole reference, or the last part of a repository alone, such as agnhost; none means all. The list goes to standard output, the rest
// to standard error.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"sigs.k8s.io/yaml"

	"github.com/hivemind-project/hivemind/test/images/imageset"
)

func main() {
	output := flag.String("o", "table", "how the list is written: "+strings.Join(formats, ", "))
	serve := flag.Bool("serve", true, "serve the images until interrupted; without, only make and list them")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *output, *serve, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, output string, serve bool, names []string) error {
	if !slices.Contains(formats, output) {
		return fmt.Errorf("-o %q: there is no such format; there are %s", output, strings.Join(formats, ", "))
	}
	set, err := imageset.Build(ctx, os.Stderr, imageset.Options{Names: names})
	if err != nil {
		return err
	}
	l, err := newList(set)
	if err != nil {
		return err
	}
	if !serve {
		return l.write(os.Stdout, output)
	}
	host, stop, err := set.Serve(ctx)
	if err != nil {
		return err
	}
	l.Registry = host
	if err := l.write(os.Stdout, output); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "served on %s; Ctrl-C ends it. A cluster that pulls from it:\n  bin/hivemind up -d %s\n", host, strings.Join(set.MirrorArgs(host), " "))
	<-ctx.Done()
	return stop()
}

// formats are what -o takes.
var formats = []string{"table", "wide", "json", "yaml", "name"}

// list is what is written.
type list struct {
	Registry string            `json:"registry,omitempty"` // host and port
	Images   []row             `json:"images"`
	Absent   map[string]string `json:"absent"` // prefixes of names that the suite knows and that are not made, and why
}

type row struct {
	Name       string   `json:"name"`
	Digest     string   `json:"digest"`
	Bytes      int64    `json:"bytes"`
	Layers     int      `json:"layers"`
	User       string   `json:"user,omitempty"`
	Entrypoint []string `json:"entrypoint,omitempty"`
	Cmd        []string `json:"cmd,omitempty"`
}

func newList(set *imageset.Set) (*list, error) {
	l := &list{Absent: imageset.Absent()}
	for _, image := range set.Images {
		digest, err := image.Digest()
		if err != nil {
			return nil, err
		}
		layers, err := image.Layers()
		if err != nil {
			return nil, err
		}
		file, err := image.ConfigFile()
		if err != nil {
			return nil, err
		}
		l.Images = append(l.Images, row{
			Name: image.Name, Digest: digest.String(), Bytes: image.Bytes, Layers: len(layers),
			User: file.Config.User, Entrypoint: file.Config.Entrypoint, Cmd: file.Config.Cmd,
		})
	}
	return l, nil
}

func (l *list) write(w io.Writer, format string) error {
	switch format {
	case "json":
		text, err := json.MarshalIndent(l, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s\n", text)
		return err
	case "yaml":
		text, err := yaml.Marshal(l)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	case "name":
		for _, r := range l.Images {
			fmt.Fprintln(w, r.Name)
		}
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	header := "NAME\tSIZE\tDIGEST"
	if format == "wide" {
		header += "\tLAYERS\tUSER\tCOMMAND"
	}
	fmt.Fprintln(t, header)
	for _, r := range l.Images {
		digest := r.Digest
		if format == "table" {
			digest = digest[:len("sha256:")+12]
		}
		fmt.Fprintf(t, "%s\t%s\t%s", r.Name, size(r.Bytes), digest)
		if format == "wide" {
			fmt.Fprintf(t, "\t%d\t%s\t%s", r.Layers, r.User, strings.Join(append(slices.Clone(r.Entrypoint), r.Cmd...), " "))
		}
		fmt.Fprintln(t)
	}
	if format == "wide" {
		fmt.Fprintln(t, "\nNOT MADE\tWHY")
		for _, prefix := range slices.Sorted(maps.Keys(l.Absent)) {
			fmt.Fprintf(t, "%s\t%s\n", prefix, l.Absent[prefix])
		}
	}
	return t.Flush()
}

// size is a number of bytes as people read it.
func size(bytes int64) string {
	if bytes < 1<<20 {
		return fmt.Sprintf("%d KiB", (bytes+1023)>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
}
