// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/hivemind-project/hivemind/apis/config"
)

// detect fills in what the machine says of itself: its name, its address and the size of packets on that address's link.
func detect(c *config.Config) error {
	if c.Node.Name == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("find the node's name: %w; set it: --node-name", err)
		}
		// What a Node cannot be called is a host name with capitals or underscores.
		c.Node.Name = strings.Trim(strings.ReplaceAll(strings.ToLower(name), "_", "-"), "-.")
	}
	if c.Node.IP == "" {
		ip, err := defaultAddress()
		if err != nil && c.Runtime == config.RuntimeSimulated {
			// No pod of this runtime ever talks to the node.
			ip, err = net.IPv4(127, 0, 0, 1), nil
		}
		if err != nil {
			return err
		}
		c.Node.IP = ip.String()
	}
	if c.Network.MTU == 0 {
		c.Network.MTU = mtuOf(net.ParseIP(c.Node.IP))
	}
	return nil
}

// defaultAddress is the address of the default route's link, else the first of any link that is up.
func defaultAddress() (net.IP, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("find the node's address: %w; set it: --node-ip", err)
	}
	preferred := defaultLink()
	var first net.IP
	for _, link := range links {
		if link.Flags&net.FlagUp == 0 || link.Flags&net.FlagLoopback != 0 || strings.HasPrefix(link.Name, "hm-") {
			continue
		}
		ip := addressOf(link)
		if ip != nil && link.Name == preferred {
			return ip, nil
		}
		if first == nil {
			first = ip
		}
	}
	if first == nil {
		return nil, errors.New("find the node's address: no link has one that other machines and pods could reach; " +
			"connect a network, or add an address and name it: ip link add hivemind0 type dummy && " +
			"ip address add 192.168.255.1/32 dev hivemind0 && ip link set hivemind0 up, then --node-ip 192.168.255.1")
	}
	return first, nil
}

// addressOf is the first global IPv4 address of link, or nil.
func addressOf(link net.Interface) net.IP {
	addresses, err := link.Addrs()
	if err != nil {
		return nil // a link that has just gone away has no address
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.To4()
		}
	}
	return nil
}

// defaultLink is the link of the IPv4 default route with the lowest metric; "" if there is none.
func defaultLink() string {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return ""
	}
	defer f.Close()
	return defaultLinkOf(bufio.NewScanner(f))
}

func defaultLinkOf(lines *bufio.Scanner) string {
	best, bestMetric := "", ""
	for lines.Scan() {
		// Iface Destination Gateway Flags RefCnt Use Metric Mask …, numbers in hex but for the metric.
		columns := strings.Fields(lines.Text())
		if len(columns) < 8 || columns[1] != "00000000" || columns[7] != "00000000" {
			continue
		}
		metric := columns[6]
		if best == "" || len(metric) < len(bestMetric) || len(metric) == len(bestMetric) && metric < bestMetric {
			best, bestMetric = columns[0], metric
		}
	}
	return best
}

// mtuOf is the MTU of the link that has ip, or Ethernet's 1500.
func mtuOf(ip net.IP) int {
	links, err := net.Interfaces()
	if err != nil {
		return 1500
	}
	for _, link := range links {
		addresses, err := link.Addrs()
		if err != nil || link.Flags&net.FlagLoopback != 0 {
			continue
		}
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok && n.IP.Equal(ip) {
				return link.MTU
			}
		}
	}
	return 1500
}
