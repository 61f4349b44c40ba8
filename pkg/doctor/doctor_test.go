// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/datadir"
)

// machine is one whose /proc and /sys hold files.
func machine(t *testing.T, files map[string]string) *Machine {
	t.Helper()
	root := t.TempDir()
	for path, content := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := &config.Config{DataDir: filepath.Join(t.TempDir(), "data")}
	config.SetDefaults(c)
	return &Machine{Config: c, Root: root}
}

const hybrid = `30 25 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
35 30 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
`

func TestChecksOfTheKernel(t *testing.T) {
	for name, c := range map[string]struct {
		check func(*Machine) Result
		files map[string]string
		uid   int
		want  Severity
		what  string
	}{
		"root":                 {check: checkRoot, want: OK},
		"user":                 {check: checkRoot, uid: 1000, want: Fail, what: "user 1000"},
		"cgroup v2":            {check: checkCgroups, files: map[string]string{"sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n"}, want: OK, what: "v2"},
		"cgroup v2, no memory": {check: checkCgroups, files: map[string]string{"sys/fs/cgroup/cgroup.controllers": "cpu pids"}, want: Fail, what: "memory"},
		"cgroup v1 and v2":     {check: checkCgroups, files: map[string]string{"proc/self/mountinfo": hybrid}, want: OK, what: "v1"},
		"cgroup v1, no pids": {check: checkCgroups, files: map[string]string{"proc/self/mountinfo": strings.ReplaceAll(hybrid, "pids", "freezer")},
			want: Fail, what: "pids"},
		"no cgroups":           {check: checkCgroups, files: map[string]string{"proc/self/mountinfo": ""}, want: Fail, what: "cpu"},
		"overlay is listed":    {check: checkFilesystems, files: map[string]string{"proc/filesystems": "nodev\ttmpfs\nnodev\toverlay\n"}, want: OK},
		"forwarding is on":     {check: checkForwarding, files: map[string]string{"proc/sys/net/ipv4/ip_forward": "1\n"}, want: OK, what: "is forwarded"},
		"forwarding can be on": {check: checkForwarding, files: map[string]string{"proc/sys/net/ipv4/ip_forward": "0\n"}, want: OK, what: "will be"},
		"no /proc":             {check: checkForwarding, want: Fail, what: "ip_forward"},
		"all capabilities":     {check: checkCapabilities, files: map[string]string{"proc/self/status": "CapEff:\t000001ffffffffff\n"}, want: OK},
		"no CAP_SYS_RESOURCE":  {check: checkCapabilities, files: map[string]string{"proc/self/status": "CapEff:\t000001fffeffffff\n"}, want: Warn, what: "SYS_RESOURCE"},
		"root, no CAP_NET_ADMIN": {check: checkCapabilities, files: map[string]string{"proc/self/status": "CapEff:\t000001ffffffefff\n"}, want: Fail,
			what: "NET_ADMIN"},
		"another Kubernetes":    {check: checkClusters, files: map[string]string{"proc/12/comm": "k3s-server\n", "proc/13/comm": "bash\n"}, want: Warn, what: "k3s-server runs here, as process 12"},
		"no other Kubernetes":   {check: checkClusters, files: map[string]string{"proc/12/comm": "kubectl\n"}, want: OK},
		"a clock that is right": {check: checkClock, want: OK},
	} {
		t.Run(name, func(t *testing.T) {
			m := machine(t, c.files)
			m.UID = c.uid
			got := c.check(m)
			if got.Severity != c.want || !strings.Contains(got.What, c.what) {
				t.Errorf("%+v, want %s with %q", got, c.want, c.what)
			}
			if got.Severity == Fail && (got.Why == "" || got.Mend == "") {
				t.Errorf("%+v does not say why it matters and what mends it", got)
			}
		})
	}
}

func TestTakenPortNamesWhoHasIt(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	m := machine(t, nil)
	m.Root = ""
	m.Config.Roles = []string{config.RoleServer}
	m.Config.API.Port = listener.Addr().(*net.TCPAddr).Port
	got := checkPorts(m)
	if got.Severity != Fail || !strings.Contains(got.What, fmt.Sprintf("process %d", os.Getpid())) || !strings.Contains(got.Mend, "--api-port") {
		t.Errorf("%+v", got)
	}
	m.Running = os.Getpid()
	if got := checkPorts(m); got.Severity != OK {
		t.Errorf("own port: %+v", got)
	}
}

func TestAddressMustBeOfThisMachine(t *testing.T) {
	m := machine(t, nil)
	m.Config.Node.IP = "203.0.113.77"
	if got := checkAddress(m); got.Severity != Fail || !strings.Contains(got.What, "203.0.113.77") {
		t.Errorf("%+v", got)
	}
	m.Config.Node.IP = "127.0.0.1"
	if got := checkAddress(m); got.Severity == Fail {
		t.Errorf("%+v", got)
	}
}

func TestDiskIsThatOfTheFirstFolderThatIsThere(t *testing.T) {
	m := machine(t, nil)
	m.Config.DataDir = filepath.Join(t.TempDir(), "not", "yet", "there")
	if got := checkDisk(m); got.Severity == Fail {
		t.Errorf("%+v", got)
	}
	m.Config.DataDir = "/proc/none" // a file system without room
	if got := checkDisk(m); got.Severity != Fail || got.Mend == "" {
		t.Errorf("%+v", got)
	}
}

func TestDataOfANewerVersion(t *testing.T) {
	m := machine(t, nil)
	if got := checkData(m); got.Severity != OK {
		t.Errorf("%+v", got)
	}
	if err := datadir.Open(m.Config, "v1"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.Config.Path("version"), []byte("99 v9\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := checkData(m); got.Severity != Fail || !strings.Contains(got.What, "v9") {
		t.Errorf("%+v", got)
	}
}

func TestExamineSkipsContainersForTheSimulatedRuntime(t *testing.T) {
	m := machine(t, nil)
	m.Root, m.UID = "", 1000
	m.Config.Runtime = config.RuntimeSimulated
	results, err := Examine(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Check == "root" || r.Check == "cgroups" {
			t.Errorf("%s was checked", r.Check)
		}
		if r.Check == "" || r.Severity == "" || r.What == "" {
			t.Errorf("%+v is not complete", r)
		}
	}
}

func TestNetworkIsTriedForReal(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes a network namespace")
	}
	if got := checkNetwork(machine(t, nil)); got.Severity != OK {
		t.Errorf("%+v", got)
	}
}

func TestReleaseBefore(t *testing.T) {
	for release, want := range map[string]bool{"5.8.18-generic": true, "4.19.0": true, "5.9.0-rc1": false, "5.10": false, "6.1.0-13-amd64": false, "odd": false} {
		if got := releaseBefore(release, rejectSince); got != want {
			t.Errorf("%s: %v, want %v", release, got, want)
		}
	}
}
