// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hivemind-project/hivemind/pkg/network/ipam"
	"github.com/hivemind-project/hivemind/pkg/network/nft"
)

// Host ports are elements of two maps in the cluster's table, one by (protocol, port) and one by (address, protocol,
// port) for mappings with a host IP, so a packet's cost does not grow with them. Whoever opens the first one lays
// the chains: everything here is idempotent, and one transaction each time.
type hostPorts struct {
	conn  *nftables.Conn
	table *nftables.Table
	any   *nftables.Set // protocol . port → address . port
	byIP  *nftables.Set // address . protocol . port → address . port
}

// newHostPorts opens a connection, and makes table and maps unless they are there; close the connection.
func newHostPorts(table string) (*hostPorts, error) {
	c, err := nft.Open()
	if err != nil {
		return nil, err
	}
	h, err := func() (*hostPorts, error) {
		if _, err := nft.Begin(c, table); err != nil {
			return nil, err
		}
		h, err := queueMaps(c, table)
		if err != nil {
			return nil, err
		}
		return h, c.Flush()
	}()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("nftables table %s: lay host port maps: %w", table, err), c.CloseLasting())
	}
	return h, nil
}

func queueMaps(c *nftables.Conn, table string) (*hostPorts, error) {
	anyKey, err1 := nftables.ConcatSetType(nftables.TypeInetProto, nftables.TypeInetService)
	ipKey, err2 := nftables.ConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService)
	target, err3 := nftables.ConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	h := &hostPorts{conn: c, table: nft.Table(table)}
	h.any = &nftables.Set{Table: h.table, Name: "hostports", IsMap: true, KeyType: anyKey, DataType: target}
	h.byIP = &nftables.Set{Table: h.table, Name: "hostports-by-ip", IsMap: true, KeyType: ipKey, DataType: target}
	return h, errors.Join(c.AddSet(h.any, nil), c.AddSet(h.byIP, nil))
}

// openHostPorts leads the ports to the address. A port that leads elsewhere is taken over: the scheduler gives a port to
// one pod of a node at a time, so its holder is on the way out.
func openHostPorts(table string, addresses []netip.Addr, mappings []ipam.PortMapping) error {
	pod, ok := ipv4(addresses)
	if !ok {
		return nil
	}
	h, err := newHostPorts(table)
	if err != nil {
		return err
	}
	defer h.conn.CloseLasting()
	for _, want := range h.chains() {
		// The kernel takes 10 ms to forget replaced rules.
		if have, err := h.conn.GetRules(h.table, &nftables.Chain{Name: want.name}); err != nil || len(have) != len(want.rules) {
			h.lay(want)
		}
	}
	for _, m := range mappings {
		set, e, err := h.element(pod, m)
		if err != nil {
			return err
		}
		if set == nil {
			continue
		}
		have, err := h.conn.GetSetElements(set)
		if err != nil {
			return fmt.Errorf("list host ports: %w", err)
		}
		for _, old := range have {
			if string(old.Key) == string(e.Key) {
				if err := h.conn.SetDeleteElements(set, []nftables.SetElement{{Key: old.Key, Val: old.Val}}); err != nil {
					return err
				}
			}
		}
		if err := h.conn.SetAddElements(set, []nftables.SetElement{e}); err != nil {
			return err
		}
	}
	if err := h.conn.Flush(); err != nil {
		return fmt.Errorf("add host ports: %w", err)
	}
	return forgetFlows(mappings, func(f *netlink.ConntrackFlow, m ipam.PortMapping) bool {
		return f.Forward.DstPort == m.HostPort && !f.Reverse.SrcIP.Equal(pod.AsSlice())
	})
}

