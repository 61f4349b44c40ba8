// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/hivemind-project/hivemind/hack/images/build"
	"github.com/hivemind-project/hivemind/pkg/network/nettest"
)

// The pods and services of the network's tests. The containers only sleep: the test itself listens and connects in their
// network namespaces, on port 8080, so that it sees each packet's fate and the address that a server is reached from.
const networkManifest = `
apiVersion: v1
kind: Namespace
metadata: {name: net}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: net}
spec:
  type: NodePort
  selector: {app: web}
  ports:
  - {name: tcp, port: 80, targetPort: 8080, nodePort: 30181}
  - {name: udp, port: 80, targetPort: 8080, nodePort: 30181, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: sticky, namespace: net}
spec:
  selector: {app: web}
  sessionAffinity: ClientIP
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: local, namespace: net}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30182}]
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: net}
spec:
  clusterIP: None
  selector: {app: web}
  ports: [{name: http, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: host, namespace: net}
spec:
  selector: {app: host}
  ports: [{port: 80, targetPort: 18083}]
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: net}
spec:
  selector: {app: nobody}
  ports: [{port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: net}
spec: {type: ExternalName, externalName: web.net.svc.cluster.local}
`

// other is a machine beside the node, in a range for documentation.
const nodeSide, otherSide = "198.51.100.1", "198.51.100.9"

// network is what the steps of the network's tests share.
type network struct {
	*suite
	a, b, client, host, world *nettest.NS
	ip                        map[string]string // of pods
	service                   map[string]string // cluster IPs
	healthCheck               string            // port of service local
	dns                       string
	node                      string // address
}

// network has pods and services with every kind of way between them.
func (s *suite) network(t *testing.T) {
	n := s.newNetwork(t)
	t.Run("ways", n.ways)
	t.Run("affinity", n.affinity)
	t.Run("health check", n.health)
	t.Run("names", n.names)
	t.Run("UDP follows its endpoints", n.udp)
	t.Run("hivemindd killed", n.killed)
	s.kubectl(t, "delete", "namespace", "net")
}

func (s *suite) newNetwork(t *testing.T) *network {
	t.Helper()
	s.apply(t, networkManifest)
	for _, p := range []struct{ name, app, spec, ports string }{
		{"a", "web", "hostname: first\nsubdomain: headless\n", "\n    ports: [{containerPort: 8080, hostPort: 18081}, {containerPort: 8080, hostPort: 18081, protocol: UDP}]"},
		{"b", "web", "", ""}, {"client", "client", "", ""}, {"host", "host", "hostNetwork: true\ndnsPolicy: ClusterFirstWithHostNet\n", ""},
	} {
		s.apply(t, fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: net, labels: {app: %s}}\nspec:\n  terminationGracePeriodSeconds: 0\n  %s"+
			"containers:\n  - name: main\n    image: %s/busybox:1\n    %s%s\n", p.name, p.app, strings.ReplaceAll(p.spec, "\n", "\n  "), build.Public, sleep, p.ports))
	}
	s.kubectl(t, "wait", "-n", "net", "--for=condition=Ready", "pod", "--all", "--timeout=60s")

	n := &network{suite: s, ip: map[string]string{}, service: map[string]string{}}
	inPod := map[string]*nettest.NS{}
	var pods corev1.PodList
	n.list(t, "pods", &pods)
	for _, p := range pods.Items {
		n.ip[p.Name] = p.Status.PodIP
		inPod[p.Name] = nettest.At(t, fmt.Sprintf("/proc/%d/ns/net", processOf(t, p.Status.ContainerStatuses[0].ContainerID)))
	}
	n.a, n.b, n.client, n.host, n.node = inPod["a"], inPod["b"], inPod["client"], inPod["host"], n.ip["host"]
	var services corev1.ServiceList
	n.list(t, "services", &services)
	for _, svc := range services.Items {
		n.service[svc.Name] = svc.Spec.ClusterIP
		if svc.Name == "local" {
			n.healthCheck = strconv.Itoa(int(svc.Spec.HealthCheckNodePort))
		}
	}
	resolvConf := s.kubectl(t, "exec", "-n", "net", "client", "--", "cat", "/etc/resolv.conf")
	see(t, resolvConf, "search net.svc.cluster.local svc.cluster.local cluster.local", "ndots:5")
	n.dns = strings.Fields(resolvConf[strings.Index(resolvConf, "nameserver "):])[1] + ":53"

	for name, pod := range map[string]*nettest.NS{"a": n.a, "b": n.b} {
		pod.ServeTCP(":8080", name)
		pod.ServeUDP(n.ip[name]+":8080", name)
	}
	n.host.ServeTCP(":18083", "host")
	n.world = nettest.Connect(t, nodeSide, otherSide)
	return n
}

func (n *network) list(t *testing.T, kind string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(n.kubectl(t, "get", "-n", "net", kind, "-o", "json")), into); err != nil {
		t.Fatal(err)
	}
}

