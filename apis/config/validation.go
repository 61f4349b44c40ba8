// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Limits that are not Kubernetes' own.
const (
	minMTU        = 576 // RFC 791: what every host must take
	minQuotaBytes = 64 << 20
)

// Validate says what is wrong with a configuration that has its defaults: each error has the key, the value and what
// the value should be.
func Validate(c *Config) field.ErrorList {
	var errs field.ErrorList
	if !filepath.IsAbs(c.DataDir) || filepath.Clean(c.DataDir) == "/" {
		errs = append(errs, field.Invalid(field.NewPath("dataDir"), c.DataDir, "must be an absolute path, such as "+DefaultDataDir))
	}
	for i, role := range c.Roles {
		errs = append(errs, oneOf(field.NewPath("roles").Index(i), role, RoleServer, RoleAgent)...)
	}
	errs = append(errs, validateRuntime(c)...)
	errs = append(errs, validateNode(&c.Node, field.NewPath("node"))...)
	errs = append(errs, validateAPI(&c.API, field.NewPath("api"))...)
	if c.API.Port == c.Node.KubeletPort && c.API.Port != 0 && c.Runtime != RuntimeSimulated {
		errs = append(errs, field.Invalid(field.NewPath("node", "kubeletPort"), c.Node.KubeletPort, "must differ from api.port"))
	}
	errs = append(errs, validateNetwork(&c.Network, field.NewPath("network"))...)
	errs = append(errs, validateRegistries(c.Registries, field.NewPath("registries"))...)
	if c.Storage.QuotaBytes < minQuotaBytes {
		errs = append(errs, field.Invalid(field.NewPath("storage", "quotaBytes"), c.Storage.QuotaBytes, "must be 67108864 (64 MiB) or more"))
	}
	errs = append(errs, validateEncryption(&c.Encryption, field.NewPath("encryption"))...)
	errs = append(errs, validateAudit(&c.Audit, field.NewPath("audit"))...)
	errs = append(errs, oneOf(field.NewPath("log", "level"), c.Log.Level, "debug", "info", "warn", "error")...)
	errs = append(errs, oneOf(field.NewPath("log", "format"), c.Log.Format, "text", "json")...)
	return errs
}

func validateNode(n *Node, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if n.Name != "" {
		for _, msg := range validation.IsDNS1123Subdomain(n.Name) {
			errs = append(errs, field.Invalid(path.Child("name"), n.Name, msg))
		}
	}
	if n.IP != "" {
		errs = append(errs, address(path.Child("ip"), n.IP)...)
	}
	for key, value := range n.Labels {
		at := path.Child("labels").Key(key)
		for _, msg := range validation.IsQualifiedName(key) {
			errs = append(errs, field.Invalid(at, key, msg))
		}
		for _, msg := range validation.IsValidLabelValue(value) {
			errs = append(errs, field.Invalid(at, value, msg))
		}
	}
	errs = append(errs, port(path.Child("kubeletPort"), n.KubeletPort)...)
	if n.MaxPods < 1 {
		errs = append(errs, field.Invalid(path.Child("maxPods"), n.MaxPods, "must be 1 or more"))
	}
	return errs
}

func validateAPI(a *API, path *field.Path) field.ErrorList {
	errs := port(path.Child("port"), a.Port)
	for i, san := range a.ExtraSANs {
		if _, err := netip.ParseAddr(san); err == nil {
			continue
		}
		name := strings.TrimPrefix(san, "*.")
		if len(validation.IsDNS1123Subdomain(name)) > 0 {
			errs = append(errs, field.Invalid(path.Child("extraSANs").Index(i), san, "must be a DNS name or an IP address"))
		}
	}
	if a.AuthenticationConfig != "" && !filepath.IsAbs(a.AuthenticationConfig) {
		errs = append(errs, field.Invalid(path.Child("authenticationConfig"), a.AuthenticationConfig, "must be an absolute path, such as /etc/hivemind/authentication.yaml"))
	}
	return errs
}

func validateNetwork(n *Network, path *field.Path) field.ErrorList {
	pods, errs := prefix(path.Child("podCIDR"), n.PodCIDR, 24, "10.42.0.0/16")
	services, more := prefix(path.Child("serviceCIDR"), n.ServiceCIDR, 28, "10.43.0.0/16")
	errs = append(errs, more...)
	if pods.IsValid() && services.IsValid() {
		if pods.Overlaps(services) {
			errs = append(errs, field.Invalid(path.Child("serviceCIDR"), n.ServiceCIDR, "must not overlap network.podCIDR "+n.PodCIDR))
		}
		if dns, err := netip.ParseAddr(n.ClusterDNS); err != nil || !services.Contains(dns) {
			errs = append(errs, field.Invalid(path.Child("clusterDNS"), n.ClusterDNS, "must be an address of network.serviceCIDR "+n.ServiceCIDR))
		}
	}
	for _, msg := range validation.IsDNS1123Subdomain(n.ClusterDomain) {
		errs = append(errs, field.Invalid(path.Child("clusterDomain"), n.ClusterDomain, msg))
	}
	errs = append(errs, portRange(path.Child("nodePortRange"), n.NodePortRange)...)
	if n.MTU != 0 && (n.MTU < minMTU || n.MTU > 65535) {
		errs = append(errs, field.Invalid(path.Child("mtu"), n.MTU, "must be from 576 to 65535, or 0 for that of the node's link"))
	}
	for i, resolver := range n.UpstreamResolvers {
		host := resolver
		if h, _, err := net.SplitHostPort(resolver); err == nil {
			host = h
		}
		if _, err := netip.ParseAddr(host); err != nil {
			errs = append(errs, field.Invalid(path.Child("upstreamResolvers").Index(i), resolver, "must be an IP address, with a port or without"))
		}
	}
	return errs
}

func oneOf(path *field.Path, value string, allowed ...string) field.ErrorList {
	if slices.Contains(allowed, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, value, allowed)}
}

func port(path *field.Path, value int) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range validation.IsValidPortNum(value) {
		errs = append(errs, field.Invalid(path, value, msg))
	}
	return errs
}

func address(path *field.Path, value string) field.ErrorList {
	if addr, err := netip.ParseAddr(value); err == nil && !addr.IsUnspecified() && !addr.IsMulticast() {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value, "must be an IP address of this machine, such as 192.168.1.10")}
}

// prefix checks a range of IPv4 addresses that leaves at least 32-bits bits for hosts.
func prefix(path *field.Path, value string, bits int, example string) (netip.Prefix, field.ErrorList) {
	p, err := netip.ParsePrefix(value)
	switch {
	case err != nil || !p.Addr().Is4():
		return netip.Prefix{}, field.ErrorList{field.Invalid(path, value, "must be a range of IPv4 addresses, such as "+example)}
	case p.Masked() != p:
		return netip.Prefix{}, field.ErrorList{field.Invalid(path, value, "must begin at the range's first address: "+p.Masked().String())}
	case p.Bits() > bits:
		return netip.Prefix{}, field.ErrorList{field.Invalid(path, value, "must be /"+strconv.Itoa(bits)+" or larger")}
	}
	return p, nil
}

func portRange(path *field.Path, value string) field.ErrorList {
	from, to, ok := strings.Cut(value, "-")
	first, err1 := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	if !ok || err1 != nil || err2 != nil || first < 1 || last > 65535 || first > last {
		return field.ErrorList{field.Invalid(path, value, "must be two ports, such as 30000-32767")}
	}
	return nil
}
