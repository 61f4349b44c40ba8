// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/hivemind-project/hivemind/pkg/network/nft"
)

// This file says, purely, what rules a service port is: its chains, its maps, and its elements in the maps that all
// services share. A packet that opens a connection passes two lookups and the few rules of its own service, however many
// services there are; other packets pass none of this.
//
//	prerouting, output → proxy-services
//	    address . protocol . port  ─ proxy-addresses ─▶ service-x, service-x-external, service-x-balancer, proxy-reject or proxy-drop
//	    protocol . port, if local  ─ proxy-nodeports ─▶ service-x-external or proxy-reject
//	service-x-balancer: source ranges, then                  service-x-external
//	service-x-external: marks for masquerade, or keeps the client's address and takes local endpoints
//	service-x, service-x-all: one endpoint by chance from proxy-endpoints, which has those of all services:
//	    hash of the chain . number ─▶ address . port
//
// A map for each service would do as well, but the kernel finds maps by walking a list of all.
//
// With session affinity each endpoint has a chain and a set of its clients, which time out. A client is looked for in
// the sets one by one: the one cost that grows, with the endpoints of such a service. (One map from client to endpoint
// would be quicker, but nft(8) aborts when it lists rules that put into a map what they have from another.)
//	service-x: if the client is in a set, goto service-x-endpoint; else by chance from proxy-sticky:
//	    hash of the chain . number ─▶ service-x-endpoint: put the client into the set, translate

// masqueradeBit of a packet's mark says that its source is to be rewritten on the way out; the bit that kube-proxy uses.
const masqueradeBit = 0x4000

// Maps and chains that all services share.
const (
	addressMap    = "proxy-addresses"
	nodePortMap   = "proxy-nodeports"
	endpointMap   = "proxy-endpoints"
	stickyMap     = "proxy-sticky"
	clusterIPSet  = "proxy-cluster-ips"
	dispatchChain = "proxy-services"
	rejectChain   = "proxy-reject"
	dropChain     = "proxy-drop"
	servicePrefix = "service-"
)

// objects are what a service port is in the table.
type objects struct {
	chains   []chain
	elements []element
}

// chain is a chain of rules.
type chain struct {
	name  string
	rules [][]expr.Any
	// clients is the set that the rules put clients into, for as long as timeout; none if empty.
	clients string
	timeout time.Duration
}

// element is one element of a shared map or set; of a map with the chain to go to, or with a value.
type element struct {
	set, key  string
	to, value string
}

// objectsOf returns what the port is in the table; cluster is the CIDR of all pods.
func objectsOf(p *servicePort, cluster netip.Prefix) objects {
	var o objects
	name := chainName(p)
	outside := nft.Rule(nft.NotFrom(cluster), nft.Mark(masqueradeBit))

	// toInternal and toAll are where traffic for the cluster IP goes, and that which may go to any endpoint.
	// Where there are no endpoints clients are refused at once; where there are, but none that the policy allows, they are
	// left to try again.
	toInternal, toAll := rejectChain, rejectChain
	switch {
	case len(p.internal()) > 0:
		toInternal = o.endpointChain(name, p.internal(), p.affinity, outside)
	case len(p.all) > 0:
		toInternal = dropChain
	}
	needsExternal := p.nodePort != 0 || len(p.external) > 0 || len(p.balancer) > 0
	if !p.internalLocal {
		toAll = toInternal
	} else if needsExternal && len(p.all) > 0 {
		toAll = o.endpointChain(name+"-all", p.all, p.affinity, outside)
	}
	for _, ip := range p.clusterIPs {
		o.elements = append(o.elements, element{set: addressMap, key: addressKey(ip, p.protocol, p.port), to: toInternal})
	}
	if !needsExternal {
		return o
	}

	toExternal := rejectChain
	switch {
	case len(p.all) == 0:
	case p.externalLocal:
		// Clients in the cluster and on the node may use every endpoint; others keep their address and stay here.
		toExternal = name + "-external"
		o.endpointChain(toExternal, p.local, p.affinity,
			nft.Rule(nft.From(cluster), nft.Goto(toAll)), nft.Rule(nft.FromLocal(), nft.Goto(toAll)))
	default:
		toExternal = name + "-external"
		o.chains = append(o.chains, chain{name: toExternal, rules: [][]expr.Any{nft.Rule(nft.Mark(masqueradeBit)), nft.Rule(nft.Goto(toAll))}})
	}
	for _, ip := range p.external {
		o.elements = append(o.elements, element{set: addressMap, key: addressKey(ip, p.protocol, p.port), to: toExternal})
	}
	toBalancer := toExternal
	if p.restricted && len(p.balancer) > 0 {
		toBalancer = name + "-balancer"
		c := chain{name: toBalancer}
		for _, s := range p.sources {
			c.rules = append(c.rules, nft.Rule(nft.From(s), nft.Goto(toExternal)))
		}
		c.rules = append(c.rules, nft.Drop())
		o.chains = append(o.chains, c)
	}
	for _, ip := range p.balancer {
		o.elements = append(o.elements, element{set: addressMap, key: addressKey(ip, p.protocol, p.port), to: toBalancer})
	}
	if p.nodePort != 0 {
		o.elements = append(o.elements, element{set: nodePortMap, key: nodePortKey(p.protocol, p.nodePort), to: toExternal})
	}
	return o
}