// QueueHostPorts queues the host ports of all leases for a transaction that lays the table anew.
func QueueHostPorts(c *nftables.Conn, conf Config) error {
	if _, err := os.Stat(conf.LeaseDir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	pool, err := ipam.Open(conf.LeaseDir, conf.Subnets)
	if err != nil {
		return err
	}
	leases, err := pool.Leases()
	if err != nil {
		return err
	}
	h, err := queueMaps(c, conf.Table)
	if err != nil {
		return err
	}
	// Of two that have a port, the later one took it over.
	open := map[*nftables.Set]map[string]nftables.SetElement{h.any: {}, h.byIP: {}}
	for _, l := range leases {
		pod, ok := ipv4(l.Addresses)
		for _, m := range l.PortMappings {
			set, e, err := h.element(pod, m)
			if err != nil {
				return fmt.Errorf("host ports of container %s: %w", l.ContainerID, err)
			}
			if ok && set != nil {
				open[set][string(e.Key)] = e
			}
		}
	}
	for set, elements := range open {
		if err := nft.AddElements(c, set, slices.Collect(maps.Values(elements))); err != nil {
			return err
		}
	}
	for _, want := range h.chains() {
		h.lay(want)
	}
	return nil
}

// closeHostPorts removes every mapping to the addresses; it is no error if there is none.
func closeHostPorts(table string, addresses []netip.Addr) error {
	pod, ok := ipv4(addresses)
	if !ok {
		return nil
	}
	h, err := newHostPorts(table)
	if errors.Is(err, nft.ErrLayout) {
		return nil // the table that comes in its place has the host ports of leases alone
	}
	if err != nil {
		return err
	}
	defer h.conn.CloseLasting()
	found := false
	for _, set := range []*nftables.Set{h.any, h.byIP} {
		have, err := h.conn.GetSetElements(set)
		if err != nil {
			return fmt.Errorf("list host ports: %w", err)
		}
		for _, e := range have {
			if !strings.HasPrefix(string(e.Val), string(pod.AsSlice())) {
				continue
			}
			if err := h.conn.SetDeleteElements(set, []nftables.SetElement{{Key: e.Key, Val: e.Val}}); err != nil {
				return err
			}
			found = true
		}
	}
	if err := h.conn.Flush(); err != nil {
		return fmt.Errorf("remove host ports: %w", err)
	}
	if !found {
		return nil
	}
	return forgetFlows([]ipam.PortMapping{{Protocol: "udp"}}, func(f *netlink.ConntrackFlow, _ ipam.PortMapping) bool {
		return f.Reverse.SrcIP.Equal(pod.AsSlice()) && !f.Forward.DstIP.Equal(pod.AsSlice())
	})
}

// checkHostPorts tells the first mapping that is not there.
func checkHostPorts(table string, addresses []netip.Addr, mappings []ipam.PortMapping) error {
	pod, ok := ipv4(addresses)
	if !ok || len(mappings) == 0 {
		return nil
	}
	h, err := newHostPorts(table)
	if err != nil {
		return err
	}
	defer h.conn.CloseLasting()
	for _, m := range mappings {
		set, want, err := h.element(pod, m)
		if err != nil || set == nil {
			return err
		}
		have, err := h.conn.GetSetElements(set)
		if err != nil {
			return fmt.Errorf("list host ports: %w", err)
		}
		found := false
		for _, e := range have {
			found = found || string(e.Key) == string(want.Key) && string(e.Val) == string(want.Val)
		}
		if !found {
			return fmt.Errorf("host port %d/%s does not lead to %s", m.HostPort, m.Protocol, pod)
		}
	}
	return nil
}

// chain is a chain with all its rules; a hook makes it a base chain.
type chain struct {
	name  string
	hook  *nftables.ChainHook
	rules [][]expr.Any
}

// chains send packets for addresses of the node through the maps. Priority -101 is just before the proxy's, so that a
// host port wins against a node port.
func (h *hostPorts) chains() []chain {
	const lookup = "hostports"
	toLookup := [][]expr.Any{nft.Rule(nft.ToLocal(), nft.Jump(lookup))}
	return []chain{
		{lookup, nil, [][]expr.Any{
			nft.Rule(nft.Daddr(nft.Reg(0)), nft.L4Proto(nft.Reg(1)), nft.Dport(nft.Reg(2)), nft.Map(nft.Reg(0), nft.Reg(4), h.byIP), nft.DNAT(nft.Reg(4))),
			nft.Rule(nft.L4Proto(nft.Reg(0)), nft.Dport(nft.Reg(1)), nft.Map(nft.Reg(0), nft.Reg(4), h.any), nft.DNAT(nft.Reg(4))),
		}},
		{"hostports-prerouting", nftables.ChainHookPrerouting, toLookup},
		{"hostports-output", nftables.ChainHookOutput, toLookup},
	}
}

// lay queues a chain, emptied and filled.
func (h *hostPorts) lay(want chain) {
	c := &nftables.Chain{Name: want.name, Table: h.table}
	if want.hook != nil {
		c.Type, c.Hooknum, c.Priority = nftables.ChainTypeNAT, want.hook, nftables.ChainPriorityRef(-101)
	}
	h.conn.AddChain(c)
	h.conn.FlushChain(c)
	for _, r := range want.rules {
		h.conn.AddRule(&nftables.Rule{Table: h.table, Chain: c, Exprs: r})
	}
}

// element returns a mapping as the element of one of the maps; of none for a mapping without host port or of IPv6.
func (h *hostPorts) element(pod netip.Addr, m ipam.PortMapping) (*nftables.Set, nftables.SetElement, error) {
	var none nftables.SetElement
	if m.HostPort == 0 {
		return nil, none, nil
	}
	proto, err := protocol(m.Protocol)
	if err != nil {
		return nil, none, err
	}
	value := nft.Concat(pod.AsSlice(), nft.Port(m.ContainerPort))
	if m.HostIP == "" || m.HostIP == "0.0.0.0" || m.HostIP == "::" {
		return h.any, nftables.SetElement{Key: nft.Concat([]byte{proto}, nft.Port(m.HostPort)), Val: value}, nil
	}
	ip, err := netip.ParseAddr(m.HostIP)
	if err != nil {
		return nil, none, fmt.Errorf("host port %d: %w", m.HostPort, err)
	}
	if !ip.Unmap().Is4() {
		return nil, none, nil
	}
	return h.byIP, nftables.SetElement{Key: nft.Concat(ip.Unmap().AsSlice(), []byte{proto}, nft.Port(m.HostPort)), Val: value}, nil
}

func protocol(name string) (byte, error) {
	switch strings.ToLower(name) {
	case "tcp", "":
		return unix.IPPROTO_TCP, nil
	case "udp":
		return unix.IPPROTO_UDP, nil
	case "sctp":
		return unix.IPPROTO_SCTP, nil
	}
	return 0, fmt.Errorf("unknown protocol %q of a host port", name)
}

// forgetFlows ends tracked UDP flows that match: they would go on to where the port led before.
func forgetFlows(mappings []ipam.PortMapping, match func(*netlink.ConntrackFlow, ipam.PortMapping) bool) error {
	for _, m := range mappings {
		if p, err := protocol(m.Protocol); err != nil || p != unix.IPPROTO_UDP {
			continue
		}
		filter := flowFilter(func(f *netlink.ConntrackFlow) bool {
			return f.Forward.Protocol == unix.IPPROTO_UDP && match(f, m)
		})
		_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filter)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("forget flows of UDP host port %d: %w", m.HostPort, err)
		}
	}
	return nil
}

type flowFilter func(*netlink.ConntrackFlow) bool

// MatchConntrackFlow is netlink's interface of a filter.
func (f flowFilter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool { return f(flow) }

func ipv4(addresses []netip.Addr) (netip.Addr, bool) {
	for _, a := range addresses {
		if a.Is4() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

var _ netlink.CustomConntrackFilter = flowFilter(nil)
