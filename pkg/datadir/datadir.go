// SPDX-License-Identifier: Apache-2.0

// Package datadir guards the data directory: which version wrote it, and which settings are part of the cluster in it
// and so cannot change. It reads and writes two small files at each start.
package datadir

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/hivemind-project/hivemind/apis/config"
)

const (
	// Format is the version of the data directory's layout and content that this program writes. It is raised where an
	// older program could not work with what a newer one wrote.
	//
	// 2: Secrets are encrypted in the storage.
	Format = 2

	versionFile = "version"
	configFile  = "config.yaml"
)

// NewerError is returned for a directory that only a newer program understands.
type NewerError struct {
	Dir       string
	Format    int
	WrittenBy string
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("data directory %s was written by hivemind %s (format %d; this one knows up to %d): "+
		"start that version or a later one, or name another directory with --data-dir", e.Dir, e.WrittenBy, e.Format, Format)
}

// Check returns an error if this program must not touch the directory of c. Nothing is written; a directory that does
// not exist is fine.
func Check(c *config.Config) error {
	format, by, err := readVersion(c.DataDir)
	if err != nil {
		return err
	}
	if format > Format {
		return &NewerError{Dir: c.DataDir, Format: format, WrittenBy: by}
	}
	kept, err := Kept(c.DataDir)
	if err != nil || kept == nil {
		return err
	}
	return checkKept(c, kept)
}

// Create makes the directory if there is none, after Check. Its mode is 0711: any user may reach a pod's volume below it.
func Create(c *config.Config) error {
	if err := Check(c); err != nil {
		return err
	}
	if err := os.MkdirAll(c.DataDir, 0o711); err != nil {
		return fmt.Errorf("create data directory: %w", err)
	}
	return nil
}

// Open creates the directory if need be, and notes in it the version of this program and the configuration.
func Open(c *config.Config, version string) error {
	if err := Create(c); err != nil {
		return err
	}
	text, err := yaml.Marshal(c)
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	note := fmt.Appendf(nil, "%d %s\n", Format, version)
	return errors.Join(replace(c.Path(configFile), text), replace(c.Path(versionFile), note))
}

// ConfigFile is where Open notes the configuration of the directory.
func ConfigFile(dataDir string) string { return filepath.Join(dataDir, configFile) }

// Kept returns the configuration that the cluster in dir last ran with; nil if there is none.
func Kept(dir string) (*config.Config, error) {
	text, err := os.ReadFile(filepath.Join(dir, configFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the cluster's configuration: %w", err)
	}
	kept := &config.Config{}
	// Keys of a newer version that can be ignored are: a version that cannot is caught by Format.
	if err := yaml.Unmarshal(text, kept); err != nil {
		return nil, fmt.Errorf("read the cluster's configuration %s: %w", filepath.Join(dir, configFile), err)
	}
	return kept, nil
}

// checkKept refuses to change what objects in the storage already depend on.
func checkKept(c, kept *config.Config) error {
	var errs []error
	for _, f := range []struct{ key, now, before string }{
		{"runtime", c.Runtime, kept.Runtime},
		{"network.podCIDR", c.Network.PodCIDR, kept.Network.PodCIDR},
		{"network.serviceCIDR", c.Network.ServiceCIDR, kept.Network.ServiceCIDR},
		{"network.clusterDomain", c.Network.ClusterDomain, kept.Network.ClusterDomain},
	} {
		if f.before != "" && f.now != f.before {
			errs = append(errs, fmt.Errorf("%s: the cluster in %s was made with %s, which cannot become %s: leave it as it was, "+
				"name another directory with --data-dir, or begin anew after `hivemind reset`", f.key, c.DataDir, f.before, f.now))
		}
	}
	return errors.Join(errs...)
}

// readVersion returns 0 for a directory without a version.
func readVersion(dir string) (format int, by string, err error) {
	path := filepath.Join(dir, versionFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", fmt.Errorf("read the data directory's version: %w", err)
	}
	number, by, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	format, err = strconv.Atoi(number)
	if err != nil {
		return 0, "", fmt.Errorf("%s holds %q, which is not a version: restore it (this program's is %d), or name another directory "+
			"with --data-dir", path, strings.TrimSpace(string(text)), Format)
	}
	return format, by, nil
}

// replace writes a file whole or not at all.
func replace(path string, content []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}
