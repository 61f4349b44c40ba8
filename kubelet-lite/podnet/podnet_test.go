// SPDX-License-Identifier: Apache-2.0

package podnet

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
)

func TestConfig(t *testing.T) {
	dir := t.TempDir()
	file := func(content string) string {
		path := filepath.Join(dir, fmt.Sprint(len(content)))
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := file("nameserver 192.0.2.53\nsearch corp.test.\noptions rotate\n")
	stub := file("# systemd\nnameserver 127.0.0.53\noptions edns0\n")
	behind := file("nameserver 198.51.100.1\nnameserver 198.51.100.2\n")
	empty := file("")
	loopback := file("nameserver 127.0.0.1\nnameserver ::1\nsearch home.test\n")
	value := "2"
	for _, c := range []struct {
		name                       string
		files                      []string
		pod                        v1.PodSpec
		servers, searches, options string
		warns                      bool
	}{
		{"cluster first", []string{plain}, v1.PodSpec{DNSPolicy: v1.DNSClusterFirst}, "10.43.0.10", "default.svc.cluster.local svc.cluster.local cluster.local corp.test", "ndots:5", false},
		{"cluster first, host network", []string{plain}, v1.PodSpec{DNSPolicy: v1.DNSClusterFirst, HostNetwork: true}, "192.0.2.53", "corp.test", "rotate", false},
		{"with host network", []string{plain}, v1.PodSpec{DNSPolicy: v1.DNSClusterFirstWithHostNet, HostNetwork: true}, "10.43.0.10", "default.svc.cluster.local svc.cluster.local cluster.local corp.test", "ndots:5", false},
		{"default", []string{plain}, v1.PodSpec{DNSPolicy: v1.DNSDefault}, "192.0.2.53", "corp.test", "rotate", false},
		{"default behind a stub", []string{stub, behind}, v1.PodSpec{DNSPolicy: v1.DNSDefault}, "198.51.100.1 198.51.100.2", "", "", false},
		{"default with a stub alone", []string{stub}, v1.PodSpec{DNSPolicy: v1.DNSDefault}, "10.43.0.10", "", "edns0", false},
		{"stub is reachable from the host", []string{stub, behind}, v1.PodSpec{DNSPolicy: v1.DNSDefault, HostNetwork: true}, "127.0.0.53", "", "edns0", false},
		{"default with loopback servers alone", []string{loopback, dir + "/absent"}, v1.PodSpec{DNSPolicy: v1.DNSDefault}, "10.43.0.10", "home.test", "", false},
		{"cluster first with loopback servers alone", []string{loopback}, v1.PodSpec{DNSPolicy: v1.DNSClusterFirst}, "10.43.0.10", "default.svc.cluster.local svc.cluster.local cluster.local home.test", "ndots:5", false},
		{"default with an empty file", []string{empty}, v1.PodSpec{DNSPolicy: v1.DNSDefault}, "10.43.0.10", "", "", false},
		{"default without a file", []string{dir + "/absent"}, v1.PodSpec{DNSPolicy: v1.DNSDefault}, "10.43.0.10", "", "", false},
		{"none", []string{plain}, v1.PodSpec{DNSPolicy: v1.DNSNone, DNSConfig: &v1.PodDNSConfig{Nameservers: []string{"1.1.1.1"}, Searches: []string{"a.test"},
			Options: []v1.PodDNSConfigOption{{Name: "ndots", Value: &value}, {Name: "debug"}}}}, "1.1.1.1", "a.test", "ndots:2 debug", false},
		{"own options win", []string{plain}, v1.PodSpec{DNSPolicy: v1.DNSClusterFirst, DNSConfig: &v1.PodDNSConfig{Options: []v1.PodDNSConfigOption{{Name: "ndots", Value: &value}}}},
			"10.43.0.10", "default.svc.cluster.local svc.cluster.local cluster.local corp.test", "ndots:2", false},
		{"too many servers", []string{plain}, v1.PodSpec{DNSPolicy: v1.DNSNone, DNSConfig: &v1.PodDNSConfig{Nameservers: []string{"1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"}}},
			"1.1.1.1 2.2.2.2 3.3.3.3", "", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Resolver{ClusterDNS: []string{"10.43.0.10"}, ClusterDomain: "cluster.local", Files: c.files}
			pod := &v1.Pod{Spec: c.pod}
			pod.Namespace = "default"
			got, warning := r.Config(pod)
			if s := strings.Join(got.Servers, " "); s != c.servers {
				t.Errorf("servers %q, want %q", s, c.servers)
			}
			if s := strings.Join(got.Searches, " "); s != c.searches {
				t.Errorf("searches %q, want %q", s, c.searches)
			}
			if s := strings.Join(got.Options, " "); s != c.options {
				t.Errorf("options %q, want %q", s, c.options)
			}
			if (warning != "") != c.warns {
				t.Errorf("warning is %q", warning)
			}
		})
	}
}

func TestHostsFile(t *testing.T) {
	pod := &v1.Pod{Spec: v1.PodSpec{Hostname: "web", Subdomain: "site", HostAliases: []v1.HostAlias{{IP: "192.0.2.7", Hostnames: []string{"a.test", "b.test"}}}}}
	pod.Name, pod.Namespace = "web-0", "shop"
	name, domain, err := Hostname(pod, "cluster.local")
	if err != nil || name != "web" || domain != "site.shop.svc.cluster.local" {
		t.Fatalf("host name %q, domain %q, %v", name, domain, err)
	}
	path := filepath.Join(t.TempDir(), "hosts")
	if err := WriteHosts(path, pod, name, domain, []string{"10.0.0.1", "fd00::1"}); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(content), "\n")
	for _, want := range []string{"# Kubernetes-managed hosts file.", "127.0.0.1\tlocalhost", "10.0.0.1\tweb.site.shop.svc.cluster.local\tweb",
		"fd00::1\tweb.site.shop.svc.cluster.local\tweb", "# Entries added by HostAliases.", "192.0.2.7\ta.test\tb.test"} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %q in\n%s", want, content)
		}
	}
}

func TestHostname(t *testing.T) {
	long := strings.Repeat("a", 62) + "-bc"
	yes := true
	for _, c := range []struct {
		name, hostname, subdomain string
		fqdn                      *bool
		want                      string
		fails                     bool
	}{
		{"pod", "", "", nil, "pod", false},
		{long, "", "", nil, strings.Repeat("a", 62), false},
		{"pod", "web", "", nil, "web", false},
		{"pod", "Not_A_Label", "", nil, "", true},
		{"pod", "web", "site", &yes, "web.site.ns.svc.cluster.local", false},
		{"pod", "web", strings.Repeat("s", 60), &yes, "", true},
	} {
		pod := &v1.Pod{Spec: v1.PodSpec{Hostname: c.hostname, Subdomain: c.subdomain, SetHostnameAsFQDN: c.fqdn}}
		pod.Name, pod.Namespace = c.name, "ns"
		name, domain, err := Hostname(pod, "cluster.local")
		if err == nil {
			name, err = KernelHostname(pod, name, domain)
		}
		if (err != nil) != c.fails || (err == nil && name != c.want) {
			t.Errorf("%+v: %q, %v", c, name, err)
		}
	}
}