// endpointChain adds a chain that runs first, then sends to one of the endpoints, and returns its name. Without endpoints
// it drops.
func (o *objects) endpointChain(name string, endpoints []netip.AddrPort, affinity time.Duration, first ...[]expr.Any) string {
	c := chain{name: name, rules: first}
	sticky := affinity > 0 && len(endpoints) > 1
	// Registers: 0 client; 1 and 2 hash of the chain, 3 random number; 4 and 5 address and port of the endpoint.
	client, key, number, target := nft.Reg(0), nft.Reg(1), nft.Reg(3), nft.Reg(4)
	hash := hashOf(name)
	byChance := func(then []expr.Any) []expr.Any {
		return nft.Rule([]expr.Any{&expr.Immediate{Register: key, Data: hash[:4]}, &expr.Immediate{Register: key + 1, Data: hash[4:8]}},
			nft.RandomModulo(number, len(endpoints)), then)
	}
	for i, e := range endpoints {
		numbered := string(binary.NativeEndian.AppendUint32(hash, uint32(i)))
		switch {
		case sticky:
			one := stickyChain(name, e, affinity)
			c.rules = append(c.rules, nft.Rule(nft.Saddr(client), nft.In(client, &nftables.Set{Name: one.clients}), nft.Goto(one.name)))
			o.chains = append(o.chains, one)
			o.elements = append(o.elements, element{set: stickyMap, key: numbered, to: one.name})
		case len(endpoints) > 1:
			o.elements = append(o.elements, element{set: endpointMap, key: numbered, value: string(nft.Concat(e.Addr().AsSlice(), nft.Port(e.Port())))})
		}
	}
	switch {
	case len(endpoints) == 0:
		c.rules = append(c.rules, nft.Drop())
	case len(endpoints) == 1:
		c.rules = append(c.rules, translate(endpoints[0]))
	case sticky:
		c.rules = append(c.rules, byChance(nft.Vmap(key, &nftables.Set{Name: stickyMap})))
	default:
		c.rules = append(c.rules, byChance(nft.Rule(nft.Map(key, target, &nftables.Set{Name: endpointMap}), nft.DNAT(target))))
	}
	o.chains = append(o.chains, c)
	return name
}

// stickyChain is the chain of one endpoint of a chain with affinity. The timeout of a set cannot be changed, so it is in
// the name.
func stickyChain(parent string, e netip.AddrPort, affinity time.Duration) chain {
	name := fmt.Sprintf("%s-%x-%d", parent, e.Addr().AsSlice(), e.Port())
	c := chain{name: name, clients: fmt.Sprintf("%s-%d", name, int(affinity.Seconds())), timeout: affinity}
	c.rules = [][]expr.Any{
		nft.Rule(nft.Saddr(nft.Reg(0)), []expr.Any{&expr.Dynset{
			SrcRegKey: nft.Reg(0), SetName: c.clients, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: affinity,
		}}),
		translate(e),
	}
	return c
}

// translate is `dnat to address:port`.
func translate(e netip.AddrPort) []expr.Any {
	target := nft.Reg(4)
	return nft.Rule([]expr.Any{
		&expr.Immediate{Register: target, Data: e.Addr().AsSlice()}, &expr.Immediate{Register: target + 1, Data: nft.Port(e.Port())},
	}, nft.DNAT(target))
}

// chainName follows from the port's name, so that a restarted proxy finds and keeps what affinity remembers.
func chainName(p *servicePort) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d/%d", p.name, p.protocol, p.port)
	return fmt.Sprintf("%s%016x", servicePrefix, h.Sum64())
}

func addressKey(ip netip.Addr, protocol byte, port uint16) string {
	return string(nft.Concat(ip.AsSlice(), []byte{protocol}, nft.Port(port)))
}

func nodePortKey(protocol byte, port uint16) string {
	return string(nft.Concat([]byte{protocol}, nft.Port(port)))
}

// hashOf is what a chain's endpoints are found by: 8 bytes.
func hashOf(chain string) []byte {
	h := fnv.New64a()
	h.Write([]byte(chain))
	return h.Sum(nil)
}
