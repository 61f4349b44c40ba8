// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/hivemind-project/hivemind/pkg/network/bridge"
	"github.com/hivemind-project/hivemind/pkg/network/nettest"
	"github.com/hivemind-project/hivemind/pkg/network/nft"
)

func TestMain(m *testing.M) { nettest.Main(m) }

func ptr[T any](v T) *T { return &v }

// objects are the services that the tests ask for.
func objects() []runtime.Object {
	svc := func(name string, spec corev1.ServiceSpec) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name}, Spec: spec}
	}
	slice := func(service string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: service + "-x", Labels: map[string]string{
				discoveryv1.LabelServiceName: service, corev1.IsHeadlessService: "",
			}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Ports:       []discoveryv1.EndpointPort{{Name: ptr("pg"), Protocol: ptr(corev1.ProtocolTCP), Port: ptr[int32](5433)}},
			Endpoints:   endpoints,
		}
	}
	endpoint := func(ip, host string, ready bool) discoveryv1.Endpoint {
		e := discoveryv1.Endpoint{Addresses: []string{ip}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}
		if host != "" {
			e.Hostname = &host
		}
		return e
	}
	ports := []corev1.ServicePort{
		{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80},
		{Name: "metrics", Protocol: corev1.ProtocolTCP, Port: 9090},
		{Name: "quic", Protocol: corev1.ProtocolUDP, Port: 80},
	}
	many := make([]discoveryv1.Endpoint, 100)
	for i := range many {
		many[i] = endpoint(fmt.Sprintf("10.200.1.%d", i+1), "", true)
	}
	return []runtime.Object{
		svc("web", corev1.ServiceSpec{ClusterIP: "10.201.0.5", ClusterIPs: []string{"10.201.0.5", "fd00::5"}, Ports: ports}),
		svc("single", corev1.ServiceSpec{ClusterIP: "10.201.0.6", ClusterIPs: []string{"10.201.0.6"}, Ports: []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80}}}),
		svc("pending", corev1.ServiceSpec{}),
		svc("db", corev1.ServiceSpec{ClusterIP: "None", ClusterIPs: []string{"None"}, Ports: []corev1.ServicePort{{Name: "pg", Protocol: corev1.ProtocolTCP, Port: 5432}}}),
		slice("db", endpoint("10.200.0.2", "db-0", true), endpoint("10.200.0.3", "db-1", false), endpoint("10.200.0.4", "", true)),
		svc("none", corev1.ServiceSpec{ClusterIP: "None", ClusterIPs: []string{"None"}}),
		svc("many", corev1.ServiceSpec{ClusterIP: "None", ClusterIPs: []string{"None"}}),
		slice("many", many...),
		svc("alias", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "web.prod.svc.cluster.local"}),
		svc("outside", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "www.example.com"}),
		svc("circle", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "circle.prod.svc.cluster.local"}),
	}
}

func newServer(t testing.TB, o Options) *Server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	factory := informers.NewSharedInformerFactory(fake.NewClientset(objects()...), 0)
	o.Domain, o.Address = "cluster.local", netip.MustParseAddr("10.201.0.10")
	o.Local = []netip.Prefix{netip.MustParsePrefix("10.200.0.0/16"), netip.MustParsePrefix("10.201.0.0/16")}
	if o.ResolvConf == "" {
		o.ResolvConf = filepath.Join(t.TempDir(), "none")
	}
	s, err := New(o, factory.Core().V1().Services(), factory.Discovery().V1().EndpointSlices())
	if err != nil {
		t.Fatal(err)
	}
	s.ctx = ctx
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	t.Cleanup(func() { cancel(); factory.Shutdown() })
	return s
}

// short renders a reply: rcode, then the records of each section without header fields that are always the same.
func short(m *dns.Msg) string {
	var parts []string
	section := func(mark string, records []dns.RR) {
		var lines []string
		for _, rr := range records {
			if rr.Header().Rrtype == dns.TypeOPT {
				continue
			}
			if rr.Header().Rrtype == dns.TypeSOA {
				lines = append(lines, "SOA")
				continue
			}
			lines = append(lines, strings.Join(strings.Fields(strings.Replace(rr.String(), "\tIN\t", " ", 1)), " "))
		}
		slices.Sort(lines)
		for _, l := range lines {
			parts = append(parts, mark+l)
		}
	}
	section("", m.Answer)
	section("authority ", m.Ns)
	section("extra ", m.Extra)
	return dns.RcodeToString[m.Rcode] + "\n" + strings.Join(parts, "\n")
}

