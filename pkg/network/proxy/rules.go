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
//	service-x, service-x-all: one endpoint by affinity, or by chance

// masqueradeBit of a packet's mark says that its source is to be rewritten on the way out; the bit that kube-proxy uses.
const masqueradeBit = 0x4000

// Maps and chains that all services share.
const (
	addressMap    = "proxy-addresses"
	nodePortMap   = "proxy-nodeports"
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

// chain is a chain of rules, and what its rules refer to.
type chain struct {
	name      string
	rules     [][]expr.Any
	endpoints []netip.AddrPort // of the map of the same name, where there are two or more
	affinity  time.Duration    // of the map affinityMap(name), if not 0
}

// element is one element of a shared map or set; of a map with the chain to go to.
type element struct {
	set string
	key string
	to  string
}

// affinityMap is the map from client to endpoint of a chain. A map's timeout cannot be changed, so it is in the name.
func affinityMap(chain string, d time.Duration) string {
	return fmt.Sprintf("%s-affinity-%d", chain, int(d.Seconds()))
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
		o.elements = append(o.elements, element{addressMap, addressKey(ip, p.protocol, p.port), toInternal})
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
		o.elements = append(o.elements, element{addressMap, addressKey(ip, p.protocol, p.port), toExternal})
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
		o.elements = append(o.elements, element{addressMap, addressKey(ip, p.protocol, p.port), toBalancer})
	}
	if p.nodePort != 0 {
		o.elements = append(o.elements, element{nodePortMap, nodePortKey(p.protocol, p.nodePort), toExternal})
	}
	return o
}

// endpointChain adds a chain that runs first, then sends to one of the endpoints, and returns its name. Without endpoints
// it drops.
func (o *objects) endpointChain(name string, endpoints []netip.AddrPort, affinity time.Duration, first ...[]expr.Any) string {
	c := chain{name: name, rules: first}
	if len(endpoints) > 1 {
		c.endpoints = endpoints
	}
	// Registers: 0 client, 1 random number, 4 and 5 address and port of the endpoint.
	client, number, target := nft.Reg(0), nft.Reg(1), nft.Reg(4)
	var remember []expr.Any
	if affinity > 0 && len(endpoints) > 1 {
		c.affinity = affinity
		known := &nftables.Set{Name: affinityMap(name, affinity)}
		remember = nft.Rule(nft.Saddr(client), []expr.Any{&expr.Dynset{
			SrcRegKey: client, SrcRegData: target, SetName: known.Name, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: affinity,
		}})
		c.rules = append(c.rules, nft.Rule(nft.Saddr(client), nft.Map(client, target, known), remember, nft.DNAT(target)))
	}
	switch len(endpoints) {
	case 0:
		c.rules = append(c.rules, nft.Drop())
	case 1:
		c.rules = append(c.rules, nft.Rule([]expr.Any{
			&expr.Immediate{Register: target, Data: endpoints[0].Addr().AsSlice()},
			&expr.Immediate{Register: target + 1, Data: nft.Port(endpoints[0].Port())},
		}, nft.DNAT(target)))
	default:
		c.rules = append(c.rules, nft.Rule(
			nft.RandomModulo(number, len(endpoints)), nft.Map(number, target, &nftables.Set{Name: name}), remember, nft.DNAT(target)))
	}
	o.chains = append(o.chains, c)
	return name
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

// endpointElements are the elements of a chain's map: the numbers from 0 to endpoints.
func endpointElements(endpoints []netip.AddrPort) []nftables.SetElement {
	elements := make([]nftables.SetElement, len(endpoints))
	for i, e := range endpoints {
		elements[i] = nftables.SetElement{Key: binary.NativeEndian.AppendUint32(nil, uint32(i)), Val: endpointValue(e)}
	}
	return elements
}

func endpointValue(e netip.AddrPort) []byte {
	return nft.Concat(e.Addr().AsSlice(), nft.Port(e.Port()))
}
