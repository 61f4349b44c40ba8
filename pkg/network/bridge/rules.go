// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/hivemind-project/hivemind/pkg/network/nft"
)

// layRules refills the node's chains in one transaction. It returns nft.ErrLayout where the table has to be replaced first.
func layRules(o Options) error {
	c, err := nft.Open()
	if err != nil {
		return err
	}
	defer c.CloseLasting()
	if _, err := nft.Begin(c, o.Table); err != nil {
		return err
	}
	if err := QueueRules(c, o); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		if nft.Disown(o.Table) == nil {
			return fmt.Errorf("%w: %w", nft.ErrLayout, err)
		}
		return err
	}
	return nil
}

// QueueRules queues the emptying and filling of the chains with prefix node-. Their cost to a packet is constant: NAT
// chains see the first packet of a connection alone.
func QueueRules(c *nftables.Conn, o Options) error {
	t := nft.Table(o.Table)
	base := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
		chain := c.AddChain(&nftables.Chain{Name: name, Table: t, Type: kind, Hooknum: hook, Priority: priority})
		c.FlushChain(chain)
		return chain
	}
	add := func(chain *nftables.Chain, parts ...[]expr.Any) {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: nft.Rule(parts...)})
	}
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	multicast := netip.MustParsePrefix("224.0.0.0/4")

	post := base("node-postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	pre := base("node-prerouting", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	out := base("node-output", nftables.ChainTypeFilter, nftables.ChainHookOutput, nftables.ChainPriorityFilter)

	// A pod that reaches itself through a service or host port would answer to itself, past the translation. nftables
	// cannot compare two fields of a packet, so the set has every pod address paired with itself.
	pair, err := nftables.ConcatSetType(nftables.TypeIPAddr, nftables.TypeIPAddr)
	if err != nil {
		return err
	}
	hairpin := &nftables.Set{Table: t, Name: "node-hairpin", KeyType: pair}
	if err := c.AddSet(hairpin, nil); err != nil {
		return err
	}
	c.FlushSet(hairpin)
	if err := nft.AddElements(c, hairpin, pairs(o.PodCIDR)); err != nil {
		return err
	}
	add(post, nft.CtDNAT(), nft.Saddr(nft.Reg(0)), nft.Daddr(nft.Reg(1)), nft.In(nft.Reg(0), hairpin), nft.Masquerade())
	// 127.0.0.1 to a port of the node that leads to a pod.
	add(post, nft.OutLink(o.Name), nft.From(loopback), nft.Masquerade())
	// Pods to the world outside of the cluster.
	add(post, nft.From(o.PodCIDR), nft.NotOutLink(o.Name), nft.NotTo(o.ClusterCIDR), nft.NotTo(multicast), nft.Masquerade())

	// route_localnet is on for the bridge: pods must not reach what listens on the node's loopback by it.
	add(pre, nft.InLink(o.Name), nft.To(loopback), nft.Drop())
	// Pods reach each other through the node: no ICMP redirect must tell them of a shorter way.
	add(out, nft.OutLink(o.Name), nft.Proto(unix.IPPROTO_ICMP), nft.ICMPType(5), nft.Drop())
	return nil
}

func pairs(p netip.Prefix) []nftables.SetElement {
	var elements []nftables.SetElement
	for a := p.Masked().Addr(); p.Contains(a); a = a.Next() {
		elements = append(elements, nftables.SetElement{Key: nft.Concat(a.AsSlice(), a.AsSlice())})
	}
	return elements
}