func TestAnswers(t *testing.T) {
	s := newServer(t, Options{})
	for _, c := range []struct {
		name  string
		qtype uint16
		want  []string
	}{
		{"web.prod.svc.cluster.local.", dns.TypeA, []string{"NOERROR", "web.prod.svc.cluster.local. 5 A 10.201.0.5"}},
		{"WeB.prod.svc.CLUSTER.local.", dns.TypeA, []string{"NOERROR", "WeB.prod.svc.CLUSTER.local. 5 A 10.201.0.5"}},
		{"web.prod.svc.cluster.local.", dns.TypeAAAA, []string{"NOERROR", "web.prod.svc.cluster.local. 5 AAAA fd00::5"}},
		{"single.prod.svc.cluster.local.", dns.TypeAAAA, []string{"NOERROR", "authority SOA"}},
		{"web.prod.svc.cluster.local.", dns.TypeMX, []string{"NOERROR", "authority SOA"}},
		{"nope.prod.svc.cluster.local.", dns.TypeA, []string{"NXDOMAIN", "authority SOA"}},
		{"pending.prod.svc.cluster.local.", dns.TypeA, []string{"NXDOMAIN", "authority SOA"}},
		{"x.web.prod.svc.cluster.local.", dns.TypeA, []string{"NXDOMAIN", "authority SOA"}},
		{"a.b.web.prod.svc.cluster.local.", dns.TypeA, []string{"NXDOMAIN", "authority SOA"}},
		{"a.b.c.web.prod.svc.cluster.local.", dns.TypeA, []string{"NXDOMAIN", "authority SOA"}},
		{"www.example.com.prod.svc.cluster.local.", dns.TypeA, []string{"NXDOMAIN", "authority SOA"}},
		{"other.cluster.local.", dns.TypeA, []string{"NXDOMAIN", "authority SOA"}},
		// Names on the way exist.
		{"cluster.local.", dns.TypeA, []string{"NOERROR", "authority SOA"}},
		{"svc.cluster.local.", dns.TypeA, []string{"NOERROR", "authority SOA"}},
		{"prod.svc.cluster.local.", dns.TypeA, []string{"NOERROR", "authority SOA"}},
		{"test.svc.cluster.local.", dns.TypeA, []string{"NXDOMAIN", "authority SOA"}},
		{"_tcp.web.prod.svc.cluster.local.", dns.TypeSRV, []string{"NOERROR", "authority SOA"}},
		{"_sctp.web.prod.svc.cluster.local.", dns.TypeSRV, []string{"NXDOMAIN", "authority SOA"}},
		// The zone.
		{"cluster.local.", dns.TypeSOA, []string{"NOERROR", "SOA"}},
		{"cluster.local.", dns.TypeNS, []string{"NOERROR", "cluster.local. 5 NS ns.dns.cluster.local.", "extra ns.dns.cluster.local. 5 A 10.201.0.10"}},
		{"ns.dns.cluster.local.", dns.TypeA, []string{"NOERROR", "ns.dns.cluster.local. 5 A 10.201.0.10"}},
		{"dns-version.cluster.local.", dns.TypeTXT, []string{"NOERROR", `dns-version.cluster.local. 5 TXT "1.1.0"`}},
		// SRV.
		{"_http._tcp.web.prod.svc.cluster.local.", dns.TypeSRV, []string{"NOERROR",
			"_http._tcp.web.prod.svc.cluster.local. 5 SRV 0 100 80 web.prod.svc.cluster.local.",
			"extra web.prod.svc.cluster.local. 5 A 10.201.0.5", "extra web.prod.svc.cluster.local. 5 AAAA fd00::5"}},
		{"_http._udp.web.prod.svc.cluster.local.", dns.TypeSRV, []string{"NXDOMAIN", "authority SOA"}},
		{"_http._tcp.web.prod.svc.cluster.local.", dns.TypeA, []string{"NOERROR", "authority SOA"}},
		{"_._tcp.single.prod.svc.cluster.local.", dns.TypeSRV, []string{"NXDOMAIN", "authority SOA"}},
		{"single.prod.svc.cluster.local.", dns.TypeSRV, []string{"NOERROR",
			"single.prod.svc.cluster.local. 5 SRV 0 100 80 single.prod.svc.cluster.local.", "extra single.prod.svc.cluster.local. 5 A 10.201.0.6"}},
		// Headless.
		{"db.prod.svc.cluster.local.", dns.TypeA, []string{"NOERROR", "db.prod.svc.cluster.local. 5 A 10.200.0.2", "db.prod.svc.cluster.local. 5 A 10.200.0.4"}},
		{"db-0.db.prod.svc.cluster.local.", dns.TypeA, []string{"NOERROR", "db-0.db.prod.svc.cluster.local. 5 A 10.200.0.2"}},
		{"db-0.db.prod.svc.cluster.local.", dns.TypeAAAA, []string{"NOERROR", "authority SOA"}},
		{"db-1.db.prod.svc.cluster.local.", dns.TypeA, []string{"NXDOMAIN", "authority SOA"}},
		{"10-200-0-4.db.prod.svc.cluster.local.", dns.TypeA, []string{"NOERROR", "10-200-0-4.db.prod.svc.cluster.local. 5 A 10.200.0.4"}},
		{"_pg._tcp.db.prod.svc.cluster.local.", dns.TypeSRV, []string{"NOERROR",
			"_pg._tcp.db.prod.svc.cluster.local. 5 SRV 0 50 5433 10-200-0-4.db.prod.svc.cluster.local.",
			"_pg._tcp.db.prod.svc.cluster.local. 5 SRV 0 50 5433 db-0.db.prod.svc.cluster.local.",
			"extra 10-200-0-4.db.prod.svc.cluster.local. 5 A 10.200.0.4", "extra db-0.db.prod.svc.cluster.local. 5 A 10.200.0.2"}},
		{"none.prod.svc.cluster.local.", dns.TypeA, []string{"NOERROR", "authority SOA"}},
		// ExternalName.
		{"alias.prod.svc.cluster.local.", dns.TypeA, []string{"NOERROR",
			"alias.prod.svc.cluster.local. 5 CNAME web.prod.svc.cluster.local.", "web.prod.svc.cluster.local. 5 A 10.201.0.5"}},
		{"outside.prod.svc.cluster.local.", dns.TypeCNAME, []string{"NOERROR", "outside.prod.svc.cluster.local. 5 CNAME www.example.com."}},
		{"outside.prod.svc.cluster.local.", dns.TypeA, []string{"SERVFAIL", "outside.prod.svc.cluster.local. 5 CNAME www.example.com."}},
		// Pods.
		{"10-200-0-9.prod.pod.cluster.local.", dns.TypeA, []string{"NOERROR", "10-200-0-9.prod.pod.cluster.local. 5 A 10.200.0.9"}},
		{"fd00--9.prod.pod.cluster.local.", dns.TypeAAAA, []string{"NOERROR", "fd00--9.prod.pod.cluster.local. 5 AAAA fd00::9"}},
		{"10-200-0-999.prod.pod.cluster.local.", dns.TypeA, []string{"NXDOMAIN", "authority SOA"}},
		// Reverse.
		{"5.0.201.10.in-addr.arpa.", dns.TypePTR, []string{"NOERROR", "5.0.201.10.in-addr.arpa. 5 PTR web.prod.svc.cluster.local."}},
		{"5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", dns.TypePTR, []string{"NOERROR",
			"5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. 5 PTR web.prod.svc.cluster.local."}},
		{"2.0.200.10.in-addr.arpa.", dns.TypePTR, []string{"NOERROR", "2.0.200.10.in-addr.arpa. 5 PTR db-0.db.prod.svc.cluster.local."}},
		{"4.0.200.10.in-addr.arpa.", dns.TypePTR, []string{"NOERROR", "4.0.200.10.in-addr.arpa. 5 PTR 10-200-0-4.db.prod.svc.cluster.local."}},
		{"3.0.200.10.in-addr.arpa.", dns.TypePTR, []string{"NXDOMAIN", "authority SOA"}},
		{"5.0.201.10.in-addr.arpa.", dns.TypeA, []string{"NOERROR", "authority SOA"}},
		{"1.2.0.192.in-addr.arpa.", dns.TypePTR, []string{"SERVFAIL"}},
		// Others, with nobody to ask.
		{"www.example.com.", dns.TypeA, []string{"SERVFAIL"}},
	} {
		request := &dns.Msg{}
		request.SetQuestion(c.name, c.qtype)
		reply := s.answer(request)
		want := c.want[0] + "\n" + strings.Join(c.want[1:], "\n")
		if diff := cmp.Diff(want, short(reply)); diff != "" {
			t.Errorf("%s %s: %s", c.name, dns.TypeToString[c.qtype], diff)
		}
		if reply.Id != request.Id || !reply.Response || len(reply.Question) != 1 {
			t.Errorf("%s: reply is not to the question", c.name)
		}
	}
	circle := &dns.Msg{}
	circle.SetQuestion("circle.prod.svc.cluster.local.", dns.TypeA)
	if reply := s.answer(circle); reply.Rcode != dns.RcodeServerFailure {
		t.Errorf("a name that leads to itself: %s", short(reply))
	}
}

