// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/datadir"
)

func load(t *testing.T, args, environ []string) (*config.Config, error) {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return Load(flags, environ)
}

func TestPrecedence(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	text := "api: {port: 1001}\nnode: {kubeletPort: 1002, maxPods: 1003, name: from-file}\nstorage: {unsafeNoFsync: true}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := load(t,
		[]string{"--config", file, "--data-dir", filepath.Join(dir, "data"), "--api-port", "3001", "--storage-unsafe-no-fsync=false"},
		[]string{"HIVEMIND_API_PORT=2001", "HIVEMIND_NODE_KUBELET_PORT=2002", "HIVEMIND_CONFIG=/nonexistent", "PATH=/bin"})
	if err != nil {
		t.Fatal(err)
	}
	if c.API.Port != 3001 || c.Node.KubeletPort != 2002 || c.Node.MaxPods != 1003 || c.Log.Level != "info" {
		t.Errorf("flag %d, variable %d, file %d, default %s; want 3001, 2002, 1003, info", c.API.Port, c.Node.KubeletPort, c.Node.MaxPods, c.Log.Level)
	}
	if c.Storage.UnsafeNoFsync {
		t.Error("a flag cannot switch off what the file switches on")
	}
	if c.Node.Name != "from-file" || c.Node.IP == "" || c.Network.MTU == 0 {
		t.Errorf("node %+v, MTU %d: want the name of the file and the rest of the machine", c.Node, c.Network.MTU)
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("api: {prot: 1}"), 0o600); err != nil {
		t.Fatal(err)
	}
	policy := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(policy, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metdata}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args, environ []string
		want          string
		machine       bool // the machine's fault, not the person's
	}{
		"unknown key in the file":  {args: []string{"--config", bad}, want: bad + `: unknown key "api.prot": did you mean "api.port"?`},
		"unknown variable":         {environ: []string{"HIVEMIND_API_PROT=1"}, want: "unknown variable HIVEMIND_API_PROT: did you mean HIVEMIND_API_PORT?"},
		"wrong kind in a variable": {environ: []string{"HIVEMIND_API_PORT=x"}, want: `HIVEMIND_API_PORT: "x" is not a whole number`},
		"registry without a host":  {args: []string{"--registry-mirror", "http://a"}, want: `--registry-mirror: "http://a" is not HOST=ENDPOINT`},
		"wrong kind in a flag":     {args: []string{"--api-port", "x"}, want: `--api-port: "x" is not a whole number`},
		"invalid value":            {args: []string{"--api-port", "70000"}, want: "api.port: Invalid value: 70000"},
		"broken audit policy":      {args: []string{"--audit-policy-file", policy}, want: policy + `: rules[0].level: Unsupported value: "Metdata"`},
		"no audit policy there":    {environ: []string{"HIVEMIND_AUDIT_POLICY_FILE=/nonexistent.yaml"}, want: "audit.policyFile: open /nonexistent.yaml"},
		"named file is missing":    {environ: []string{"HIVEMIND_CONFIG=/nonexistent.yaml"}, want: "/nonexistent.yaml", machine: true},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, append(c.args, "--data-dir", filepath.Join(dir, "data")), c.environ)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			if errors.Is(err, ErrInvalid) == c.machine {
				t.Errorf("error %v: ErrInvalid is %v", err, !c.machine)
			}
		})
	}
}

func TestVariablesOfServicesAreNotSettings(t *testing.T) {
	_, err := load(t, []string{"--data-dir", t.TempDir()}, []string{
		"HIVEMIND_SERVICE_HOST=10.43.0.5", "HIVEMIND_SERVICE_PORT_HTTPS=6443", "HIVEMIND_PORT=tcp://10.43.0.5:6443",
		"HIVEMIND_PORT_6443_TCP_ADDR=10.43.0.5", "HIVEMIND_API_PORT=tcp://10.43.0.6:80", "HIVEMIND_DNS_PORT_53_UDP=udp://10.43.0.7:53",
	})
	if err != nil {
		t.Error(err)
	}
}

func TestRegistries(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte("registries: [{host: file.example, endpoints: [http://a]}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--config", file, "--data-dir", filepath.Join(dir, "data")}
	variable := []string{"HIVEMIND_REGISTRY_MIRROR=one.example=http://b two.example=http://c,exclusive"}
	for _, c := range []struct {
		args, environ []string
		want          string
	}{
		{nil, nil, "file.example=http://a"},
		{nil, variable, "one.example=http://b two.example=http://c,exclusive"},
		{[]string{"--registry-mirror", "x.example=http://d,http://e", "--registry-mirror=*=http://f"}, variable, "x.example=http://d,http://e *=http://f"},
	} {
		cfg, err := load(t, append(args, c.args...), c.environ)
		if err != nil {
			t.Fatal(err)
		}
		field, err := config.Lookup("registries")
		if err != nil {
			t.Fatal(err)
		}
		if got := field.Get(cfg); got != c.want {
			t.Errorf("registries %q, want %q", got, c.want)
		}
		// hivemindd reads what it is started with from the data directory.
		if err := datadir.Open(cfg, "v1"); err != nil {
			t.Fatal(err)
		}
		kept, err := datadir.Kept(cfg.DataDir)
		if err != nil || field.Get(kept) != c.want {
			t.Errorf("kept %+v, %v", kept, err)
		}
	}
}

