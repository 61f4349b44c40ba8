// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/network"
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
		host, err := network.DetectNodeIP()
		if err != nil {
			return fmt.Errorf("%w; set it: --node-ip", err)
		}
		c.Node.IP = host.IP.String()
	}
	if c.Network.MTU == 0 {
		ip, err := netip.ParseAddr(c.Node.IP)
		if err != nil {
			return fmt.Errorf("find the MTU of the node's link: %w", err)
		}
		c.Network.MTU = network.MTUOf(ip)
	}
	return nil
}
