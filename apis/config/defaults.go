// SPDX-License-Identifier: Apache-2.0

package config

import "net/netip"

// Defaults that other programs name too.
const (
	DefaultDataDir    = "/var/lib/hivemind"
	RuntimeContainerd = "containerd"
	RuntimeSimulated  = "simulated"

	AuditFormatJSON   = "json"
	AuditFormatLegacy = "legacy"
)

// SetDefaults fills what is not set, but for what only the machine knows (Node.Name, Node.IP, Network.MTU and
// Network.UpstreamResolvers, which pkg/config finds out).
func SetDefaults(c *Config) {
	setDefault(&c.DataDir, DefaultDataDir)
	if len(c.Roles) == 0 {
		c.Roles = []string{RoleServer, RoleAgent}
	}
	setDefault(&c.Runtime, RuntimeContainerd)
	setDefault(&c.Node.KubeletPort, 10250)
	setDefault(&c.Node.MaxPods, 110)
	setDefault(&c.API.Port, 6443)
	if c.Runtime == RuntimeSimulated {
		setSimulatedDefaults(c)
	}
	setDefault(&c.Network.PodCIDR, "10.42.0.0/16")
	setDefault(&c.Network.ServiceCIDR, "10.43.0.0/16")
	if prefix, err := netip.ParsePrefix(c.Network.ServiceCIDR); err == nil {
		setDefault(&c.Network.ClusterDNS, nthAddress(prefix, 10).String())
	}
	setDefault(&c.Network.ClusterDomain, "cluster.local")
	setDefault(&c.Network.NodePortRange, "30000-32767")
	setDefault(&c.Storage.QuotaBytes, 8<<30)
	if len(c.Encryption.Resources) == 0 {
		c.Encryption.Resources = []string{"secrets"}
	}
	if c.Audit.PolicyFile != "" {
		setAuditDefaults(c)
	}
	setDefault(&c.Log.Level, "info")
	setDefault(&c.Log.Format, "text")
}

// setSimulatedDefaults makes room for thousands of nodes: their addresses are on no link, and so can collide with none.
func setSimulatedDefaults(c *Config) {
	if c.Nodes == nil {
		c.Nodes = new(1)
	}
	setDefault(&c.Network.PodCIDR, "10.64.0.0/10")
	setDefault(&c.Simulated.CPU, "32")
	setDefault(&c.Simulated.Memory, "256Gi")
}

// setAuditDefaults bounds what audit logs take to about a gigabyte, where kube-apiserver keeps all.
func setAuditDefaults(c *Config) {
	setDefault(&c.Audit.LogPath, c.Path("logs", "audit.log"))
	for field, value := range map[**int]int{&c.Audit.LogMaxAge: 30, &c.Audit.LogMaxBackup: 10, &c.Audit.LogMaxSize: 100} {
		setDefault(field, &value)
	}
	setDefault(&c.Audit.LogFormat, AuditFormatJSON)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// nthAddress is the address n after the first of prefix.
func nthAddress(prefix netip.Prefix, n int) netip.Addr {
	addr := prefix.Masked().Addr()
	for range n {
		addr = addr.Next()
	}
	return addr
}