func TestWhatIsPartOfTheClusterIsKept(t *testing.T) {
	dir := t.TempDir()
	args := []string{"--data-dir", dir}
	first, err := load(t, append(args, "--node-name", "first", "--network-pod-cidr", "10.200.0.0/16", "--network-service-cidr", "10.201.0.0/16", "--api-port", "7000"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := datadir.Open(first, "v1"); err != nil {
		t.Fatal(err)
	}
	second, err := load(t, args, nil)
	if err != nil {
		t.Fatal(err)
	}
	if second.Node.Name != "first" || second.Network.PodCIDR != "10.200.0.0/16" || second.Network.ClusterDNS != "10.201.0.10" {
		t.Errorf("node %s, pods %s, DNS %s: want those the cluster began with", second.Node.Name, second.Network.PodCIDR, second.Network.ClusterDNS)
	}
	if second.API.Port != 6443 {
		t.Errorf("port %d: what is not part of the cluster must not be kept", second.API.Port)
	}
}

func TestLocate(t *testing.T) {
	dir := t.TempDir()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags)
	if err := flags.Parse([]string{"--data-dir", dir}); err != nil {
		t.Fatal(err)
	}
	before, err := Locate(flags, nil)
	if err != nil || before.DataDir != dir || before.API.Port != 6443 {
		t.Fatalf("empty directory: %+v, %v", before, err)
	}
	before.API.Port, before.Runtime = 7000, config.RuntimeSimulated
	if err := datadir.Open(before, "v1"); err != nil {
		t.Fatal(err)
	}
	after, err := Locate(flags, nil)
	if err != nil || after.API.Port != 7000 || after.RunDir() != filepath.Join(dir, "run") {
		t.Errorf("used directory: port %d, run directory %s, %v", after.API.Port, after.RunDir(), err)
	}
}

func TestDataDirThatNobodyNamed(t *testing.T) {
	home, data := t.TempDir(), t.TempDir()
	own := filepath.Join(home, ".local", "share", "hivemind")
	environ := []string{"PATH=/bin", "HOME=" + home}
	for name, c := range map[string]struct {
		uid     int
		runtime string
		environ []string
		want    string
		wantErr string
	}{
		"root":                             {0, "", environ, config.DefaultDataDir, ""},
		"root, simulated":                  {0, config.RuntimeSimulated, environ, config.DefaultDataDir, ""},
		"a user":                           {1000, "", environ, config.DefaultDataDir, ""},
		"a user with containers":           {1000, config.RuntimeContainerd, environ, config.DefaultDataDir, ""},
		"a user, simulated":                {1000, config.RuntimeSimulated, environ, own, ""},
		"a user's data elsewhere":          {1000, config.RuntimeSimulated, append(environ, "XDG_DATA_HOME="+data), filepath.Join(data, "hivemind"), ""},
		"a place that is not absolute":     {1000, config.RuntimeSimulated, append(environ, "XDG_DATA_HOME=data"), own, ""},
		"a user without a home":            {1000, config.RuntimeSimulated, []string{"PATH=/bin"}, "", "--data-dir"},
		"a user without a home, otherwise": {1000, "", []string{"PATH=/bin"}, config.DefaultDataDir, ""},
	} {
		got, err := defaultDataDir(c.runtime, c.uid, c.environ)
		if got != c.want || (err != nil) != (c.wantErr != "") || err != nil && !strings.Contains(err.Error(), c.wantErr) {
			t.Errorf("%s: %q, %v; want %q, %q", name, got, err, c.want, c.wantErr)
		}
	}
	// One who has a cluster means it.
	kept := &config.Config{DataDir: own, Runtime: config.RuntimeSimulated}
	config.SetDefaults(kept)
	if err := datadir.Open(kept, "v1"); err != nil {
		t.Fatal(err)
	}
	if got, err := defaultDataDir("", 1000, environ); got != own || err != nil {
		t.Errorf("with a cluster: %q, %v; want %q", got, err, own)
	}
}

func TestNodesAreKept(t *testing.T) {
	args := []string{"--data-dir", t.TempDir()}
	first, err := load(t, append(args, "--runtime", "simulated", "--nodes", "7"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := datadir.Open(first, "v1"); err != nil {
		t.Fatal(err)
	}
	second, err := load(t, args, nil)
	if err != nil {
		t.Fatal(err)
	}
	if second.Runtime != config.RuntimeSimulated || *second.Nodes != 7 || second.Network.PodCIDR != "10.64.0.0/10" {
		t.Errorf("runtime %s with %d nodes in %s", second.Runtime, *second.Nodes, second.Network.PodCIDR)
	}
	if other, err := load(t, append(args, "--runtime", "containerd"), nil); err == nil {
		if err := datadir.Check(other); err == nil || !strings.Contains(err.Error(), "runtime: the cluster in") {
			t.Errorf("a simulated cluster became one with containers: %v", err)
		}
	} else {
		t.Error(err)
	}
}