// answers asks until every one of want has answered and nobody else has, and returns who was seen as the client.
func answers(from *nettest.NS, network, address string, want ...string) ([]string, error) {
	var names, clients []string
	deadline := time.Now().Add(10 * time.Second)
	for i := 0; i < 8 || len(names) < len(want); i++ {
		name, client, err := from.Get(network, address)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", network, address, err)
		}
		if !slices.Contains(want, name) {
			return nil, fmt.Errorf("%s %s is answered by %s, want %v", network, address, name, want)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		if !slices.Contains(clients, client) {
			clients = append(clients, client)
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%s %s is answered by %v, want %v", network, address, names, want)
		}
	}
	slices.Sort(clients)
	return clients, nil
}

// ways are all the ways that lead to a pod. client is whom the server sees, where that is promised.
func (n *network) ways(t *testing.T) {
	gateway := netip.MustParseAddr(n.ip["a"]).As4()
	gateway[3] = 1
	bridge := netip.AddrFrom4(gateway).String()
	both := []string{"a", "b"}
	for _, c := range []struct {
		what, network, address string
		from                   *nettest.NS
		want                   []string
		client                 string
	}{
		{"pod to pod", "tcp", n.ip["a"] + ":8080", n.client, both[:1], n.ip["client"]},
		{"node to pod", "tcp", n.ip["a"] + ":8080", n.host, both[:1], bridge},
		{"pod to cluster IP", "tcp", n.service["web"] + ":80", n.client, both, n.ip["client"]},
		{"pod to cluster IP, UDP", "udp", n.service["web"] + ":80", n.client, both, n.ip["client"]},
		{"pod on the node's network to cluster IP", "tcp", n.service["web"] + ":80", n.host, both, ""},
		{"pod on the node's network to cluster IP, UDP", "udp", n.service["web"] + ":80", n.host, both, ""},
		{"node to cluster IP", "tcp", n.service["web"] + ":80", nettest.Here(t), both, ""},
		{"endpoint to its own cluster IP", "tcp", n.service["web"] + ":80", n.a, both, ""},
		{"endpoint to its own cluster IP, UDP", "udp", n.service["web"] + ":80", n.a, both, ""},
		{"pod to a service on the node's network", "tcp", n.service["host"] + ":80", n.client, []string{"host"}, ""},
		{"node to a service on the node's network", "tcp", n.service["host"] + ":80", nettest.Here(t), []string{"host"}, ""},
		{"node port by loopback", "tcp", "127.0.0.1:30181", nettest.Here(t), both, ""},
		{"node port by the node's address", "tcp", n.node + ":30181", nettest.Here(t), both, ""},
		{"node port by the node's address, UDP", "udp", n.node + ":30181", nettest.Here(t), both, ""},
		{"node port from a pod", "tcp", n.node + ":30181", n.client, both, ""},
		{"node port from its own endpoint", "tcp", n.node + ":30181", n.a, both, ""},
		{"node port from another machine", "tcp", nodeSide + ":30181", n.world, both, ""},
		{"node port from another machine, UDP", "udp", nodeSide + ":30181", n.world, both, ""},
		{"node port of policy Local from another machine", "tcp", nodeSide + ":30182", n.world, both, otherSide},
		{"node port of policy Local from a pod", "tcp", n.node + ":30182", n.client, both, n.ip["client"]},
		{"host port by loopback", "tcp", "127.0.0.1:18081", nettest.Here(t), both[:1], ""},
		{"host port from another pod", "tcp", n.node + ":18081", n.client, both[:1], n.ip["client"]},
		{"host port from its own pod", "tcp", n.node + ":18081", n.a, both[:1], ""},
		{"host port from another machine", "tcp", nodeSide + ":18081", n.world, both[:1], otherSide},
		{"host port from another machine, UDP", "udp", nodeSide + ":18081", n.world, both[:1], otherSide},
	} {
		clients, err := answers(c.from, c.network, c.address, c.want...)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
		} else if c.client != "" && !slices.Equal(clients, []string{c.client}) {
			t.Errorf("%s: the server sees %v, want %s", c.what, clients, c.client)
		}
	}
	for what, from := range map[string]*nettest.NS{"pod": n.client, "node": nettest.Here(t), "pod on the node's network": n.host} {
		begin := time.Now()
		_, _, err := from.Get("tcp", n.service["nobody"]+":80")
		if took := time.Since(begin); !errors.Is(err, syscall.ECONNREFUSED) || took > time.Second {
			t.Errorf("%s to a service without endpoints: %v after %v, want connection refused at once", what, err, took)
		}
	}
}

func (n *network) affinity(t *testing.T) {
	for what, from := range map[string]*nettest.NS{"client": n.client, "node": nettest.Here(t)} {
		first, _, err := from.Get("tcp", n.service["sticky"]+":80")
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if name, _, err := from.Get("tcp", n.service["sticky"]+":80"); err != nil || name != first {
				t.Errorf("%s, which was with %s, got %q, %v", what, first, name, err)
				break
			}
		}
	}
}

