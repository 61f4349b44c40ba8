// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Reg returns the n-th 32-bit register. Values that stand in consecutive registers are a concatenation, as the key of
// a lookup is.
func Reg(n int) uint32 { return unix.NFT_REG32_00 + uint32(n) }

// Rule joins expressions to the body of a rule.
func Rule(parts ...[]expr.Any) []expr.Any {
	var rule []expr.Any
	for _, p := range parts {
		rule = append(rule, p...)
	}
	return rule
}

// Loads into a register.

// Saddr is `ip saddr`.
func Saddr(reg uint32) []expr.Any { return network(reg, 12, 4) }

// Daddr is `ip daddr`.
func Daddr(reg uint32) []expr.Any { return network(reg, 16, 4) }

func network(reg, offset, length uint32) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length}}
}

// L4Proto is `meta l4proto`.
func L4Proto(reg uint32) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}}
}

// Dport is `th dport`.
func Dport(reg uint32) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}}
}

// RandomModulo is `numgen random mod n`, in host byte order.
func RandomModulo(reg uint32, n int) []expr.Any {
	return []expr.Any{&expr.Numgen{Register: reg, Modulus: uint32(n), Type: unix.NFT_NG_RANDOM}}
}

// Matches.

// From is `ip saddr p`.
func From(p netip.Prefix) []expr.Any { return prefix(Saddr, p, expr.CmpOpEq) }

// NotFrom is `ip saddr != p`.
func NotFrom(p netip.Prefix) []expr.Any { return prefix(Saddr, p, expr.CmpOpNeq) }

// To is `ip daddr p`.
func To(p netip.Prefix) []expr.Any { return prefix(Daddr, p, expr.CmpOpEq) }

// NotTo is `ip daddr != p`.
func NotTo(p netip.Prefix) []expr.Any { return prefix(Daddr, p, expr.CmpOpNeq) }

func prefix(load func(uint32) []expr.Any, p netip.Prefix, op expr.CmpOp) []expr.Any {
	reg := Reg(0)
	mask := make([]byte, 4)
	binary.BigEndian.PutUint32(mask, ^uint32(0)<<(32-p.Bits()))
	return append(load(reg),
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: reg, Data: p.Masked().Addr().AsSlice()})
}

// InLink is `iifname name`.
func InLink(name string) []expr.Any { return link(expr.MetaKeyIIFNAME, name, expr.CmpOpEq) }

// OutLink is `oifname name`.
func OutLink(name string) []expr.Any { return link(expr.MetaKeyOIFNAME, name, expr.CmpOpEq) }

// NotOutLink is `oifname != name`.
func NotOutLink(name string) []expr.Any { return link(expr.MetaKeyOIFNAME, name, expr.CmpOpNeq) }

func link(key expr.MetaKey, name string, op expr.CmpOp) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{&expr.Meta{Key: key, Register: unix.NFT_REG_1}, &expr.Cmp{Op: op, Register: unix.NFT_REG_1, Data: padded}}
}

// ToLocal is `fib daddr type local`: an address of this machine.
func ToLocal() []expr.Any { return fibLocal(&expr.Fib{FlagDADDR: true}) }

// FromLocal is `fib saddr type local`.
func FromLocal() []expr.Any { return fibLocal(&expr.Fib{FlagSADDR: true}) }

func fibLocal(f *expr.Fib) []expr.Any {
	f.Register, f.ResultADDRTYPE = Reg(0), true
	return []expr.Any{f, &expr.Cmp{Op: expr.CmpOpEq, Register: Reg(0), Data: native(unix.RTN_LOCAL)}}
}

// Proto is `meta l4proto p`.
func Proto(p byte) []expr.Any {
	return append(L4Proto(Reg(0)), &expr.Cmp{Op: expr.CmpOpEq, Register: Reg(0), Data: []byte{p}})
}

// ICMPType is `icmp type t`; put Proto(unix.IPPROTO_ICMP) before it.
func ICMPType(t byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: Reg(0), Base: expr.PayloadBaseTransportHeader, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: Reg(0), Data: []byte{t}},
	}
}

// CtNew is `ct state new`.
func CtNew() []expr.Any { return ct(expr.CtKeySTATE, expr.CtStateBitNEW) }

// CtDNAT is `ct status dnat`: a connection whose destination was rewritten.
func CtDNAT() []expr.Any { return ct(expr.CtKeySTATUS, 1<<5) }

func ct(key expr.CtKey, bits uint32) []expr.Any {
	return append([]expr.Any{&expr.Ct{Register: Reg(0), Key: key}}, anyBit(bits)...)
}

// Marked is `meta mark & bit != 0`.
func Marked(bit uint32) []expr.Any {
	return append([]expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, Register: Reg(0)}}, anyBit(bit)...)
}

func anyBit(bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Bitwise{SourceRegister: Reg(0), DestRegister: Reg(0), Len: 4, Mask: native(bits), Xor: native(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: Reg(0), Data: native(0)},
	}
}

// In looks the key that starts at register key up in a set.
func In(key uint32, s *nftables.Set) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: key, SetName: s.Name, SetID: s.ID}}
}

// NotIn is the opposite of In.
func NotIn(key uint32, s *nftables.Set) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: key, SetName: s.Name, SetID: s.ID, Invert: true}}
}

// Statements.

// Map loads what a map has for the key into the registers from value; the rule ends if the map has nothing.
func Map(key, value uint32, s *nftables.Set) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: key, DestRegister: value, IsDestRegSet: true, SetName: s.Name, SetID: s.ID}}
}

// Vmap carries out the verdict that a verdict map has for the key.
func Vmap(key uint32, s *nftables.Set) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: key, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: s.Name, SetID: s.ID}}
}

// DNAT is `dnat to`, with the address in one register and the port in the next.
func DNAT(address uint32) []expr.Any {
	return []expr.Any{&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: address, RegProtoMin: address + 1, Specified: true}}
}

// Masquerade is `masquerade fully-random`: fully random ports avoid the clashes that parallel connections meet.
func Masquerade() []expr.Any { return []expr.Any{&expr.Masq{FullyRandom: true}} }

// Mark is `meta mark set meta mark | bit`.
func Mark(bit uint32) []expr.Any { return mark(^bit, bit) }

// Unmark is `meta mark set meta mark & ~bit`.
func Unmark(bit uint32) []expr.Any { return mark(^bit, 0) }

func mark(mask, xor uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: Reg(0)},
		&expr.Bitwise{SourceRegister: Reg(0), DestRegister: Reg(0), Len: 4, Mask: native(mask), Xor: native(xor)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: Reg(0), SourceRegister: true},
	}
}

// Reset is `reject with tcp reset`; put Proto(unix.IPPROTO_TCP) before it. Unlike Reject, the kernel does not limit its
// rate, which is one message a second to a client, and none for a while to a pod that has reached others over the bridge.
func Reset() []expr.Any { return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}} }

// Reject is `reject with icmp port-unreachable`: clients see "connection refused", with TCP as with UDP.
func Reject() []expr.Any {
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 3}}
}

// Drop is `drop`.
func Drop() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}} }

// Accept is `accept`.
func Accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }

// Return is `return`.
func Return() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}} }

// Jump is `jump chain`.
func Jump(chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}}
}

// Goto is `goto chain`.
func Goto(chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}}
}

// Keys and values of elements.

// Concat joins values to the key or value of an element; each is padded to whole registers.
func Concat(values ...[]byte) []byte {
	var b []byte
	for _, v := range values {
		b = append(b, v...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return b
}

// Port is a port in network byte order.
func Port(p uint16) []byte { return binary.BigEndian.AppendUint16(nil, p) }

func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
