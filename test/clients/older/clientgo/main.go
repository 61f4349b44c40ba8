// SPDX-License-Identifier: Apache-2.0

// Command clientgo uses a cluster as programs on client-go do, and says whether everything came out as it should:
//
//	clientgo -namespace N CHECK
//
// where CHECK is one of the table below, a file each. It knows nothing of Hivemind. The same source is compiled with the newest client-go and
// with that of two minors earlier. What cannot be judged from within (watch, elect) goes on and prints a line for whatever happens.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// env is what a check works with.
type env struct {
	config    *rest.Config
	client    kubernetes.Interface
	namespace string
	args      []string // after the check's name
}

var checks = map[string]func(context.Context, *env) error{
	"informers": informers,
	"content":   contentTypes,
	"discovery": discoverAll,
	"dynamic":   dynamicObjects,
	"conflicts": conflicts,
	"apply":     applyTyped,
	"pages":     pages,
	"events":    recordEvents,
	"streams":   streams,
	"watch":     watchOn,
	"elect":     elect,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "clientgo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	namespace := flag.String("namespace", "default", "namespace to work in")
	flag.Parse()
	check, ok := checks[flag.Arg(0)]
	if !ok {
		return fmt.Errorf("no check %q; there are: %s", flag.Arg(0), strings.Join(slices.Sorted(maps.Keys(checks)), ", "))
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 100, 200
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	fmt.Println("client-go", version())
	return check(ctx, &env{config: config, client: client, namespace: *namespace, args: flag.Args()[1:]})
}

// version is that of client-go in this program.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, module := range info.Deps {
		if module.Path == "k8s.io/client-go" {
			return module.Version
		}
	}
	return "unknown"
}

// patience is how long a check waits for what has to happen.
const patience = 30 * time.Second

// next takes a value from c, which has to come in time.
func next[T any](ctx context.Context, c <-chan T, what string) (T, error) {
	var none T
	select {
	case v, ok := <-c:
		if !ok {
			return none, fmt.Errorf("the channel ended before %s", what)
		}
		return v, nil
	case <-time.After(patience):
		return none, fmt.Errorf("waited %v in vain for %s", patience, what)
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// expect is an error where got is not what was wanted.
func expect[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s: got %v, want %v", what, got, want)
	}
	return nil
}

// all runs steps until one fails.
func all(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// must is an error where err is not of the sort that has to come.
func must(what string, is func(error) bool, err error) error {
	if err == nil {
		return errors.New(what + ": succeeded, and should not have")
	}
	if !is(err) {
		return fmt.Errorf("%s: failed with another error: %w", what, err)
	}
	return nil
}
