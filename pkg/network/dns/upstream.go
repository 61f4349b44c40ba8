// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"k8s.io/klog/v2"
)

const (
	upstreamTimeout = 2 * time.Second // for one resolver
	patience        = 3               // questions in a row that may go without an answer
	silence         = 5 * time.Second // how long nobody is asked then
	lookEvery       = 5 * time.Second // how often resolv.conf is looked at
	systemdResolved = "/run/systemd/resolve/resolv.conf"
)

// errSilent means that the resolvers have not answered for a while.
var errSilent = errors.New("no upstream resolver answers")

// errNoUpstream means that there is nobody to ask.
var errNoUpstream = errors.New("no upstream resolver: set network.upstreamResolvers, or name one in the host's resolv.conf")

// upstream asks the resolvers of the host about names that are not the cluster's: over UDP, over TCP where the answer
// is cut short, one after another until one answers; the one that did is asked first the next time. Where none answers,
// as on a machine without a network, clients are told so at once, and one question now and then tries again.
type upstream struct {
	fixed      []string // address:port; empty means those of resolvConf
	resolvConf string
	own        netip.Addr // never asked: it would ask us
	cache      *answers

	mu       sync.Mutex
	servers  []string
	looked   time.Time
	modified time.Time
	first    atomic.Int32
	misses   atomic.Int32 // questions in a row that nobody answered
	silent   atomic.Int64 // until when (Unix time in nanoseconds) nobody is asked; 0 while somebody answers

	// probe is a name that only we ask for: whoever asks us for it has sent our own question back.
	probe  string
	looped atomic.Bool
}

func newUpstream(fixed []string, resolvConf string, own netip.Addr) *upstream {
	u := &upstream{resolvConf: resolvConf, own: own, cache: newAnswers(1024), probe: fmt.Sprintf("%016x.loop.hivemind.", rand.Uint64())}
	for _, s := range fixed {
		u.fixed = append(u.fixed, withPort(s))
	}
	return u
}

// exchange returns the answer to a question of a client; its ID and question are the client's.
func (u *upstream) exchange(ctx context.Context, request *dns.Msg) (*dns.Msg, error) {
	key := keyOf(request)
	if answer := u.cache.get(key, time.Now()); answer != nil {
		return forClient(answer, request), nil
	}
	query := &dns.Msg{}
	query.Id = dns.Id()
	query.RecursionDesired, query.CheckingDisabled = true, request.CheckingDisabled
	query.Question = request.Question
	query.SetEdns0(1232, key.dnssec)
	answer, err := u.ask(ctx, query)
	if err != nil {
		return nil, err
	}
	u.cache.put(key, answer, time.Now())
	return forClient(answer, request), nil
}

// ask tries the resolvers in turn.
func (u *upstream) ask(ctx context.Context, query *dns.Msg) (*dns.Msg, error) {
	servers := u.current()
	if len(servers) == 0 || u.looped.Load() {
		return nil, errNoUpstream
	}
	if !u.mayAsk(time.Now()) {
		return nil, errSilent
	}
	var errs []error
	var refused *dns.Msg
	for i := range servers {
		n := (int(u.first.Load()) + i) % len(servers)
		answer, err := askOne(ctx, query, servers[n])
		if err != nil {
			errs = append(errs, fmt.Errorf("ask resolver %s: %w", servers[n], err))
			if ctx.Err() != nil {
				break
			}
			continue
		}
		u.heard()
		if answer.Rcode == dns.RcodeServerFailure || answer.Rcode == dns.RcodeRefused {
			refused = answer // another may know more
			continue
		}
		u.first.Store(int32(n))
		return answer, nil
	}
	if refused != nil {
		return refused, nil
	}
	err := errors.Join(errs...)
	if errors.Is(err, os.ErrDeadlineExceeded) && u.misses.Add(1) >= patience {
		u.silent.Store(time.Now().Add(silence).UnixNano())
	}
	return nil, err
}

// mayAsk tells whether somebody may be asked: while all are silent, one question a while.
func (u *upstream) mayAsk(now time.Time) bool {
	until := u.silent.Load()
	return until == 0 || now.UnixNano() > until && u.silent.CompareAndSwap(until, now.Add(silence).UnixNano())
}