func TestOddQuestions(t *testing.T) {
	s := newServer(t, Options{})
	for _, c := range []struct {
		what string
		edit func(*dns.Msg)
		want int
	}{
		{"no question", func(m *dns.Msg) { m.Question = nil }, dns.RcodeFormatError},
		{"two", func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }, dns.RcodeFormatError},
		{"an update", func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }, dns.RcodeNotImplemented},
		{"another class", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, dns.RcodeRefused},
		{"the root", func(m *dns.Msg) { m.Question[0].Name = "." }, dns.RcodeServerFailure},
	} {
		request := &dns.Msg{}
		request.SetQuestion("web.prod.svc.cluster.local.", dns.TypeA)
		c.edit(request)
		if got := s.answer(request); got.Rcode != c.want {
			t.Errorf("%s: %s, want %s", c.what, dns.RcodeToString[got.Rcode], dns.RcodeToString[c.want])
		}
	}
}

// resolver is an upstream server; it counts questions.
func resolver(t *testing.T, ns *nettest.NS, address string, handle func(w dns.ResponseWriter, m *dns.Msg)) *atomic.Int32 {
	t.Helper()
	var asked atomic.Int32
	h := dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		if !strings.HasSuffix(m.Question[0].Name, ".loop.hivemind.") {
			asked.Add(1)
		}
		handle(w, m)
	})
	var packets net.PacketConn
	var listener net.Listener
	err := ns.Do(func() (err error) {
		if packets, err = net.ListenPacket("udp", address); err != nil {
			return err
		}
		listener, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: packets, Handler: h}, {Listener: listener, Handler: h}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	return &asked
}

