// SPDX-License-Identifier: Apache-2.0

// Package podnet computes a pod's names: its host name, its resolv.conf and its hosts file. All of it is pure but for reading
// the machine's resolv.conf and hosts file and writing the pod's; the cost is a few small files a pod.
package podnet

import (
	"bufio"
	"net/netip"
	"os"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Limits of the resolver in libc, which the API's documentation repeats.
const (
	maxNameservers = 3
	maxSearches    = 32
	maxSearchChars = 2048
)

// Resolver is the DNS configuration of the cluster and of this machine.
type Resolver struct {
	ClusterDNS    []string
	ClusterDomain string
	// Files are the machine's resolv.conf and where systemd-resolved writes the servers behind its stub, first choice first.
	Files []string
}

// HostFiles are where the machine's DNS servers are looked for.
func HostFiles() []string {
	return []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}
}

// conf is a resolv.conf.
type conf struct {
	servers, searches, options []string
}

// Config returns what a pod's resolv.conf is to say. warning, if any, is for an event with reason DNSConfigForming.
func (r *Resolver) Config(pod *v1.Pod) (config *runtimeapi.DNSConfig, warning string) {
	var c conf
	switch policy := pod.Spec.DNSPolicy; {
	case policy == v1.DNSNone:
	case len(r.ClusterDNS) > 0 && (policy == v1.DNSClusterFirstWithHostNet || (policy != v1.DNSDefault && !pod.Spec.HostNetwork)):
		host := r.host(false)
		c.servers = slices.Clone(r.ClusterDNS)
		if r.ClusterDomain != "" {
			svc := "svc." + r.ClusterDomain
			c.searches = []string{pod.Namespace + "." + svc, svc, r.ClusterDomain}
		}
		c.searches = append(c.searches, host.searches...)
		c.options = []string{"ndots:5"}
	default:
		// A resolver on the machine's loopback is out of a pod's reach unless it shares the machine's network.
		c = r.host(pod.Spec.HostNetwork)
		if len(c.servers) == 0 {
			c.servers = slices.Clone(r.ClusterDNS)
		}
	}
	if extra := pod.Spec.DNSConfig; extra != nil {
		c.servers = merge(c.servers, extra.Nameservers)
		c.searches = merge(c.searches, extra.Searches)
		c.options = mergeOptions(c.options, extra.Options)
	}
	warning = c.limit()
	return &runtimeapi.DNSConfig{Servers: c.servers, Searches: c.searches, Options: c.options}, warning
}

// host reads the machine's servers, taking the first file that names one which can be reached. An empty or missing file, or
// one that names a stub on loopback alone, is passed over.
func (r *Resolver) host(loopback bool) conf {
	var first *conf
	for _, path := range r.Files {
		content, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		c := parse(string(content))
		if !loopback {
			c.servers = slices.DeleteFunc(c.servers, func(s string) bool {
				ip, err := netip.ParseAddr(s)
				return err != nil || ip.IsLoopback() || ip.IsUnspecified()
			})
		}
		if len(c.servers) > 0 {
			return c
		}
		if first == nil {
			first = &c
		}
	}
	if first != nil {
		return *first
	}
	return conf{}
}

func parse(content string) conf {
	var c conf
	lines := bufio.NewScanner(strings.NewReader(content))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			c.servers = append(c.servers, words[1])
		case "search":
			c.searches = nil
			for _, s := range words[1:] {
				if s != "." {
					s = strings.TrimSuffix(s, ".")
				}
				c.searches = append(c.searches, s)
			}
		case "options":
			c.options = append(c.options, words[1:]...)
		}
	}
	return c
}

// limit cuts the configuration to what a resolver reads, and says what it cut.
func (c *conf) limit() string {
	var warnings []string
	if len(c.servers) > maxNameservers {
		c.servers = c.servers[:maxNameservers]
		warnings = append(warnings, "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "+strings.Join(c.servers, " "))
	}
	cut := false
	if len(c.searches) > maxSearches {
		c.searches, cut = c.searches[:maxSearches], true
	}
	for len(strings.Join(c.searches, " ")) > maxSearchChars {
		c.searches, cut = c.searches[:len(c.searches)-1], true
	}
	if cut {
		warnings = append(warnings, "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "+strings.Join(c.searches, " "))
	}
	return strings.Join(warnings, "; ")
}

func merge(have, more []string) []string {
	result := slices.Clone(have)
	for _, m := range more {
		if !slices.Contains(result, m) {
			result = append(result, m)
		}
	}
	return result
}

// mergeOptions lets a pod's options replace those of the same name.
func mergeOptions(have []string, more []v1.PodDNSConfigOption) []string {
	result := slices.Clone(have)
	for _, m := range more {
		option := m.Name
		if m.Value != nil && *m.Value != "" {
			option += ":" + *m.Value
		}
		i := slices.IndexFunc(result, func(o string) bool {
			name, _, _ := strings.Cut(o, ":")
			return name == m.Name
		})
		if i < 0 {
			result = append(result, option)
		} else {
			result[i] = option
		}
	}
	return result
}
