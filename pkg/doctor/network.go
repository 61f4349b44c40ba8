// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"runtime"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hivemind-project/hivemind/pkg/network/nft"
)

// checkNetwork tries what the pod network is made of in a namespace of its own.
func checkNetwork(m *Machine) Result {
	if m.UID != 0 {
		return Result{Severity: Warn, What: "bridges, veth pairs and nftables were not tried", Why: "only root can", Mend: "sudo hivemind doctor"}
	}
	result := make(chan Result, 1)
	go inThrowawayThread(func() { result <- tryNetwork() })
	return <-result
}

// inThrowawayThread runs do in a thread that ends with it, and so takes along what do changed of the thread's
// namespaces. It is not the first thread, which cannot end and whose namespaces are what /proc/net shows.
func inThrowawayThread(do func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		do()
		return // without unlocking: that ends the thread
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		inThrowawayThread(do)
	}()
	<-done
	runtime.UnlockOSThread()
}

func tryNetwork() Result {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return Result{Severity: Fail, What: "no network namespace can be made: " + err.Error(), Why: "each pod has one",
			Mend: "run on a machine or in a container with CAP_SYS_ADMIN, and a kernel with CONFIG_NET_NS"}
	}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "hm-try"}}
	if err := netlink.LinkAdd(bridge); err != nil {
		return noModule("bridge", err)
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "hm-try0", MasterIndex: bridge.Index}, PeerName: "hm-try1"}
	if err := netlink.LinkAdd(veth); err != nil {
		return noModule("veth", err)
	}
	return tryPacketFilter()
}

// tryPacketFilter lays a rule of each kind that the service proxy and the bridge need, one at a time, so that the one
// that is refused can be told.
func tryPacketFilter() Result {
	c := &nftables.Conn{} // its sockets are opened by this thread, and so in its namespace
	table := c.AddTable(nft.Table("hm-try"))
	if err := c.Flush(); err != nil {
		return noModule("nf_tables", err)
	}
	pre := c.AddChain(&nftables.Chain{Name: "pre", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
	post := c.AddChain(&nftables.Chain{Name: "post", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	if err := c.Flush(); err != nil {
		return noModule("nft_chain_nat", err)
	}
	target := nft.Reg(4)
	for _, f := range []struct {
		module string
		chain  *nftables.Chain
		rule   []expr.Any
	}{
		{"nft_nat", pre, append([]expr.Any{&expr.Immediate{Register: target, Data: []byte{127, 0, 0, 1}}, &expr.Immediate{Register: target + 1, Data: nft.Port(1)}}, nft.DNAT(target)...)},
		{"nft_masq", post, nft.Masquerade()},
		{"nft_ct", post, nft.CtDNAT()},
		{"nft_fib_ipv4", pre, nft.ToLocal()},
		{"nft_numgen", pre, nft.RandomModulo(nft.Reg(0), 2)},
	} {
		c.AddRule(&nftables.Rule{Table: table, Chain: f.chain, Exprs: f.rule})
		if err := c.Flush(); err != nil {
			return noModule(f.module, err)
		}
	}
	c.AddRule(&nftables.Rule{Table: table, Chain: pre, Exprs: nft.Reject()})
	if err := c.Flush(); err != nil {
		result := noModule("nft_reject_ipv4", err)
		if release, old := olderThan(rejectSince); old {
			result.What = fmt.Sprintf("Linux %s cannot reject packets before they are routed: %v", release, err)
			result.Why = "clients of a service without endpoints are refused so"
			result.Mend = fmt.Sprintf("install Linux %d.%d or newer", rejectSince[0], rejectSince[1])
		}
		return result
	}
	return ok("bridges, veth pairs and nftables")
}

// rejectSince is the first Linux whose nftables reject in prerouting.
var rejectSince = [2]int{5, 9}

// olderThan tells whether the running kernel is older than a version, and its release.
func olderThan(version [2]int) (release string, old bool) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", false
	}
	release = unix.ByteSliceToString(name.Release[:])
	return release, releaseBefore(release, version)
}

func releaseBefore(release string, version [2]int) bool {
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major < version[0] || major == version[0] && minor < version[1]
}

func noModule(names string, err error) Result {
	return Result{Severity: Fail, What: fmt.Sprintf("the kernel refuses %s: %v", names, err), Why: "pods reach each other and services through it",
		Mend: fmt.Sprintf("modprobe -a %s && printf '%%s\\n' %s > /etc/modules-load.d/hivemind.conf", names, names)}
}
