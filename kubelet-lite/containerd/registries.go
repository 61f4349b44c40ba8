// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hivemind-project/hivemind/apis/config"
)

// registryMark begins each hosts.toml that was written here.
const registryMark = "# Written by hivemindd from the registries of its configuration.\n"

// writeRegistries writes a hosts.toml (docs/hosts.md of containerd) for every registry that is reached in a way of its own. Those that
// were written for others before go; what people put below certs.d by hand stays. containerd reads the files with every pull.
func writeRegistries(o *Options) error {
	old, err := filepath.Glob(filepath.Join(o.registries(), "*", "hosts.toml"))
	if err != nil {
		return err
	}
	for _, file := range old {
		text, err := os.ReadFile(file)
		if err == nil && bytes.HasPrefix(text, []byte(registryMark)) {
			err = os.Remove(file)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove what was configured for a registry: %w", err)
		}
	}
	for _, r := range o.Registries {
		// containerd says in its log alone that it cannot read them, and asks the registry itself.
		for _, file := range []string{r.CAFile, r.CertFile, r.KeyFile} {
			if file == "" {
				continue
			}
			if _, err := os.ReadFile(file); err != nil {
				return fmt.Errorf("configure registry %s: %w", r.Host, err)
			}
		}
		dir := filepath.Join(o.registries(), registryDir(r.Host))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("configure registry %s: %w", r.Host, err)
		}
		if err := os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(registryMark+hosts(r)), 0o644); err != nil {
			return fmt.Errorf("configure registry %s: %w", r.Host, err)
		}
	}
	return nil
}

// registryDir is the directory that containerd looks into for a host: _default for all that have none.
func registryDir(host string) string {
	if host == config.AnyRegistry {
		return "_default"
	}
	return host
}

// hosts is the text of a hosts.toml. What is above the first table is about the server that is asked last, which is the registry
// itself where nothing is said.
func hosts(r config.Registry) string {
	var b strings.Builder
	mirrors := r.Endpoints
	if r.Exclusive {
		last := len(mirrors) - 1
		fmt.Fprintf(&b, "server = %s\n%s", strconv.Quote(mirrors[last]), endpointSettings(r, mirrors[last]))
		mirrors = mirrors[:last]
	}
	for _, e := range mirrors {
		fmt.Fprintf(&b, "[host.%s]\n%s", strconv.Quote(e), endpointSettings(r, e))
	}
	return b.String()
}

// endpointSettings are those of one endpoint. With any that is about TLS, containerd would try TLS on a port of plain HTTP first.
func endpointSettings(r config.Registry, endpoint string) string {
	var b strings.Builder
	b.WriteString("capabilities = [\"pull\", \"resolve\"]\n")
	u, err := url.Parse(endpoint)
	if err != nil { // it has been validated
		return b.String()
	}
	if strings.HasPrefix(u.Path, "/v2/") {
		b.WriteString("override_path = true\n")
	}
	if u.Scheme == "http" {
		return b.String()
	}
	if r.SkipVerify {
		b.WriteString("skip_verify = true\n")
	}
	if r.CAFile != "" {
		fmt.Fprintf(&b, "ca = %s\n", strconv.Quote(r.CAFile))
	}
	if r.CertFile != "" {
		fmt.Fprintf(&b, "client = [[%s, %s]]\n", strconv.Quote(r.CertFile), strconv.Quote(r.KeyFile))
	}
	return b.String()
}