// heard notes that somebody answers.
func (u *upstream) heard() {
	u.misses.Store(0)
	u.silent.Store(0)
}

func askOne(ctx context.Context, query *dns.Msg, server string) (*dns.Msg, error) {
	client := dns.Client{Timeout: upstreamTimeout, UDPSize: 1232}
	answer, _, err := client.ExchangeContext(ctx, query, server)
	if err == nil && answer.Truncated {
		client.Net = "tcp"
		answer, _, err = client.ExchangeContext(ctx, query, server)
	}
	if err != nil {
		return nil, err
	}
	if answer.Id != query.Id || len(answer.Question) != 1 || !strings.EqualFold(answer.Question[0].Name, query.Question[0].Name) {
		return nil, errors.New("the answer is to another question")
	}
	return answer, nil
}

// current returns the resolvers, and reads resolv.conf again where it has changed.
func (u *upstream) current() []string {
	if len(u.fixed) > 0 {
		return u.fixed
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if time.Since(u.looked) < lookEvery {
		return u.servers
	}
	u.looked = time.Now()
	info, err := os.Stat(u.resolvConf)
	if err != nil {
		return u.servers
	}
	if modified := info.ModTime(); !modified.Equal(u.modified) {
		u.modified = modified
		u.servers = resolvers(u.resolvConf, systemdResolved, u.own)
		u.looped.Store(false)
		u.heard() // those that are new may be
	}
	return u.servers
}

// checkLoop asks every resolver for the probe. One that sends it back to us would have each question go round for ever.
func (u *upstream) checkLoop(ctx context.Context) {
	query := &dns.Msg{}
	query.SetQuestion(u.probe, dns.TypeHINFO)
	servers, answered := u.current(), false
	for _, s := range servers {
		_, err := askOne(ctx, query, s)
		answered = answered || !errors.Is(err, os.ErrDeadlineExceeded)
	}
	if len(servers) > 0 && !answered {
		u.misses.Store(patience)
		u.silent.Store(time.Now().Add(silence).UnixNano())
	}
	if u.looped.Load() {
		klog.FromContext(ctx).Error(errNoUpstream, "The host's resolver sends questions back to cluster DNS; names outside of the cluster are not resolved")
	}
}

// resolvers reads the name servers of a resolv.conf. If it names nobody or only systemd-resolved's stub, those behind the
// stub are taken, which systemd-resolved lists in another file; other servers on loopback are asked like any, as we are on the host. Our own address is left out.
func resolvers(path, behindStub string, own netip.Addr) []string {
	servers := nameServers(path, own)
	if len(servers) == 0 || len(servers) == 1 && strings.HasPrefix(servers[0], "127.0.0.53:") {
		if behind := nameServers(behindStub, own); len(behind) > 0 {
			return behind
		}
	}
	return servers
}

func nameServers(path string, own netip.Addr) []string {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var servers []string
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		ip, err := netip.ParseAddr(fields[1])
		if err != nil || ip.IsUnspecified() || ip.Unmap() == own {
			continue
		}
		servers = append(servers, net.JoinHostPort(ip.String(), "53"))
	}
	return servers
}

// withPort adds DNS's port to an address without one.
func withPort(server string) string {
	if ip, err := netip.ParseAddr(server); err == nil {
		return net.JoinHostPort(ip.String(), "53")
	}
	return server
}

// forClient makes an answer that is shared one to this client's question.
func forClient(answer, request *dns.Msg) *dns.Msg {
	reply := answer.Copy()
	reply.Id = request.Id
	reply.Question = request.Question
	reply.RecursionDesired = request.RecursionDesired
	reply.Extra = withoutOPT(reply.Extra) // which is between two neighbours; the server adds ours
	return reply
}

func withoutOPT(records []dns.RR) []dns.RR {
	kept := records[:0]
	for _, rr := range records {
		if rr.Header().Rrtype != dns.TypeOPT {
			kept = append(kept, rr)
		}
	}
	return kept
}
