// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/hivemind-project/hivemind/pkg/network/bridge"
	"github.com/hivemind-project/hivemind/pkg/network/ipam"
	"github.com/hivemind-project/hivemind/pkg/network/nettest"
	"github.com/hivemind-project/hivemind/pkg/network/nft"
)

// TestMain is also the plugin: the tests execute themselves as a runtime executes it.
func TestMain(m *testing.M) {
	if os.Getenv("CNI_COMMAND") != "" {
		skel.PluginMainFuncs(Funcs(), version.All, "test")
		return
	}
	nettest.Main(m)
}

const (
	podCIDR = "10.200.0.0/24"
	gateway = "10.200.0.1"
)

// node is a machine with a bridge and a plugin configuration.
type node struct {
	t    testing.TB
	dir  string
	conf Config
}

func newNode(t testing.TB) *node {
	nettest.Require(t)
	dir := t.TempDir()
	n := &node{t: t, dir: dir, conf: Config{
		Name: "hivemind-test", Bridge: "hm-test", Table: "hivemind-test", MTU: 1400,
		Subnets: []netip.Prefix{netip.MustParsePrefix(podCIDR)}, LeaseDir: filepath.Join(dir, "leases"),
	}}
	err := bridge.Setup(context.Background(), bridge.Options{
		Name: n.conf.Bridge, Table: n.conf.Table, PodCIDR: n.conf.Subnets[0], MTU: 1400,
		ClusterCIDR: netip.MustParsePrefix("10.200.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.201.0.0/16"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bridge.Cleanup(n.conf.Bridge, n.conf.Table); err != nil {
			t.Error(err)
		}
	})
	if err := WriteConfig(filepath.Join(dir, "net.d"), n.conf); err != nil {
		t.Fatal(err)
	}
	return n
}

// stdin is the configuration as libcni hands it to a plugin.
func (n *node) stdin(extra map[string]any) []byte {
	n.t.Helper()
	data, err := os.ReadFile(filepath.Join(n.dir, "net.d", ConfigFile))
	if err != nil {
		n.t.Fatal(err)
	}
	var list struct {
		CNIVersion, Name string
		Plugins          []map[string]any
	}
	if err := json.Unmarshal(data, &list); err != nil {
		n.t.Fatal(err)
	}
	conf := list.Plugins[0]
	conf["cniVersion"], conf["name"] = list.CNIVersion, list.Name
	for k, v := range extra {
		conf[k] = v
	}
	if data, err = json.Marshal(conf); err != nil {
		n.t.Fatal(err)
	}
	return data
}

func (n *node) exec(command, id, netns string, extra map[string]any) ([]byte, error) {
	n.t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "CNI_COMMAND="+command, "CNI_CONTAINERID="+id, "CNI_NETNS="+netns, "CNI_IFNAME=eth0", "CNI_PATH=/")
	cmd.Stdin = bytes.NewReader(n.stdin(extra))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s%s", command, id, err, out, stderr.Bytes())
	}
	return out, err
}

// add attaches a new namespace, and returns it and its address.
func (n *node) add(id string, extra map[string]any) (*nettest.NS, string) {
	n.t.Helper()
	ns := nettest.New(n.t)
	out, err := n.exec("ADD", id, ns.Path, extra)
	if err != nil {
		n.t.Fatal(err)
	}
	r := &current.Result{}
	if err := json.Unmarshal(out, r); err != nil {
		n.t.Fatalf("result %s: %v", out, err)
	}
	if len(r.IPs) != 1 || r.IPs[0].Gateway.String() != gateway || r.Interfaces[*r.IPs[0].Interface].Sandbox != ns.Path || r.CNIVersion != Version {
		n.t.Fatalf("result %s", out)
	}
	return ns, r.IPs[0].Address.IP.String()
}

func (n *node) leases() []ipam.Lease {
	n.t.Helper()
	pool, err := ipam.Open(n.conf.LeaseDir, n.conf.Subnets)
	if err != nil {
		n.t.Fatal(err)
	}
	leases, err := pool.Leases()
	if err != nil {
		n.t.Fatal(err)
	}
	return leases
}

// ports counts the pods' links on the node.
func (n *node) ports() (count int) {
	links, err := netlink.LinkList()
	if err != nil {
		n.t.Fatal(err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "veth") {
			count++
		}
	}
	return count
}

func hostPort(mappings ...ipam.PortMapping) map[string]any {
	return map[string]any{"runtimeConfig": map[string]any{"portMappings": mappings}}
}

