// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFieldsHaveThreeNamesAndAUse(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Fields() {
		if f.Usage == "" {
			t.Errorf("%s has no usage", f.Key)
		}
		if seen[f.Flag] {
			t.Errorf("two keys have the flag --%s", f.Flag)
		}
		seen[f.Flag] = true
	}
	for key, want := range map[string][2]string{
		"dataDir":               {"data-dir", "HIVEMIND_DATA_DIR"},
		"network.podCIDR":       {"network-pod-cidr", "HIVEMIND_NETWORK_POD_CIDR"},
		"api.extraSANs":         {"api-extra-sans", "HIVEMIND_API_EXTRA_SANS"},
		"storage.unsafeNoFsync": {"storage-unsafe-no-fsync", "HIVEMIND_STORAGE_UNSAFE_NO_FSYNC"},
	} {
		f, err := Lookup(key)
		if err != nil || f.Flag != want[0] || f.Env != want[1] {
			t.Errorf("Lookup(%s) = --%s, %s, %v; want %v", key, f.Flag, f.Env, err, want)
		}
	}
}

func TestSetThenGet(t *testing.T) {
	for _, c := range []struct{ key, value, want, wantErr string }{
		{"api.port", "7443", "7443", ""},
		{"api.port", "many", "0", `"many" is not a whole number`},
		{"api.port", "99999999999999999999", "0", "is not a whole number"},
		{"storage.unsafeNoFsync", "true", "true", ""},
		{"storage.unsafeNoFsync", "perhaps", "false", "neither true nor false"},
		{"api.extraSANs", "a.example, 10.0.0.1,", "a.example,10.0.0.1", ""},
		{"node.labels", "b=2,a=1,empty=", "a=1,b=2,empty=", ""},
		{"node.labels", "a", "", `"a" is not key=value`},
	} {
		f, err := Lookup(c.key)
		if err != nil {
			t.Fatal(err)
		}
		cfg := &Config{}
		err = f.Set(cfg, c.value)
		if (err != nil) != (c.wantErr != "") || err != nil && !strings.Contains(err.Error(), c.wantErr) {
			t.Errorf("Set(%s, %q): error %v, want %q", c.key, c.value, err, c.wantErr)
		}
		if got := f.Get(cfg); got != c.want {
			t.Errorf("Set(%s, %q), then Get = %q, want %q", c.key, c.value, got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		text    string
		want    Config
		wantErr []string
	}{
		"empty": {},
		"everything has its kind": {
			text: "roles: [server]\napi: {port: 7443, extraSANs: [a.example]}\nnode: {labels: {disk: ssd, cores: 4}}\nstorage: {quotaBytes: 8589934592, unsafeNoFsync: true}",
			want: Config{Roles: []string{"server"}, API: API{Port: 7443, ExtraSANs: []string{"a.example"}},
				Node: Node{Labels: map[string]string{"disk": "ssd", "cores": "4"}}, Storage: Storage{QuotaBytes: 8 << 30, UnsafeNoFsync: true}},
		},
		"sections may be empty":       {text: "api:\nnetwork:\n"},
		"misspelt key":                {text: "api: {prot: 1}", wantErr: []string{`unknown key "api.prot": did you mean "api.port"?`}},
		"misspelt section":            {text: "netwrok: {mtu: 1400}", wantErr: []string{`unknown key "netwrok": did you mean "network"?`}},
		"key outside of its section":  {text: "podCIDR: 10.0.0.0/16", wantErr: []string{`did you mean "network.podCIDR"?`}},
		"key of another section":      {text: "node: {serviceCIDR: 10.0.0.0/16}", wantErr: []string{`did you mean "network.serviceCIDR"?`}},
		"wrong kinds are all told":    {text: "api: {port: high}\nnode: {maxPods: 1.5}", wantErr: []string{`api.port: "high"`, `node.maxPods: "1.5"`}},
		"value in place of a section": {text: "api: 6443", wantErr: []string{`api: "6443" is not a section`}},
		"map in place of a number":    {text: "api: {port: {a: 1}}", wantErr: []string{"api.port:"}},
		"key twice":                   {text: "runtime: simulated\nruntime: containerd", wantErr: []string{`"runtime" already set`}},
		"not YAML":                    {text: "a: [", wantErr: []string{"yaml"}},
		"not a map":                   {text: "- a", wantErr: []string{"cannot unmarshal"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Config{}
			err := Parse([]byte(c.text), &got)
			if (err != nil) != (len(c.wantErr) > 0) {
				t.Fatalf("error %v, want %q", err, c.wantErr)
			}
			for _, want := range c.wantErr {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not contain %q", err, want)
				}
			}
			if diff := cmp.Diff(c.want, got); err == nil && diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestDefaultsAreValid(t *testing.T) {
	c := &Config{}
	SetDefaults(c)
	if errs := Validate(c); len(errs) > 0 {
		t.Error(errs)
	}
	if c.Network.ClusterDNS != "10.43.0.10" {
		t.Errorf("cluster DNS is %s, not the tenth address of %s", c.Network.ClusterDNS, c.Network.ServiceCIDR)
	}
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   string // "" for valid
	}{
		"relative data directory":   {func(c *Config) { c.DataDir = "data" }, "dataDir"},
		"root as data directory":    {func(c *Config) { c.DataDir = "/" }, "dataDir"},
		"unknown role":              {func(c *Config) { c.Roles = []string{"agent", "boss"} }, `roles[1]: Unsupported value: "boss"`},
		"unknown runtime":           {func(c *Config) { c.Runtime = "docker" }, "runtime"},
		"node name in capitals":     {func(c *Config) { c.Node.Name = "Node" }, "node.name"},
		"node address is a name":    {func(c *Config) { c.Node.IP = "host" }, "node.ip"},
		"node address unspecified":  {func(c *Config) { c.Node.IP = "0.0.0.0" }, "node.ip"},
		"node address v6":           {func(c *Config) { c.Node.IP = "2001:db8::1" }, ""},
		"label with a bad key":      {func(c *Config) { c.Node.Labels = map[string]string{"a b": "c"} }, "node.labels[a b]"},
		"label with a bad value":    {func(c *Config) { c.Node.Labels = map[string]string{"a": "c d"} }, "node.labels[a]"},
		"no pods":                   {func(c *Config) { c.Node.MaxPods = -1 }, "node.maxPods"},
		"port out of range":         {func(c *Config) { c.API.Port = 65536 }, "api.port"},
		"ports alike":               {func(c *Config) { c.Node.KubeletPort = c.API.Port }, "node.kubeletPort"},
		"SAN with a wildcard":       {func(c *Config) { c.API.ExtraSANs = []string{"*.example.com", "::1"} }, ""},
		"SAN with a port":           {func(c *Config) { c.API.ExtraSANs = []string{"example.com:6443"} }, "api.extraSANs[0]"},
		"pods' range not a range":   {func(c *Config) { c.Network.PodCIDR = "10.42.0.0" }, "network.podCIDR"},
		"pods' range has host bits": {func(c *Config) { c.Network.PodCIDR = "10.42.1.0/16" }, "10.42.0.0/16"},
		"pods' range too small":     {func(c *Config) { c.Network.PodCIDR = "10.42.0.0/25" }, "/24 or larger"},
		"pods' range v6":            {func(c *Config) { c.Network.PodCIDR = "fd00::/64" }, "IPv4"},
		"ranges overlap":            {func(c *Config) { c.Network.PodCIDR = "10.0.0.0/8" }, "must not overlap"},
		"DNS outside of services":   {func(c *Config) { c.Network.ClusterDNS = "10.96.0.10" }, "network.clusterDNS"},
		"domain with a dot at last": {func(c *Config) { c.Network.ClusterDomain = "cluster.local." }, "network.clusterDomain"},
		"node ports reversed":       {func(c *Config) { c.Network.NodePortRange = "32767-30000" }, "network.nodePortRange"},
		"one node port":             {func(c *Config) { c.Network.NodePortRange = "30000" }, "network.nodePortRange"},
		"MTU of 0 is the link's":    {func(c *Config) { c.Network.MTU = 0 }, ""},
		"MTU too small":             {func(c *Config) { c.Network.MTU = 100 }, "network.mtu"},
		"resolver with a port":      {func(c *Config) { c.Network.UpstreamResolvers = []string{"1.1.1.1:53", "2001:db8::1"} }, ""},
		"resolver is a name":        {func(c *Config) { c.Network.UpstreamResolvers = []string{"dns.example"} }, "network.upstreamResolvers[0]"},
		"tiny quota":                {func(c *Config) { c.Storage.QuotaBytes = 1 << 20 }, "storage.quotaBytes"},
		"encrypted custom objects":  {func(c *Config) { c.Encryption.Resources = []string{"secrets", "widgets.example.com"} }, ""},
		"no encryption":             {func(c *Config) { c.Encryption.Resources = []string{"none"} }, ""},
		"no encryption, and some":   {func(c *Config) { c.Encryption.Resources = []string{"none", "secrets"} }, "encryption.resources[0]: Invalid value: \"none\": must be the only one"},
		"encrypted by kind":         {func(c *Config) { c.Encryption.Resources = []string{"secret"} }, "did you mean secrets?"},
		"everything encrypted":      {func(c *Config) { c.Encryption.Resources = []string{"*.*"} }, "encryption.resources[0]"},
		"encrypted by version":      {func(c *Config) { c.Encryption.Resources = []string{"secrets/v1"} }, "without a version"},
		"encrypted in capitals":     {func(c *Config) { c.Encryption.Resources = []string{"Widgets.example.com"} }, "lower case"},
		"events of another name":    {func(c *Config) { c.Encryption.Resources = []string{"events.events.k8s.io"} }, "must be events"},
		"audit log without policy":  {func(c *Config) { c.Audit.LogPath = "/a" }, "audit.policyFile: Required value"},
		"audit":                     {auditWith(func(*Audit) {}), ""},
		"audit to standard output":  {auditWith(func(a *Audit) { a.LogPath = "-" }), ""},
		"relative policy":           {auditWith(func(a *Audit) { a.PolicyFile = "policy.yaml" }), "audit.policyFile"},
		"relative audit log":        {auditWith(func(a *Audit) { a.LogPath = "audit.log" }), "audit.logPath"},
		"less than no backups":      {auditWith(func(a *Audit) { a.LogMaxBackup = new(-1) }), "audit.logMaxBackup: Invalid value: -1"},
		"unknown audit format":      {auditWith(func(a *Audit) { a.LogFormat = "xml" }), "audit.logFormat: Unsupported value"},
		"unknown level":             {func(c *Config) { c.Log.Level = "loud" }, "log.level"},
		"unknown format":            {func(c *Config) { c.Log.Format = "xml" }, "log.format"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := &Config{}
			SetDefaults(cfg)
			c.change(cfg)
			errs := Validate(cfg)
			if c.want == "" {
				if len(errs) > 0 {
					t.Error(errs)
				}
				return
			}
			if len(errs) != 1 || !strings.Contains(errs[0].Error(), c.want) {
				t.Errorf("errors %v, want one with %q", errs, c.want)
			}
		})
	}
}

// auditWith switches auditing on, with defaults but for what change does.
func auditWith(change func(*Audit)) func(*Config) {
	return func(c *Config) {
		c.Audit.PolicyFile = "/etc/policy.yaml"
		SetDefaults(c)
		change(&c.Audit)
	}
}

func TestAuditFlagsAreKubernetes(t *testing.T) {
	for key, flag := range map[string]string{
		"policyFile": "audit-policy-file", "logPath": "audit-log-path", "logMaxAge": "audit-log-maxage", "logMaxBackup": "audit-log-maxbackup",
		"logMaxSize": "audit-log-maxsize", "logFormat": "audit-log-format",
	} {
		if f, err := Lookup("audit." + key); err != nil || f.Flag != flag {
			t.Errorf("audit.%s is --%s, %v; want --%s", key, f.Flag, err, flag)
		}
	}
	c := &Config{}
	SetDefaults(c)
	if c.Audit != (Audit{}) {
		t.Errorf("without a policy: %+v", c.Audit)
	}
	c = &Config{DataDir: "/d", Audit: Audit{PolicyFile: "/p", LogMaxSize: new(0)}}
	SetDefaults(c)
	if a := c.Audit; a.LogPath != "/d/logs/audit.log" || *a.LogMaxAge != 30 || *a.LogMaxBackup != 10 || *a.LogMaxSize != 0 || a.LogFormat != "json" {
		t.Errorf("defaults %+v, sizes %d %d %d", a, *a.LogMaxAge, *a.LogMaxBackup, *a.LogMaxSize)
	}
}

func TestValidateSimulated(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   string // "" for valid
	}{
		"as it is":                 {func(*Config) {}, ""},
		"a thousand nodes":         {func(c *Config) { c.Nodes = new(1000) }, ""},
		"no nodes":                 {func(c *Config) { c.Nodes = new(0) }, ""},
		"less than no nodes":       {func(c *Config) { c.Nodes = new(-1) }, "nodes: Invalid value: -1"},
		"more nodes than ranges":   {func(c *Config) { c.Nodes, c.Network.PodCIDR = new(300), "10.42.0.0/16" }, "has addresses for 256 nodes, a /24 each"},
		"nodes of many pods":       {func(c *Config) { c.Nodes, c.Node.MaxPods, c.Network.PodCIDR = new(65), 1000, "10.42.0.0/16" }, "has addresses for 64 nodes, a /22 each"},
		"names too long":           {func(c *Config) { c.Nodes, c.Node.Name = new(11), strings.Repeat("a", 61) }, "more than 63 characters"},
		"nodes without simulation": {func(c *Config) { c.Runtime, c.Nodes, c.Simulated = RuntimeContainerd, new(3), Simulated{} }, "add runtime: simulated"},
		"settings without it":      {func(c *Config) { c.Runtime, c.Nodes = RuntimeContainerd, nil }, "simulated: Forbidden"},
		"delays":                   {func(c *Config) { c.Simulated.PullDelay, c.Simulated.StartDelay = "1.5s", "0s" }, ""},
		"delay without a unit":     {func(c *Config) { c.Simulated.PullDelay = "5" }, "simulated.pullDelay"},
		"delay into the past":      {func(c *Config) { c.Simulated.StartDelay = "-1s" }, "simulated.startDelay"},
		"no CPU":                   {func(c *Config) { c.Simulated.CPU = "0" }, "simulated.cpu"},
		"not a quantity":           {func(c *Config) { c.Simulated.Memory = "much" }, "simulated.memory"},
		"less than no zones":       {func(c *Config) { c.Simulated.Zones = -1 }, "simulated.zones"},
		"registries":               {func(c *Config) { c.Simulated.Registries = []string{"docker.io", "10.0.0.5:5000"} }, ""},
		"a registry with a path":   {func(c *Config) { c.Simulated.Registries = []string{"docker.io/library"} }, "simulated.registries[0]: Invalid"},
		"any registry":             {func(c *Config) { c.Simulated.Registries = []string{"docker.io", "*"} }, "simulated.registries[1]: Invalid"},
		"registries of containerd": {func(c *Config) {
			c.Runtime, c.Nodes, c.Simulated = RuntimeContainerd, nil, Simulated{Registries: []string{"docker.io"}}
		}, "simulated: Forbidden"},
		"one port for both": {func(c *Config) { c.API.Port = c.Node.KubeletPort }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := &Config{Runtime: RuntimeSimulated}
			SetDefaults(cfg)
			c.change(cfg)
			errs := Validate(cfg)
			if (c.want == "") != (len(errs) == 0) || (c.want != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), c.want))) {
				t.Errorf("errors %v, want one with %q", errs, c.want)
			}
		})
	}
}

func TestNodeNames(t *testing.T) {
	c := &Config{Node: Node{Name: "host"}}
	if got := c.NodeName(0) + " " + c.NodeName(1) + " " + c.NodeName(12); got != "host host-1 host-12" {
		t.Errorf("nodes are called %s", got)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"api.port", "api.extraSANs", "network.podCIDR", "node.maxPods"}
	for name, want := range map[string]string{
		"api.prot": "api.port", "port": "api.port", "PODCIDR": "network.podCIDR", "node.maxpod": "node.maxPods", "extraSAN": "api.extraSANs",
	} {
		if got := Nearest(name, known); got != want {
			t.Errorf("Nearest(%s) = %s, want %s", name, got, want)
		}
	}
	if got := Nearest("a", nil); got != "" {
		t.Errorf("Nearest of nothing = %q", got)
	}
}
