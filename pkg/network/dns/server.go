// SPDX-License-Identifier: Apache-2.0

// Package dns is the cluster's DNS server on a node. It answers for the cluster's names after the Kubernetes DNS
// specification 1.1.0, straight from the informers' stores, and asks the host's resolvers about all others.
//
// It listens on the address of the cluster DNS Service alone, which it gives to the node's bridge: every node answers its
// own pods, nothing is proxied, and a node's DNS works for as long as the node does. It costs two sockets, a goroutine
// for each, and one for a question while it is answered; memory is two small indices and at most 1024 upstream answers.
package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
	coreinformers "k8s.io/client-go/informers/core/v1"
	discoveryinformers "k8s.io/client-go/informers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/pkg/network/bridge"
)

// maxFollow is how many CNAMEs of ExternalName services lead on.
const maxFollow = 8

// Options say what to answer for and where.
type Options struct {
	Domain  string     // the cluster's domain, "cluster.local"
	Address netip.Addr // of the cluster DNS Service
	Port    uint16     // default 53
	Bridge  string     // the link that is given Address
	// Local are the cluster's own CIDRs (pods, services): their addresses are not asked for upstream.
	Local []netip.Prefix
	// Upstream are resolvers, as "address" or "address:port"; if none, those of ResolvConf.
	Upstream   []string
	ResolvConf string // default /etc/resolv.conf
}

// Server is the cluster's DNS server.
type Server struct {
	options  Options
	zone     *zone
	upstream *upstream
	synced   []cache.InformerSynced
	ready    chan struct{}
	// ctx of Run, which questions upstream end with.
	ctx context.Context
}

// New returns a server that answers from the informers, which the caller starts.
func New(o Options, services coreinformers.ServiceInformer, slices discoveryinformers.EndpointSliceInformer) (*Server, error) {
	if o.Port == 0 {
		o.Port = 53
	}
	if o.ResolvConf == "" {
		o.ResolvConf = "/etc/resolv.conf"
	}
	if err := index(services.Informer(), slices.Informer()); err != nil {
		return nil, err
	}
	return &Server{
		options: o,
		zone: &zone{
			origin: strings.ToLower(dns.Fqdn(o.Domain)), address: o.Address,
			services: services.Informer().GetIndexer(), slices: slices.Informer().GetIndexer(),
		},
		upstream: newUpstream(o.Upstream, o.ResolvConf, o.Address),
		synced:   []cache.InformerSynced{services.Informer().HasSynced, slices.Informer().HasSynced},
		ready:    make(chan struct{}),
	}, nil
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	if !cache.WaitForCacheSync(ctx.Done(), s.synced...) {
		return nil // ctx ended
	}
	if err := bridge.AddAddress(s.options.Bridge, s.options.Address); err != nil {
		return fmt.Errorf("cluster DNS: %w", err)
	}
	address := netip.AddrPortFrom(s.options.Address, s.options.Port).String()
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		return fmt.Errorf("cluster DNS: %w", err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("cluster DNS: %w", errors.Join(err, packets.Close()))
	}
	s.ctx = ctx
	servers := []*dns.Server{
		{PacketConn: packets, Handler: s, UDPSize: 4096},
		{Listener: listener, Handler: s, ReadTimeout: 5 * time.Second, MaxTCPQueries: 128},
	}
	done := make(chan error, len(servers))
	for _, server := range servers {
		go func() { done <- server.ActivateAndServe() }()
	}
	close(s.ready)
	s.upstream.checkLoop(ctx)
	var result error
	running := len(servers)
	select {
	case <-ctx.Done():
	case result = <-done:
		running--
	}
	for _, server := range servers {
		_ = server.Shutdown() // fails only for one that has ended
	}
	// A server that was told to shut down before it began to listen has not heard of it.
	_, _ = packets.Close(), listener.Close()
	for ; running > 0; running-- {
		<-done
	}
	if result != nil && ctx.Err() == nil {
		return fmt.Errorf("cluster DNS on %s: %w", address, result)
	}
	return nil
}

// Ready blocks until the server answers, or ctx ends.
func (s *Server) Ready(ctx context.Context) error {
	select {
	case <-s.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cluster DNS: %w", context.Cause(ctx))
	}
}

// ServeDNS answers one question.
func (s *Server) ServeDNS(w dns.ResponseWriter, request *dns.Msg) {
	reply := s.answer(request)
	size := dns.MaxMsgSize
	if opt := request.IsEdns0(); opt != nil {
		reply.SetEdns0(4096, opt.Do())
		size = int(max(opt.UDPSize(), dns.MinMsgSize))
	} else {
		size = dns.MinMsgSize
	}
	if _, ok := w.LocalAddr().(*net.TCPAddr); ok {
		size = dns.MaxMsgSize
	}
	reply.Truncate(size)
	if err := w.WriteMsg(reply); err != nil {
		klog.FromContext(s.ctx).V(4).Info("Failed to answer a DNS question", "client", w.RemoteAddr(), "err", err)
	}
}

