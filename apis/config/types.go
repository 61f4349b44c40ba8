// SPDX-License-Identifier: Apache-2.0

// Package config is the one schema of Hivemind's configuration: what `hivemind up` takes from flags, HIVEMIND_*
// variables and a YAML file, and what hivemindd is started with. Types, defaults and validation; no I/O.
package config

// Roles of a hivemindd process.
const (
	RoleServer = "server" // storage, API server, controllers, scheduler
	RoleAgent  = "agent"  // node agent, network, DNS
)

// Config is everything that can be set. The zero value of a field means its default (see SetDefaults).
type Config struct {
	// DataDir holds all state; two clusters on one machine differ in it. Default /var/lib/hivemind.
	DataDir string `json:"dataDir,omitempty"`
	// Roles this process plays. Default both.
	Roles []string `json:"roles,omitempty"`
	// Runtime is containerd or simulated.
	Runtime string `json:"runtime,omitempty"`
	// Nodes is how many nodes the simulated runtime has, all in this process; with 0 the cluster has none. Default 1.
	Nodes     *int      `json:"nodes,omitempty"`
	Node      Node      `json:"node,omitempty"`
	API       API       `json:"api,omitempty"`
	Network   Network   `json:"network,omitempty"`
	Simulated Simulated `json:"simulated,omitempty"`
	// Registries are image registries that are reached in another way than by HTTPS at their own names.
	Registries []Registry `json:"registries,omitempty" flag:"registry-mirror"`
	Storage    Storage    `json:"storage,omitempty"`
	Encryption Encryption `json:"encryption,omitempty"`
	Audit      Audit      `json:"audit,omitempty"`
	Log        Log        `json:"log,omitempty"`
}

// Node is this machine as a member of the cluster.
type Node struct {
	// Name of the Node object. Default: the host name in lower case.
	Name string `json:"name,omitempty"`
	// IP that other nodes and the API server reach this node by. Default: the address of the default route's link.
	IP          string            `json:"ip,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	KubeletPort int               `json:"kubeletPort,omitempty"` // Default 10250; the simulated runtime does not listen on it.
	MaxPods     int               `json:"maxPods,omitempty"`     // Default 110.
}

// API is how the API server is reached.
type API struct {
	// Port that the API server listens on, on loopback and on Node.IP. Default 6443.
	Port int `json:"port,omitempty"`
	// ExtraSANs are further names and addresses for its certificate.
	ExtraSANs []string `json:"extraSANs,omitempty"`
	// AuthenticationConfig is the path of a file of kind AuthenticationConfiguration (apiserver.config.k8s.io): OpenID Connect providers
	// and other issuers of tokens, and who may come without credentials. It is read again when it changes. Default none.
	AuthenticationConfig string `json:"authenticationConfig,omitempty" flag:"authentication-config"`
}

// Network is the cluster's address plan.
type Network struct {
	PodCIDR           string   `json:"podCIDR,omitempty"`           // Default 10.42.0.0/16, simulated 10.64.0.0/10; each node gets a /24 of it.
	ServiceCIDR       string   `json:"serviceCIDR,omitempty"`       // Default 10.43.0.0/16.
	ClusterDNS        string   `json:"clusterDNS,omitempty"`        // Default: the tenth address of ServiceCIDR.
	ClusterDomain     string   `json:"clusterDomain,omitempty"`     // Default cluster.local.
	NodePortRange     string   `json:"nodePortRange,omitempty"`     // Default 30000-32767.
	MTU               int      `json:"mtu,omitempty"`               // Default: that of the link with Node.IP.
	UpstreamResolvers []string `json:"upstreamResolvers,omitempty"` // Default: those of the host's resolv.conf.
}

// Simulated is how the nodes of the simulated runtime behave. Annotations of a pod win over the delays; see docs/simulated.md.
type Simulated struct {
	// PullDelay is how long it takes to pull an image that the node does not have, as 1.5s or 200ms. Default none.
	PullDelay string `json:"pullDelay,omitempty"`
	// StartDelay is how long it takes to start a container. Default none.
	StartDelay string `json:"startDelay,omitempty"`
	// CPU and Memory are the capacity of each node, as quantities. Default 32 and 256Gi.
	CPU    string `json:"cpu,omitempty"`
	Memory string `json:"memory,omitempty"`
	// Zones is how many zones the nodes are spread over: node 0 is in zone-0, node 1 in zone-1 and so on around. Default 0: nodes
	// have no zone.
	Zones int `json:"zones,omitempty"`
	// Registries are those that images can be pulled from, by their hosts as in image references, such as docker.io. Default every one.
	Registries []string `json:"registries,omitempty"`
}

// Storage is the embedded etcd.
type Storage struct {
	// QuotaBytes is the size at which writes are refused until space is freed. Default 8 GiB.
	QuotaBytes int64 `json:"quotaBytes,omitempty"`
	// UnsafeNoFsync trades crash safety for speed; for throw-away clusters in tests alone.
	UnsafeNoFsync bool `json:"unsafeNoFsync,omitempty"`
}

// Encryption is what the storage keeps encrypted.
type Encryption struct {
	// Resources whose objects are encrypted, each as resource, or as resource.group: secrets, widgets.example.com. None, as
	// the only one, switches encryption off. Default secrets.
	Resources []string `json:"resources,omitempty"`
}

// None, as the only one of Encryption.Resources, is for no resource at all.
const None = "none"

// Encrypted lists the resources whose objects are encrypted.
func (e *Encryption) Encrypted() []string {
	if len(e.Resources) == 1 && e.Resources[0] == None {
		return nil
	}
	return e.Resources
}

// Audit is the log of requests to the API. It is off unless there is a policy. The names are those of kube-apiserver's flags.
type Audit struct {
	// PolicyFile says which requests are logged, and how much of them: an audit.k8s.io/v1 Policy. Default none.
	PolicyFile string `json:"policyFile,omitempty"`
	// LogPath is the file that events are written to, a line each; - is for standard output. Default logs/audit.log in the data directory.
	LogPath string `json:"logPath,omitempty"`
	// LogMaxAge is for how many days a file that was rotated is kept; 0 for ever. Default 30.
	LogMaxAge *int `json:"logMaxAge,omitempty" flag:"audit-log-maxage"`
	// LogMaxBackup is how many files that were rotated are kept; 0 for all. Default 10.
	LogMaxBackup *int `json:"logMaxBackup,omitempty" flag:"audit-log-maxbackup"`
	// LogMaxSize is the size in MB at which the file is rotated; 0 for never. Default 100.
	LogMaxSize *int `json:"logMaxSize,omitempty" flag:"audit-log-maxsize"`
	// LogFormat is json or legacy. Default json.
	LogFormat string `json:"logFormat,omitempty"`
}

// Log is what hivemindd writes to its log.
type Log struct {
	Level  string `json:"level,omitempty"`  // debug, info, warn or error. Default info.
	Format string `json:"format,omitempty"` // text or json. Default text.
}