// run starts a server on a bridge of the test's machine.
func run(t testing.TB, o Options) *Server {
	nettest.Require(t)
	b := bridge.Options{
		Name: "hm-test", Table: nft.TableName("test"), PodCIDR: netip.MustParsePrefix("10.200.0.0/24"), MTU: 1500,
		ClusterCIDR: netip.MustParsePrefix("10.200.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.201.0.0/16"),
	}
	if err := bridge.Setup(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bridge.Cleanup(b.Name, b.Table); err != nil {
			t.Error(err)
		}
	})
	o.Bridge = b.Name
	s := newServer(t, o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	limited, end := context.WithTimeout(ctx, 10*time.Second)
	defer end()
	if err := s.Ready(limited); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask sends a question from the namespace.
func ask(t testing.TB, from *nettest.NS, network, name string, qtype, size uint16) *dns.Msg {
	t.Helper()
	m := &dns.Msg{}
	m.SetQuestion(name, qtype)
	if size > 0 {
		m.SetEdns0(size, false)
	}
	var reply *dns.Msg
	err := from.Do(func() error {
		conn, err := dns.DialTimeout(network, "10.201.0.10:53", 2*time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.UDPSize = size
		if err := conn.SetDeadline(time.Now().Add(8 * time.Second)); err != nil {
			return err
		}
		if err := conn.WriteMsg(m); err != nil {
			return err
		}
		reply, err = conn.ReadMsg()
		return err
	})
	if err != nil {
		t.Fatalf("%s over %s: %v", name, network, err)
	}
	return reply
}

func TestServesPodsAndTheNode(t *testing.T) {
	run(t, Options{})
	pod := nettest.Pod(t, "hm-test", "10.200.0.2", "10.200.0.1")
	for _, from := range []*nettest.NS{pod, nettest.Here(t)} {
		for _, network := range []string{"udp", "tcp"} {
			got := short(ask(t, from, network, "web.prod.svc.cluster.local.", dns.TypeA, 0))
			if want := "NOERROR\nweb.prod.svc.cluster.local. 5 A 10.201.0.5"; got != want {
				t.Errorf("over %s: %s", network, got)
			}
		}
	}
	const many = "many.prod.svc.cluster.local."
	if r := ask(t, pod, "udp", many, dns.TypeA, 0); !r.Truncated || len(r.Answer) == 0 || len(r.Answer) > 40 || r.IsEdns0() != nil {
		t.Errorf("100 addresses in 512 bytes: truncated %v, %d records", r.Truncated, len(r.Answer))
	}
	if r := ask(t, pod, "udp", many, dns.TypeA, 4096); r.Truncated || len(r.Answer) != 100 || r.IsEdns0() == nil {
		t.Errorf("100 addresses in 4096 bytes: truncated %v, %d records", r.Truncated, len(r.Answer))
	}
	if r := ask(t, pod, "tcp", many, dns.TypeA, 0); r.Truncated || len(r.Answer) != 100 {
		t.Errorf("100 addresses over TCP: truncated %v, %d records", r.Truncated, len(r.Answer))
	}
	if c, err := pod.Dial("tcp", "10.200.0.1:53"); err == nil {
		c.Close()
		t.Error("DNS listens on another address than its own")
	}
}

func TestUpstream(t *testing.T) {
	nettest.Require(t)
	world := nettest.Connect(t, "192.0.2.1", "192.0.2.9")
	silent := resolver(t, world, "192.0.2.9:5301", func(dns.ResponseWriter, *dns.Msg) {})
	failing := resolver(t, world, "192.0.2.9:5302", func(w dns.ResponseWriter, m *dns.Msg) {
		r := &dns.Msg{}
		_ = w.WriteMsg(r.SetRcode(m, dns.RcodeServerFailure))
	})
	answering := resolver(t, world, "192.0.2.9:5303", func(w dns.ResponseWriter, m *dns.Msg) {
		r := &dns.Msg{}
		r.SetReply(m)
		name := m.Question[0].Name
		switch {
		case strings.HasPrefix(name, "big."):
			for i := range 200 {
				rr, _ := dns.NewRR(fmt.Sprintf("%s 300 IN A 198.51.100.%d", name, i))
				r.Answer = append(r.Answer, rr)
			}
			if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
				r.Answer, r.Truncated = r.Answer[:1], true
			}
		case strings.HasPrefix(name, "no."):
			soa, _ := dns.NewRR("example.com. 300 IN SOA ns.example.com. root.example.com. 1 2 3 4 300")
			r.Rcode, r.Ns = dns.RcodeNameError, []dns.RR{soa}
		default:
			rr, _ := dns.NewRR(name + " 300 IN A 198.51.100.7")
			r.Answer = []dns.RR{rr}
		}
		_ = w.WriteMsg(r)
	})
	run(t, Options{Upstream: []string{"192.0.2.9:5301", "192.0.2.9:5302", "192.0.2.9:5303"}})
	here := nettest.Here(t)

	for range 3 { // the first question finds who answers; later ones are from the cache
		if got := short(ask(t, here, "udp", "www.example.com.", dns.TypeA, 0)); got != "NOERROR\nwww.example.com. 300 A 198.51.100.7" {
			t.Errorf("a name of the world: %s", got)
		}
	}
	if s, f, a := silent.Load(), failing.Load(), answering.Load(); s != 1 || f != 1 || a != 1 {
		t.Errorf("asked %d, %d and %d times, want once each", s, f, a)
	}
	for range 3 {
		if got := short(ask(t, here, "udp", "no.example.com.", dns.TypeA, 0)); got != "NXDOMAIN\nauthority SOA" {
			t.Errorf("a name that does not exist: %s", got)
		}
	}
	if s, a := silent.Load(), answering.Load(); s != 1 || a != 2 {
		t.Errorf("asked the silent server %d and the answering one %d times, want 1 and 2", s, a)
	}
	if r := ask(t, here, "tcp", "big.example.com.", dns.TypeA, 0); len(r.Answer) != 200 {
		t.Errorf("an answer too big for UDP has %d records", len(r.Answer))
	}
	if got := short(ask(t, here, "udp", "outside.prod.svc.cluster.local.", dns.TypeA, 0)); got !=
		"NOERROR\noutside.prod.svc.cluster.local. 5 CNAME www.example.com.\nwww.example.com. 300 A 198.51.100.7" {
		t.Errorf("an ExternalName: %s", got)
	}
}

// TestSilentUpstream has clients told at once that nobody answers, instead of waiting for it each time.
func TestSilentUpstream(t *testing.T) {
	nettest.Require(t)
	var up atomic.Bool
	asked := resolver(t, nettest.Here(t), "127.0.0.1:5305", func(w dns.ResponseWriter, m *dns.Msg) {
		if up.Load() {
			r := &dns.Msg{}
			_ = w.WriteMsg(r.SetRcode(m, dns.RcodeNameError))
		}
	})
	s := run(t, Options{Upstream: []string{"127.0.0.1:5305"}})
	here := nettest.Here(t)
	nettest.Eventually(t, func() error {
		if s.upstream.silent.Load() == 0 {
			return fmt.Errorf("nobody has noticed that the resolver is silent")
		}
		return nil
	})
	before := asked.Load()
	for i := range 20 {
		begin := time.Now()
		r := ask(t, here, "udp", fmt.Sprintf("%d.example.com.", i), dns.TypeA, 0)
		if took := time.Since(begin); r.Rcode != dns.RcodeServerFailure || took > time.Second {
			t.Fatalf("question %d: %s after %v", i, short(r), took)
		}
	}
	if n := asked.Load() - before; n > 0 {
		t.Errorf("the silent resolver was asked %d times", n)
	}
	up.Store(true)
	nettest.Eventually(t, func() error {
		if r := ask(t, here, "udp", "back.example.com.", dns.TypeA, 0); r.Rcode != dns.RcodeNameError {
			return fmt.Errorf("after the resolver is back: %s", short(r))
		}
		return nil
	})
}

func TestLoopIsFound(t *testing.T) {
	nettest.Require(t)
	// A resolver on the host that sends everything to us, as one does whose resolv.conf names cluster DNS.
	resolver(t, nettest.Here(t), "127.0.0.1:5304", func(w dns.ResponseWriter, m *dns.Msg) {
		client := dns.Client{Timeout: 2 * time.Second}
		if r, _, err := client.Exchange(m, "10.201.0.10:53"); err == nil {
			_ = w.WriteMsg(r)
		}
	})
	s := run(t, Options{Upstream: []string{"127.0.0.1:5304"}})
	nettest.Eventually(t, func() error {
		if !s.upstream.looped.Load() {
			return fmt.Errorf("the loop was not found")
		}
		return nil
	})
	if r := ask(t, nettest.Here(t), "udp", "www.example.com.", dns.TypeA, 0); r.Rcode != dns.RcodeServerFailure {
		t.Errorf("in a loop: %s", short(r))
	}
}

func TestResolvers(t *testing.T) {
	own := netip.MustParseAddr("10.201.0.10")
	for _, c := range []struct{ conf, want string }{
		{"", ""},
		{"nameserver 192.0.2.1\n", "192.0.2.1:53"},
		{"# nameserver 192.0.2.9\nsearch example.com\n\tnameserver\t192.0.2.1 \nnameserver 2001:db8::1\noptions ndots:5\n", "192.0.2.1:53 [2001:db8::1]:53"},
		{"nameserver 10.201.0.10\nnameserver 192.0.2.1", "192.0.2.1:53"},
		{"nameserver 0.0.0.0\nnameserver nonsense\nnameserver\n", ""},
		{"nameserver 127.0.0.1\n", "127.0.0.1:53"},
	} {
		path := filepath.Join(t.TempDir(), "resolv.conf")
		if err := os.WriteFile(path, []byte(c.conf), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(nameServers(path, own), " "); got != c.want {
			t.Errorf("%q: %q, want %q", c.conf, got, c.want)
		}
	}
	if got := nameServers("/nonexistent", own); len(got) != 0 {
		t.Errorf("no file: %v", got)
	}
}

func TestResolversBehindAStub(t *testing.T) {
	const missing = "-"
	for _, c := range []struct{ conf, behind, want string }{
		{"nameserver 127.0.0.53\n", "nameserver 192.0.2.1\n", "192.0.2.1:53"},
		{"nameserver 127.0.0.53\n", "", "127.0.0.53:53"},
		{"nameserver 127.0.0.53\n", missing, "127.0.0.53:53"},
		{"", "nameserver 192.0.2.1\n", "192.0.2.1:53"},
		{missing, "nameserver 192.0.2.1\n", "192.0.2.1:53"},
		{"", "", ""},
		{missing, missing, ""},
		{"nameserver 127.0.0.1\nnameserver ::1\n", "nameserver 192.0.2.1\n", "127.0.0.1:53 [::1]:53"}, // dnsmasq, unbound: on the host like us
		{"nameserver 192.0.2.2\n", "nameserver 192.0.2.1\n", "192.0.2.2:53"},
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{"conf": c.conf, "behind": c.behind} {
			if text == missing {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Join(resolvers(filepath.Join(dir, "conf"), filepath.Join(dir, "behind"), netip.Addr{}), " "); got != c.want {
			t.Errorf("%q, behind it %q: %q, want %q", c.conf, c.behind, got, c.want)
		}
	}
}

func TestResolvConfIsReadAgainWhenItChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	u := newUpstream(nil, path, netip.Addr{})
	if got := u.current(); len(got) != 0 {
		t.Errorf("no file: %v", got)
	}
	for i, server := range []string{"192.0.2.1", "192.0.2.2"} {
		if err := os.WriteFile(path, []byte("nameserver "+server+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		changed := time.Now().Add(time.Duration(i) * time.Hour)
		if err := os.Chtimes(path, changed, changed); err != nil {
			t.Fatal(err)
		}
		u.looked = time.Time{}
		if got := u.current(); len(got) != 1 || got[0] != server+":53" {
			t.Errorf("after a change: %v, want %s", got, server)
		}
	}
}

func TestAnswersAgeAndAreBounded(t *testing.T) {
	a := newAnswers(10)
	now := time.Now()
	reply := &dns.Msg{}
	rr, err := dns.NewRR("x. 60 IN A 192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	reply.Answer = []dns.RR{rr}
	key := question{name: "x.", qtype: dns.TypeA}
	a.put(key, reply, now)
	if got := a.get(key, now.Add(20*time.Second)); got == nil || got.Answer[0].Header().Ttl != 40 {
		t.Errorf("after 20 s: %v, want a TTL of 40", got)
	}
	if got := a.get(key, now.Add(60*time.Second)); got != nil {
		t.Errorf("after its TTL it still is there: %v", got)
	}
	for i := range 100 {
		a.put(question{name: fmt.Sprint(i)}, reply, now)
	}
	if len(a.have) > 10 {
		t.Errorf("%d answers are kept, want at most 10", len(a.have))
	}
	reply.Truncated = true
	if life := lifetime(reply); life != 0 {
		t.Errorf("a truncated answer is kept for %s", life)
	}
}

// BenchmarkAnswer measures questions one after another over UDP, and reports the 99th percentile.
func BenchmarkAnswer(b *testing.B) {
	run(b, Options{})
	pod := nettest.Pod(b, "hm-test", "10.200.0.2", "10.200.0.1")
	for _, name := range []string{"web.prod.svc.cluster.local.", "nope.prod.svc.cluster.local.", "db.prod.svc.cluster.local."} {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			err := pod.Do(func() error {
				conn, err := dns.Dial("udp", "10.201.0.10:53")
				if err != nil {
					return err
				}
				defer conn.Close()
				m := &dns.Msg{}
				for b.Loop() {
					m.SetQuestion(name, dns.TypeA)
					begin := time.Now()
					if err := conn.WriteMsg(m); err != nil {
						return err
					}
					if _, err := conn.ReadMsg(); err != nil {
						return err
					}
					took = append(took, time.Since(begin))
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
		})
	}
}
