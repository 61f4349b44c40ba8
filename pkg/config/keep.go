// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"

	"github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/daemon"
	"github.com/hivemind-project/hivemind/pkg/datadir"
)

// keep fills in what is part of the cluster that the data directory holds and was not said again: a host that was
// renamed keeps its node, and addresses stay what they were.
func keep(c *config.Config) error {
	kept, err := datadir.Kept(c.DataDir)
	if err != nil || kept == nil {
		return err
	}
	for _, f := range []struct{ field, kept *string }{
		{&c.Runtime, &kept.Runtime},
		{&c.Node.Name, &kept.Node.Name},
		{&c.Network.PodCIDR, &kept.Network.PodCIDR},
		{&c.Network.ServiceCIDR, &kept.Network.ServiceCIDR},
		{&c.Network.ClusterDomain, &kept.Network.ClusterDomain},
	} {
		if *f.field == "" {
			*f.field = *f.kept
		}
	}
	if c.Nodes == nil && c.Runtime == config.RuntimeSimulated {
		c.Nodes = kept.Nodes
	}
	return nil
}

// chooseRanges gives a new cluster the first pair of 10.42/16 and 10.43/16, 10.44/16 and 10.45/16, … that neither the
// machine's links nor another cluster on it use. Ranges that a person chose stay, and simulated addresses are on no link.
func chooseRanges(c *config.Config) error {
	if c.Network.PodCIDR != "" || c.Network.ServiceCIDR != "" || c.Runtime == config.RuntimeSimulated {
		return nil
	}
	taken, err := rangesInUse(c)
	if err != nil {
		return err
	}
	for second := byte(42); second < 254; second += 2 {
		pods, services := slash16(second), slash16(second+1)
		if !overlaps(taken, pods) && !overlaps(taken, services) {
			c.Network.PodCIDR, c.Network.ServiceCIDR = pods.String(), services.String()
			return nil
		}
	}
	return fmt.Errorf("choose addresses for pods: every range from 10.42.0.0/16 on is in use on this machine: " +
		"name two free ones with --network-pod-cidr and --network-service-cidr")
}

func slash16(second byte) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, second, 0, 0}), 16)
}

func overlaps(taken []netip.Prefix, p netip.Prefix) bool {
	for _, t := range taken {
		if t.Overlaps(p) {
			return true
		}
	}
	return false
}

// rangesInUse lists the IPv4 ranges of links that are not this cluster's own, and of other clusters that run here.
func rangesInUse(c *config.Config) ([]netip.Prefix, error) {
	var taken []netip.Prefix
	links, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("choose addresses for pods: list links: %w", err)
	}
	for _, link := range links {
		addresses, err := link.Addrs()
		if err != nil || link.Name == c.Bridge() {
			continue // a link that has gone away meanwhile uses nothing
		}
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
				taken = append(taken, p.Masked())
			}
		}
	}
	others, err := OtherClusters(c)
	if err != nil {
		return nil, err
	}
	for _, s := range others {
		for _, text := range []string{s.PodCIDR, s.Services} {
			if p, err := netip.ParsePrefix(text); err == nil {
				taken = append(taken, p)
			}
		}
	}
	return taken, nil
}

// OtherClusters returns what the other clusters that run on this machine say of themselves.
func OtherClusters(c *config.Config) ([]*daemon.Status, error) {
	dirs, err := filepath.Glob("/run/hivemind-*")
	if err != nil {
		return nil, err
	}
	var others []*daemon.Status
	for _, dir := range dirs {
		if dir == c.RunDir() {
			continue
		}
		pid, err := daemon.Running(dir)
		if err != nil || pid == 0 {
			continue
		}
		if s, err := daemon.Read(dir); err == nil && s != nil && s.PID == pid {
			others = append(others, s)
		}
	}
	return others, nil
}
