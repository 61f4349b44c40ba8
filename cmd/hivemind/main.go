// SPDX-License-Identifier: Apache-2.0

// Command hivemind is what a person types: it starts and stops a cluster, tells how it fares, and carries all the
// programs that a cluster needs, kubectl and helm among them. One file holds one group of verbs. It is short-lived and
// starts in a few milliseconds, as kubectl and helm are programs of their own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	apiconfig "github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/bundle"
	"github.com/hivemind-project/hivemind/pkg/config"
)

// version is set by the linker.
var version = "unknown"

// Exit codes; see exitCodesHelp.
const (
	exitOK         = 0
	exitFailure    = 1
	exitUsage      = 2
	exitNotRunning = 3
)

const exitCodesHelp = `Exit codes:

  0  done
  1  failed: the message says what and why, and what to do next
  2  the command line, a variable or the configuration file is wrong
  3  the cluster does not run (hivemind status)

hivemind kubectl and hivemind helm exit as kubectl and helm do.`

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// console is the world outside of the process.
type console struct {
	in      io.Reader
	out     io.Writer
	err     io.Writer
	environ []string
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	os.Exit(run(ctx, &console{in: os.Stdin, out: os.Stdout, err: os.Stderr, environ: os.Environ()}, os.Args[1:]))
}

func run(ctx context.Context, con *console, args []string) int {
	root := newRootCommand(con)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(con.err, "hivemind: %v\n", err)
	if next := nextAfter(err); next != "" {
		fmt.Fprintln(con.err, "Next: "+next)
	}
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, config.ErrInvalid):
		return exitUsage
	}
	return exitFailure
}

// nextAfter is what to do after an error that does not say so itself.
func nextAfter(err error) string {
	switch {
	case strings.Contains(err.Error(), "\nNext: "):
		return ""
	case errors.Is(err, config.ErrInvalid):
		return "mend it; hivemind config view shows what is set, and hivemind up --help lists what can be"
	case errors.Is(err, bundle.ErrNoPayload), errors.Is(err, bundle.ErrCorrupt):
		return "make build, or copy bin/hivemind from where it works"
	case errors.Is(err, syscall.ENOSPC):
		return "df -h shows which disk is full; make room, and try again"
	case errors.Is(err, fs.ErrPermission):
		return "try again as root, with sudo"
	}
	return "hivemind doctor looks at the machine, hivemind logs shows what happened"
}

func newRootCommand(con *console) *cobra.Command {
	root := &cobra.Command{
		Use:   "hivemind",
		Short: "A Kubernetes-compatible cluster from one file",
		Long: `Hivemind runs a Kubernetes-compatible cluster from one file.

  hivemind up -d                start a cluster on this machine
  hivemind kubectl get nodes    look at it
  hivemind down                 stop it; containers go on
  hivemind reset                remove it and all that it holds`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		// Flags before a verb are read too, which `hivemind --data-dir DIR kubectl …` needs: kubectl gets what follows.
		TraverseChildren: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return fmt.Errorf("unknown command %q", args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(con.in)
	root.SetOut(con.out)
	root.SetErr(con.err)
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(usageError)
	locate(root.PersistentFlags())
	root.AddGroup(
		&cobra.Group{ID: "cluster", Title: "The cluster:"},
		&cobra.Group{ID: "use", Title: "Using it:"},
		&cobra.Group{ID: "more", Title: "More:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("cluster", newUpCommand(con), newDownCommand(con), newResetCommand(con), newStatusCommand(con), newLogsCommand(con), newSecretsEncryptCommand(con))
	add("use", newToolCommand(con, "kubectl"), newToolCommand(con, "helm"), newKubeconfigCommand(con))
	add("more", newDoctorCommand(con), newConfigCommand(con), newVersionCommand(con))
	root.SetHelpCommandGroupID("more")
	root.SetCompletionCommandGroupID("more")
	root.AddCommand(&cobra.Command{Use: "exit-codes", Short: "What exit codes mean", Long: exitCodesHelp})
	checkArgs(root)
	return root
}

// checkArgs makes every mistake in arguments one of usage, with what to do next.
func checkArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError(cmd, err)
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		checkArgs(c)
	}
}

// usageError adds to err the nearest command or flag that there is, and where to read on.
func usageError(cmd *cobra.Command, err error) error {
	text := err.Error()
	if _, command, ok := strings.Cut(text, "unknown command "); ok {
		var known []string
		for _, c := range cmd.Root().Commands() {
			known = append(known, c.Name())
		}
		text += fmt.Sprintf(": did you mean %q?", apiconfig.Nearest(strings.Trim(command, `"`), known))
	}
	if _, flag, ok := strings.Cut(text, "unknown flag: --"); ok {
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
		text += ": did you mean --" + apiconfig.Nearest(flag, known) + "?"
	}
	return &exitError{exitUsage, fmt.Errorf("%s\nNext: %s --help", text, cmd.CommandPath())}
}
