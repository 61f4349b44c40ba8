// SPDX-License-Identifier: Apache-2.0

// Package config puts one configuration together from where a person may have written it: flags, HIVEMIND_* variables,
// a YAML file, and what the machine itself says. Flags win over variables, variables over the file, the file over
// defaults. It reads one small file and a few of /proc; the schema is apis/config.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/audit/policy"
	"github.com/hivemind-project/hivemind/pkg/datadir"
)

const (
	// DefaultFile is read where no other file is named; it need not exist.
	DefaultFile = "/etc/hivemind/config.yaml"
	// FileFlag and FileEnv name another file.
	FileFlag = "config"
	FileEnv  = config.EnvPrefix + "CONFIG"
)

// AddFlags adds --config and one flag for every key to flags.
func AddFlags(flags *pflag.FlagSet) {
	flags.String(FileFlag, "", "configuration file (default "+DefaultFile+")")
	for _, f := range config.Fields() {
		AddFlag(flags, f)
	}
}

// AddFlag adds the flag of one key.
func AddFlag(flags *pflag.FlagSet, f config.Field) {
	defaults := &config.Config{}
	config.SetDefaults(defaults)
	usage := f.Usage
	if value := f.Get(defaults); value != "" && value != "0" && value != "false" && !strings.Contains(usage, "(default") {
		usage += " (default " + value + ")"
	}
	// The flag's own default stays empty: only a flag that was given overrides the variables and the file.
	if f.List {
		flags.StringArray(f.Flag, nil, usage)
		return
	}
	flags.String(f.Flag, "", usage)
	if f.Bool {
		flags.Lookup(f.Flag).NoOptDefVal = "true"
	}
}

// Load reads the configuration, completes it with defaults and with what the machine says, and validates it. environ is
// os.Environ(). Flags that flags does not have count as not given.
func Load(flags *pflag.FlagSet, environ []string) (*config.Config, error) {
	c, err := Read(flags, environ)
	if err != nil {
		return nil, err
	}
	if err := keep(c); err != nil {
		return nil, err
	}
	if err := chooseRanges(c); err != nil {
		return nil, err
	}
	config.SetDefaults(c)
	// What a person wrote is judged before the machine is asked: it may be what sends the question astray.
	if errs := config.Validate(c); len(errs) > 0 {
		return nil, Invalid(errs.ToAggregate())
	}
	if c.Audit.PolicyFile != "" {
		if _, err := policy.Load(c.Audit.PolicyFile); err != nil {
			return nil, Invalid(err)
		}
	}
	if err := detect(c); err != nil {
		return nil, err
	}
	if errs := config.Validate(c); len(errs) > 0 {
		return nil, Invalid(errs.ToAggregate())
	}
	return c, nil
}

// Locate returns the configuration of the cluster that flags and variables point to: what it last ran with, or, where
// nothing ever ran in its data directory, defaults. It asks the machine nothing.
func Locate(flags *pflag.FlagSet, environ []string) (*config.Config, error) {
	c, err := Read(flags, environ)
	if err != nil {
		return nil, err
	}
	config.SetDefaults(c)
	kept, err := datadir.Kept(c.DataDir)
	if err != nil {
		return nil, err
	}
	if kept != nil {
		kept.DataDir = c.DataDir // the directory may have been moved
		config.SetDefaults(kept)
		return kept, nil
	}
	return c, nil
}

// Read merges file, variables and flags, and fills in nothing but the data directory, as an absolute path.
func Read(flags *pflag.FlagSet, environ []string) (*config.Config, error) {
	c := &config.Config{}
	path, named := File(flags, environ)
	err := readFile(path, named, c)
	if err != nil {
		return nil, err
	}
	if err := readEnv(environ, c); err != nil {
		return nil, err
	}
	for _, f := range config.Fields() {
		flag := flags.Lookup(f.Flag)
		if flag == nil || !flag.Changed {
			continue
		}
		value := flag.Value.String()
		if list, ok := flag.Value.(pflag.SliceValue); ok {
			value = strings.Join(list.GetSlice(), " ")
		}
		if err := f.Set(c, value); err != nil {
			return nil, Invalid(fmt.Errorf("--%s: %w", f.Flag, err))
		}
	}
	if c.DataDir == "" {
		if c.DataDir, err = defaultDataDir(c.Runtime, os.Geteuid(), environ); err != nil {
			return nil, err
		}
	}
	if c.DataDir, err = filepath.Abs(c.DataDir); err != nil {
		return nil, fmt.Errorf("resolve data directory: %w", err)
	}
	return c, nil
}