func TestPodsReachEachOtherTheNodeAndTheWorld(t *testing.T) {
	n := newNode(t)
	world := nettest.Connect(t, "192.0.2.1", "192.0.2.9")
	a, ipA := n.add("a", nil)
	b, ipB := n.add("b", nil)
	b.ServeTCP(ipB+":80", "b")
	a.ServeTCP("127.0.0.1:81", "a-loopback")
	nettest.Here(t).ServeTCP(gateway+":80", "node")
	world.ServeTCP("192.0.2.9:80", "world")

	for _, c := range []struct {
		what, address, name, client string
		from                        *nettest.NS
	}{
		{"pod to pod, with its own address", ipB + ":80", "b", ipA, a},
		{"pod to its gateway", gateway + ":80", "node", ipA, a},
		{"node to pod", ipB + ":80", "b", gateway, nettest.Here(t)},
		{"pod to the world, masqueraded", "192.0.2.9:80", "world", "192.0.2.1", a},
		{"pod to its own loopback", "127.0.0.1:81", "a-loopback", "127.0.0.1", a},
	} {
		name, client, err := c.from.Get("tcp", c.address)
		if err != nil || name != c.name || client != c.client {
			t.Errorf("%s: got %q from %q, %v; want %q from %q", c.what, name, client, err, c.name, c.client)
		}
	}
	var mtu int
	err := a.Do(func() error {
		l, err := net.InterfaceByName("eth0")
		if err == nil {
			mtu = l.MTU
		}
		return err
	})
	if err != nil || mtu != 1400 {
		t.Errorf("MTU in the pod is %d, %v; want 1400", mtu, err)
	}
}

func TestPodCannotReachTheNodesLoopback(t *testing.T) {
	n := newNode(t)
	a, _ := n.add("a", nil)
	nettest.Here(t).ServeTCP("127.0.0.1:82", "secret")
	err := a.Do(func() error { // as an attacker in the pod would
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/eth0/route_localnet", []byte("1"), 0o644); err != nil {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		own, err := netlink.ParseAddr("127.0.0.1/8")
		if err != nil {
			return err
		}
		if err := netlink.AddrDel(lo, own); err != nil {
			return err
		}
		_, dst, _ := net.ParseCIDR("127.0.0.1/32")
		return netlink.RouteReplace(&netlink.Route{LinkIndex: eth0.Attrs().Index, Dst: dst, Gw: net.ParseIP(gateway), Flags: int(netlink.FLAG_ONLINK)})
	})
	if err != nil {
		t.Fatal(err)
	}
	if conn, err := a.DialWithin(500*time.Millisecond, "tcp", "127.0.0.1:82"); err == nil {
		conn.Close()
		t.Error("a pod reached the node's loopback")
	}
}

func TestDelIsIdempotentAndLeavesNothing(t *testing.T) {
	n := newNode(t)
	ns, _ := n.add("a", hostPort(ipam.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}))
	if n.ports() != 1 || len(n.leases()) != 1 {
		t.Fatalf("after ADD: %d links, %d leases", n.ports(), len(n.leases()))
	}
	for _, path := range []string{ns.Path, ns.Path, "", "/run/no-such-namespace"} {
		if out, err := n.exec("DEL", "a", path, nil); err != nil || len(out) > 0 {
			t.Errorf("DEL with namespace %q: %s %v", path, out, err)
		}
	}
	if n.ports() != 0 || len(n.leases()) != 0 {
		t.Errorf("after DEL: %d links, leases %v", n.ports(), n.leases())
	}
	if err := checkHostPorts(n.conf.Table, []netip.Addr{netip.MustParseAddr("10.200.0.2")}, []ipam.PortMapping{{HostPort: 8080, ContainerPort: 80}}); err == nil {
		t.Error("after DEL the host port still is open")
	}
}

func TestFailedAddLeavesNothing(t *testing.T) {
	n := newNode(t)
	if _, err := n.exec("ADD", "a", "/run/no-such-namespace", nil); err == nil || !strings.Contains(err.Error(), "/run/no-such-namespace") {
		t.Errorf("ADD without a namespace: %v", err)
	}
	ns := nettest.New(t)
	if _, err := n.exec("ADD", "b", ns.Path, hostPort(ipam.PortMapping{HostPort: 1, ContainerPort: 1, Protocol: "bogus"})); err == nil {
		t.Error("ADD with an unknown protocol succeeded")
	}
	if n.ports() != 0 || len(n.leases()) != 0 {
		t.Errorf("left: %d links, leases %v", n.ports(), n.leases())
	}
}