func (s *Server) answer(request *dns.Msg) *dns.Msg {
	reply := &dns.Msg{}
	if len(request.Question) != 1 {
		return reply.SetRcode(request, dns.RcodeFormatError)
	}
	q := request.Question[0]
	name := strings.ToLower(q.Name)
	switch {
	case request.Opcode != dns.OpcodeQuery:
		return reply.SetRcode(request, dns.RcodeNotImplemented)
	case q.Qclass != dns.ClassINET && q.Qclass != dns.ClassANY:
		return reply.SetRcode(request, dns.RcodeRefused)
	case name == s.upstream.probe:
		s.upstream.looped.Store(true)
		return reply.SetRcode(request, dns.RcodeRefused)
	}
	r, ours, err := s.lookup(name, q)
	if err != nil {
		klog.FromContext(s.ctx).Error(err, "Failed to look a name up", "name", q.Name)
		return reply.SetRcode(request, dns.RcodeServerFailure)
	}
	if !ours {
		answer, err := s.upstream.exchange(s.ctx, request)
		if err != nil {
			klog.FromContext(s.ctx).V(2).Info("Failed to resolve a name upstream", "name", q.Name, "err", err)
			return reply.SetRcode(request, dns.RcodeServerFailure)
		}
		return answer
	}
	reply.SetReply(request)
	reply.Authoritative, reply.RecursionAvailable = true, true
	reply.Answer, reply.Extra = r.answer, r.extra
	if r.follow != "" && q.Qtype != dns.TypeCNAME {
		s.followTo(reply, r.follow, q)
		return reply
	}
	if !r.exists {
		reply.Rcode = dns.RcodeNameError
	}
	if len(r.answer) == 0 {
		reply.Ns = []dns.RR{s.zone.soa()}
	}
	return reply
}

// lookup tells what the cluster knows of a name, and whether the name is the cluster's to know.
func (s *Server) lookup(name string, q dns.Question) (r result, ours bool, err error) {
	if dns.IsSubDomain(s.zone.origin, name) {
		r, err = s.zone.lookup(name, q.Name, q.Qtype)
		return r, true, err
	}
	ip, ok := fromReverse(name)
	if !ok {
		return r, false, nil
	}
	records, err := s.zone.reverse(ip, q.Name)
	r.exists = len(records) > 0
	if q.Qtype == dns.TypePTR {
		r.answer = records
	}
	ours = r.exists
	for _, p := range s.options.Local {
		ours = ours || p.Contains(ip)
	}
	return r, ours, err
}

// followTo adds what an ExternalName leads to.
func (s *Server) followTo(reply *dns.Msg, target string, q dns.Question) {
	for range maxFollow {
		next := dns.Question{Name: target, Qtype: q.Qtype, Qclass: q.Qclass}
		r, ours, err := s.lookup(strings.ToLower(target), next)
		if err != nil {
			reply.Rcode = dns.RcodeServerFailure
			return
		}
		if !ours {
			request := &dns.Msg{}
			request.SetQuestion(target, q.Qtype)
			answer, err := s.upstream.exchange(s.ctx, request)
			if err != nil {
				reply.Rcode = dns.RcodeServerFailure
				return
			}
			reply.Answer, reply.Ns, reply.Rcode = append(reply.Answer, answer.Answer...), answer.Ns, answer.Rcode
			return
		}
		reply.Answer, reply.Extra = append(reply.Answer, r.answer...), r.extra
		if !r.exists {
			reply.Rcode = dns.RcodeNameError
		}
		if r.follow == "" {
			return
		}
		target = r.follow
	}
	reply.Rcode = dns.RcodeServerFailure // a circle
}

// fromReverse reads the address of a name below in-addr.arpa or ip6.arpa.
func fromReverse(name string) (netip.Addr, bool) {
	labels := dns.SplitDomainName(name)
	n := len(labels)
	switch {
	case n == 6 && strings.HasSuffix(name, ".in-addr.arpa."):
		ip, err := netip.ParseAddr(labels[3] + "." + labels[2] + "." + labels[1] + "." + labels[0])
		return ip, err == nil
	case n == 34 && strings.HasSuffix(name, ".ip6.arpa."):
		var text strings.Builder
		for i := range 32 {
			if i > 0 && i%4 == 0 {
				text.WriteByte(':')
			}
			text.WriteString(labels[31-i])
		}
		ip, err := netip.ParseAddr(text.String())
		return ip, err == nil
	}
	return netip.Addr{}, false
}

var _ dns.Handler = (*Server)(nil)