// DefaultDataDir is the directory of the cluster that a person means who names none: a user's own, where there is one, or else the
// machine's.
func DefaultDataDir(environ []string) string {
	dir, err := defaultDataDir("", os.Geteuid(), environ)
	if err != nil {
		return config.DefaultDataDir
	}
	return dir
}

// defaultDataDir is where a cluster is that nobody named a directory for. Only root can have one with containers, in
// /var/lib/hivemind; a simulated one of another user is with the user's own data.
func defaultDataDir(runtime string, uid int, environ []string) (string, error) {
	if uid == 0 {
		return config.DefaultDataDir, nil
	}
	own := userDataDir(environ)
	if runtime == config.RuntimeSimulated && own == "" {
		return "", Invalid(errors.New("dataDir: neither XDG_DATA_HOME nor HOME says where your data is: name a directory with --data-dir"))
	}
	if runtime == config.RuntimeSimulated {
		return own, nil
	}
	if own != "" && runtime == "" {
		if kept, err := datadir.Kept(own); kept != nil || err != nil {
			return own, err
		}
	}
	return config.DefaultDataDir, nil
}

// userDataDir follows the XDG Base Directory Specification; empty where the environment does not tell.
func userDataDir(environ []string) string {
	var dir string
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !filepath.IsAbs(value) {
			continue
		}
		switch name {
		case "XDG_DATA_HOME":
			return filepath.Join(value, "hivemind")
		case "HOME":
			dir = filepath.Join(value, ".local", "share", "hivemind")
		}
	}
	return dir
}

// File is the path of the configuration file, and whether a person named it: then it must exist.
func File(flags *pflag.FlagSet, environ []string) (path string, named bool) {
	if flag := flags.Lookup(FileFlag); flag != nil && flag.Changed {
		return flag.Value.String(), true
	}
	for _, entry := range environ {
		if value, ok := strings.CutPrefix(entry, FileEnv+"="); ok && value != "" {
			return value, true
		}
	}
	return DefaultFile, false
}

func readFile(path string, named bool, c *config.Config) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if err := config.Parse(text, c); err != nil {
		return Invalid(fmt.Errorf("%s: %w", path, err))
	}
	return nil
}

func readEnv(environ []string, c *config.Config) error {
	fields := config.Fields()
	known := make([]string, len(fields), len(fields)+1)
	for i, f := range fields {
		known[i] = f.Env
	}
	known = append(known, FileEnv)
	var errs []error
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, config.EnvPrefix) || name == FileEnv || isServiceLink(name, value) {
			continue
		}
		i := slices.Index(known, name)
		if i < 0 {
			errs = append(errs, fmt.Errorf("unknown variable %s: did you mean %s?", name, config.Nearest(name, known)))
			continue
		}
		if err := fields[i].Set(c, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	if len(errs) > 0 {
		return Invalid(errors.Join(errs...))
	}
	return nil
}

// isServiceLink tells the variables that Kubernetes gives a container for a Service called hivemind or hivemind-…
// from those that a person sets.
func isServiceLink(name, value string) bool {
	protocol, _, _ := strings.Cut(value, "://")
	return protocol != value && slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) || strings.Contains(name, "_SERVICE_HOST") || strings.Contains(name, "_SERVICE_PORT") ||
		strings.Contains(name, "_TCP_") || strings.Contains(name, "_UDP_")
}

// ErrInvalid marks errors of the person's making: of usage, not of the machine.
var ErrInvalid = errors.New("the configuration is not valid")

// Invalid marks err as ErrInvalid.
func Invalid(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrInvalid, err)
}

// Marshal writes a configuration as the file that Read takes.
func Marshal(c *config.Config) ([]byte, error) {
	return yaml.Marshal(c)
}