func TestAddAfterKilledAdd(t *testing.T) {
	n := newNode(t)
	ns, ip := n.add("a", nil)
	// The runtime never saw the first result; it makes a new namespace for the same sandbox.
	again := nettest.New(t)
	if _, err := n.exec("ADD", "a", again.Path, nil); err != nil {
		t.Fatal(err)
	}
	if n.ports() != 1 || len(n.leases()) != 1 || n.leases()[0].Addresses[0].String() != ip {
		t.Errorf("%d links, leases %v; want one of each, with %s", n.ports(), n.leases(), ip)
	}
	again.ServeTCP(ip+":80", "again")
	if name, _, err := nettest.Here(t).Get("tcp", ip+":80"); name != "again" {
		t.Errorf("got %q, %v", name, err)
	}
	_ = ns
}

func TestCheck(t *testing.T) {
	n := newNode(t)
	mapping := hostPort(ipam.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"})
	ns, _ := n.add("a", mapping)
	if _, err := n.exec("CHECK", "a", ns.Path, mapping); err != nil {
		t.Error(err)
	}
	if _, err := n.exec("CHECK", "a", ns.Path, hostPort(ipam.PortMapping{HostPort: 8081, ContainerPort: 80, Protocol: "tcp"})); err == nil {
		t.Error("CHECK missed a host port that is not there")
	}
	if _, err := n.exec("CHECK", "never", ns.Path, nil); err == nil {
		t.Error("CHECK of an unknown container succeeded")
	}
	err := ns.Do(func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(l)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.exec("CHECK", "a", ns.Path, mapping); err == nil || !strings.Contains(err.Error(), "eth0 is down") {
		t.Errorf("CHECK of a link that is down: %v", err)
	}
}

func TestGCEndsWhatIsNotListed(t *testing.T) {
	n := newNode(t)
	n.add("a", nil)
	n.add("b", hostPort(ipam.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "udp"}))
	n.add("c", nil)
	if _, err := n.exec("GC", "", "", map[string]any{"cni.dev/valid-attachments": []types.GCAttachment{{ContainerID: "a", IfName: "eth0"}, {ContainerID: "c", IfName: "eth0"}}}); err != nil {
		t.Fatal(err)
	}
	if err := Collect(n.conf, map[string]bool{"c": true}); err != nil {
		t.Fatal(err)
	}
	leases := n.leases()
	if len(leases) != 1 || leases[0].ContainerID != "c" || n.ports() != 1 {
		t.Errorf("left: %d links, leases %v; want those of c", n.ports(), leases)
	}
}

func TestStatus(t *testing.T) {
	n := newNode(t)
	if _, err := n.exec("STATUS", "", "", nil); err != nil {
		t.Error(err)
	}
	if err := bridge.Cleanup(n.conf.Bridge, n.conf.Table); err != nil {
		t.Fatal(err)
	}
	if _, err := n.exec("STATUS", "", "", nil); err == nil || !strings.Contains(err.Error(), `"code": 50`) {
		t.Errorf("STATUS without a bridge: %v; want code 50 (plugin not available)", err)
	}
}

func TestHostPorts(t *testing.T) {
	n := newNode(t)
	world := nettest.Connect(t, "192.0.2.1", "192.0.2.9")
	a, ipA := n.add("a", hostPort(
		ipam.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"},
		ipam.PortMapping{HostPort: 8053, ContainerPort: 53, Protocol: "udp"},
		ipam.PortMapping{HostPort: 8081, ContainerPort: 80, Protocol: "tcp", HostIP: "192.0.2.1"},
		ipam.PortMapping{ContainerPort: 81, Protocol: "tcp"},
	))
	b, ipB := n.add("b", nil)
	a.ServeTCP(ipA+":80", "a")
	a.ServeUDP(ipA+":53", "a")
	here := nettest.Here(t)
	for _, c := range []struct {
		what, network, address, client string
		from                           *nettest.NS
	}{
		{"from outside, with its own address", "tcp", "192.0.2.1:8080", "192.0.2.9", world},
		{"from outside, UDP", "udp", "192.0.2.1:8053", "192.0.2.9", world},
		{"from outside, by host IP", "tcp", "192.0.2.1:8081", "192.0.2.9", world},
		{"from another pod", "tcp", "192.0.2.1:8080", ipB, b},
		{"from the pod itself (hairpin)", "tcp", "192.0.2.1:8080", gateway, a},
		{"from the node by its address", "tcp", "192.0.2.1:8080", "192.0.2.1", here},
		{"from the node by loopback", "tcp", "127.0.0.1:8080", gateway, here},
		{"from the node by loopback, UDP", "udp", "127.0.0.1:8053", gateway, here},
	} {
		name, client, err := c.from.Get(c.network, c.address)
		if err != nil || name != "a" || client != c.client {
			t.Errorf("%s: got %q from %q, %v; want a from %q", c.what, name, client, err, c.client)
		}
	}
	if _, _, err := here.Get("tcp", "127.0.0.1:8081"); err == nil {
		t.Error("a host port with a host IP is open on another address")
	}

	// Its successor takes the ports over before the old pod is gone, and keeps them when it goes.
	c, ipC := n.add("c", hostPort(ipam.PortMapping{HostPort: 8053, ContainerPort: 53, Protocol: "udp"}))
	c.ServeUDP(ipC+":53", "c")
	conn, err := world.Dial("udp", "192.0.2.1:8053")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := n.exec("DEL", "a", a.Path, nil); err != nil {
		t.Fatal(err)
	}
	if name, _, err := nettest.Ask(conn, "udp"); name != "c" {
		t.Errorf("after the successor took over: got %q, %v; want c", name, err)
	}
	// A flow that goes on from the same client port must not be stuck to the pod that is gone.
	d, ipD := n.add("d", hostPort(ipam.PortMapping{HostPort: 8053, ContainerPort: 53, Protocol: "udp"}))
	d.ServeUDP(ipD+":53", "d")
	if name, _, err := nettest.Ask(conn, "udp"); name != "d" {
		t.Errorf("an old UDP flow: got %q, %v; want d", name, err)
	}
	if _, _, err := world.Get("tcp", "192.0.2.1:8080"); err == nil {
		t.Error("a host port of a pod that is gone is open")
	}
}

// TestTableOfAnotherVersion has pods with host ports wait for the table to be replaced, and others come and go.
func TestTableOfAnotherVersion(t *testing.T) {
	n := newNode(t)
	mapping := hostPort(ipam.PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"})
	a, _ := n.add("a", mapping)
	if err := nft.Disown(n.conf.Table); err != nil {
		t.Fatal(err)
	}
	late := nettest.New(t)
	if _, err := n.exec("ADD", "late", late.Path, mapping); err == nil || !strings.Contains(err.Error(), nft.ErrLayout.Error()) {
		t.Errorf("a host port in a table of another version: %v", err)
	}
	b, _ := n.add("b", nil)
	if _, err := n.exec("DEL", "a", a.Path, nil); err != nil {
		t.Errorf("DEL of a pod with host ports: %v", err)
	}

	c, err := nft.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseLasting()
	nft.BeginAnew(c, n.conf.Table)
	if err := QueueHostPorts(c, n.conf); err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	d, ipD := n.add("d", mapping)
	d.ServeTCP(ipD+":80", "d")
	if name, _, err := b.Get("tcp", gateway+":8080"); name != "d" {
		t.Errorf("after the table was replaced: got %q, %v; want d", name, err)
	}
}

func TestWriteConfig(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "net.d")
	c := Config{
		Name: "hivemind-01234567", Bridge: "hm-01234567", Table: "hivemind-01234567", MTU: 1450,
		Subnets: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/24")}, LeaseDir: "/var/lib/hivemind/cni/leases",
	}
	for range 2 {
		if err := WriteConfig(dir, c); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "cniVersion": "1.1.0",
  "name": "hivemind-01234567",
  "plugins": [
    {
      "type": "hivemind-cni",
      "capabilities": {
        "portMappings": true
      },
      "bridge": "hm-01234567",
      "table": "hivemind-01234567",
      "subnets": [
        "10.42.0.0/24"
      ],
      "mtu": 1450,
      "leaseDir": "/var/lib/hivemind/cni/leases"
    }
  ]
}
`
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Error(diff)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("files in the directory that the runtime watches: %v %v", entries, err)
	}
	if err := WriteConfig(dir, Config{}); err == nil {
		t.Error("an empty configuration was written")
	}
	if _, err := parseConfig([]byte(`{"name":"n","cniVersion":"1.1.0"}`)); !errors.As(err, new(*types.Error)) {
		t.Errorf("configuration without a bridge: %v", err)
	}
}

func TestRemoveResults(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cni", "results")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hivemind-0a-c1-eth0", "hivemind-0b-c2-eth0"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeResults(dir, "hivemind-0a"); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || entries[0].Name() != "hivemind-0b-c2-eth0" {
		t.Errorf("left: %v %v; want the other network's", entries, err)
	}
	for range 2 {
		if err := removeResults(dir, "hivemind-0b"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the empty directories are still there: %v", err)
	}
}

func BenchmarkAddDel(b *testing.B) {
	n := newNode(b)
	ns := nettest.New(b)
	for b.Loop() {
		if _, err := n.exec("ADD", "a", ns.Path, nil); err != nil {
			b.Fatal(err)
		}
		if _, err := n.exec("DEL", "a", ns.Path, nil); err != nil {
			b.Fatal(err)
		}
	}
}
