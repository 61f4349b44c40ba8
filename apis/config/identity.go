// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
)

// ID is the cluster's short name on this machine, derived from the data directory: what tells its bridge, cgroup,
// sockets and nftables table from those of another cluster beside it.
func (c *Config) ID() string {
	sum := sha256.Sum256([]byte(filepath.Clean(c.DataDir)))
	return hex.EncodeToString(sum[:4])
}

// RunDir is where sockets, pid files and network namespaces are; emptied by a reboot. The simulated runtime, which needs
// no root, has it in the data directory.
func (c *Config) RunDir() string {
	if c.Runtime == RuntimeSimulated {
		return c.Path("run")
	}
	return "/run/hivemind-" + c.ID()
}

// Bridge is the name of the link that pods are attached to.
func (c *Config) Bridge() string { return "hm-" + c.ID() }

// CgroupRoot is the cgroup below which everything of this cluster runs.
func (c *Config) CgroupRoot() string { return "/hivemind-" + c.ID() }

// Path joins elem to the data directory.
func (c *Config) Path(elem ...string) string {
	return filepath.Join(append([]string{c.DataDir}, elem...)...)
}

// AdminKubeconfig is the kubeconfig of the cluster's administrator, which the server role writes (0600).
func (c *Config) AdminKubeconfig() string { return c.Path("pki", "admin.kubeconfig") }
