// SPDX-License-Identifier: Apache-2.0

// Command arrows holds the arrows of docs/architecture.md: which package may import which. Run it in the repository's
// root with package patterns; it costs what type-checking them does.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/OpenPeeDeeP/depguard/v2"
	"golang.org/x/tools/go/analysis/singlechecker"
)

const ours = "github.com/hivemind-project/hivemind/"

func main() {
	root, err := os.Getwd()
	if err != nil {
		fail(err)
	}
	settings, err := rules(root)
	if err != nil {
		fail(err)
	}
	analyzer, err := depguard.NewAnalyzer(&settings)
	if err != nil {
		fail(err)
	}
	singlechecker.Main(analyzer)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "arrows:", err)
	os.Exit(1)
}

// rules lists the arrows. Each rule names files and what they must not import, with the reason.
func rules(root string) (depguard.LinterSettings, error) {
	// A folder's own files and those of the folders below it.
	in := func(folder string) []string {
		return []string{filepath.Join(root, folder, "*.go"), filepath.Join(root, folder, "**", "*.go")}
	}
	settings := depguard.LinterSettings{
		"kubernetes": {ListMode: "lax", Files: []string{"$all", "!" + filepath.Join(root, "test", "**", "*.go")}, Deny: map[string]string{
			"k8s.io/kubernetes": "it is no dependency: build on the libraries that it is built on",
		}},
		"apis": {ListMode: "lax", Files: in("apis"), Allow: []string{ours + "apis/"}, Deny: map[string]string{
			ours:       "apis say what an object is, and import nothing else of ours",
			"os$":      "apis are pure functions, without I/O",
			"net/http": "apis are pure functions, without I/O",
		}},
		"node": {ListMode: "lax", Files: append(in("kubelet-lite"), in("pkg/network")...), Deny: clientOnly(
			"the node agent and the network talk to the server through client-go alone, so that they run on another machine")},
		"parts": {ListMode: "lax", Files: append(in("pkg"), in("kubelet-lite")...), Deny: map[string]string{
			ours + "cmd/": "commands import parts, not the other way round",
		}},
		// Every package in the daemon costs memory at start. Those that look methods up by name also keep the linker from
		// dropping any method of any type.
		"daemon": {ListMode: "lax", Files: daemonFiles(root), Deny: map[string]string{
			"text/template":              "keeps every method in hivemindd",
			"html/template":              "keeps every method in hivemindd",
			"net/http/pprof":             "links templates into hivemindd",
			"expvar":                     "registers handlers when imported",
			"golang.org/x/net/trace":     "links templates into hivemindd",
			"github.com/google/go-cmp":   "is for tests",
			"github.com/spf13/cobra":     "links templates into hivemindd; flags are pflag's",
			"helm.sh/":                   "hivemind carries helm as a program of its own",
			"k8s.io/kubectl":             "hivemind carries kubectl as a program of its own",
			"github.com/sirupsen/logrus": "log with klog",
			"log/slog":                   "log with klog",
			"log$":                       "log with klog",
		}},
	}
	return settings, eachController(root, settings)
}

// daemonFiles are what links into hivemindd: all of these folders but tests and what only tests use.
func daemonFiles(root string) []string {
	files := []string{"!$test", "!" + filepath.Join(root, "**", "{*test,testenv}", "*.go")}
	for _, folder := range []string{"apis", "pkg", "kubelet-lite", "controllers", "cmd/hivemindd"} {
		files = append(files, filepath.Join(root, folder, "*.go"), filepath.Join(root, folder, "**", "*.go"))
	}
	return files
}

func clientOnly(reason string) map[string]string {
	deny := map[string]string{}
	for _, folder := range []string{"controllers", "pkg/apiserver", "pkg/informer", "pkg/registry", "pkg/scheduler", "pkg/server", "pkg/storage"} {
		deny[ours+folder] = reason
	}
	return deny
}

// eachController keeps controllers from importing each other: what they share is in controllers/internal.
func eachController(root string, settings depguard.LinterSettings) error {
	folders, err := os.ReadDir(filepath.Join(root, "controllers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range folders {
		if !f.IsDir() {
			continue
		}
		own := "controllers/" + f.Name()
		settings[own] = &depguard.List{
			ListMode: "lax",
			Files:    []string{filepath.Join(root, own, "*.go"), filepath.Join(root, own, "**", "*.go")},
			Allow:    []string{ours + own, ours + "controllers/internal/"},
			Deny: map[string]string{
				ours + "controllers":   "controllers do not import each other",
				ours + "pkg/apiserver": "controllers talk to the API server as a client",
				ours + "pkg/registry":  "controllers talk to the API server as a client",
				ours + "pkg/storage":   "controllers talk to the API server as a client",
			},
		}
	}
	return nil
}