func (n *network) health(t *testing.T) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	eventually(t, "two local endpoints", 10*time.Second, func() error {
		r, err := client.Get("http://" + net.JoinHostPort(nodeSide, n.healthCheck))
		if err != nil {
			return err
		}
		defer r.Body.Close()
		var answer struct{ LocalEndpoints int }
		if err := json.NewDecoder(r.Body).Decode(&answer); err != nil || r.StatusCode != http.StatusOK || answer.LocalEndpoints != 2 {
			return fmt.Errorf("%s %+v %v", r.Status, answer, err)
		}
		return nil
	})
}

// resolver asks cluster DNS from a namespace.
func (n *network) resolver(from *nettest.NS) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return from.Dial("udp", n.dns) }}
}

func (n *network) names(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	pods := []string{n.ip["a"], n.ip["b"]}
	slices.Sort(pods)
	for what, from := range map[string]*nettest.NS{"pod": n.client, "pod on the node's network": n.host, "node": nettest.Here(t)} {
		r := n.resolver(from)
		for name, want := range map[string][]string{
			"web.net.svc.cluster.local.":            {n.service["web"]},
			"headless.net.svc.cluster.local.":       pods,
			"first.headless.net.svc.cluster.local.": {n.ip["a"]},
			"alias.net.svc.cluster.local.":          {n.service["web"]},
			"kubernetes.default.svc.cluster.local.": {strings.TrimSpace(n.kubectl(t, "get", "svc", "-n", "default", "kubernetes", "-o", "jsonpath={.spec.clusterIP}"))},
		} {
			got, err := r.LookupHost(ctx, name)
			slices.Sort(got)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %s is %v, %v; want %v", what, name, got, err, want)
			}
		}
		if cname, err := r.LookupCNAME(ctx, "alias.net.svc.cluster.local."); err != nil || cname != "web.net.svc.cluster.local." {
			t.Errorf("%s: alias leads to %s, %v", what, cname, err)
		}
		_, srv, err := r.LookupSRV(ctx, "http", "tcp", "headless.net.svc.cluster.local.")
		if err != nil || len(srv) != 2 || srv[0].Port != 8080 || !slices.ContainsFunc(srv, func(s *net.SRV) bool { return s.Target == "first.headless.net.svc.cluster.local." }) {
			t.Errorf("%s: SRV of headless: %v, %v", what, srv, err)
		}
		for ip, want := range map[string]string{n.service["web"]: "web.net.svc.cluster.local.", n.ip["a"]: "first.headless.net.svc.cluster.local."} {
			if got, err := r.LookupAddr(ctx, ip); err != nil || !slices.Equal(got, []string{want}) {
				t.Errorf("%s: PTR of %s: %v, %v; want %s", what, ip, got, err, want)
			}
		}
		// Whether or not the machine has a resolver that answers, nobody waits long.
		begin := time.Now()
		if got, err := r.LookupHost(ctx, "no-such-name.invalid."); err == nil || time.Since(begin) > 5*time.Second {
			t.Errorf("%s: a name that does not exist is %v after %v", what, got, time.Since(begin))
		}
		begin = time.Now()
		if _, err := r.LookupHost(ctx, "nope.net.svc.cluster.local."); err == nil || time.Since(begin) > time.Second {
			t.Errorf("%s: a service that does not exist: %v after %v", what, err, time.Since(begin))
		}
	}
	// The search domains, by the C library's rules and not Go's.
	for _, name := range []string{"web", "web.net", "web.net.svc"} {
		for _, pod := range []string{"client", "host"} {
			if got := n.kubectl(t, "exec", "-n", "net", pod, "--", "nc", "-w", "2", name, "80"); !strings.HasPrefix(got, "a ") && !strings.HasPrefix(got, "b ") {
				t.Errorf("pod %s reaches %q by the name %s", pod, got, name)
			}
		}
	}
}

// udp has a client that goes on from one port, as resolvers do, follow an endpoint's end.
func (n *network) udp(t *testing.T) {
	conn, err := n.client.Dial("udp", n.service["web"]+":80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	first, _, err := nettest.Ask(conn, "udp")
	if err != nil {
		t.Fatal(err)
	}
	n.kubectl(t, "label", "pod", "-n", "net", first, "app=gone", "--overwrite")
	begin := time.Now()
	eventually(t, "an answer of the other endpoint", 5*time.Second, func() error {
		if name, _, err := nettest.Ask(conn, "udp"); err != nil || name == first {
			return fmt.Errorf("got %q, %v", name, err)
		}
		return nil
	})
	t.Logf("a UDP flow left the endpoint that was gone after %v", time.Since(begin).Round(time.Millisecond))
	n.kubectl(t, "label", "pod", "-n", "net", first, "app=web", "--overwrite")
	eventually(t, "both endpoints", 10*time.Second, func() error {
		_, err := answers(n.client, "udp", n.service["web"]+":80", "a", "b")
		return err
	})
}
