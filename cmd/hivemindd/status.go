// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	apiconfig "github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/daemon"
)

// statusOf says what this process is, before any of its parts has started.
func statusOf(cfg *apiconfig.Config, opts options) daemon.Status {
	s := daemon.Status{
		PID: os.Getpid(), Version: version, Started: time.Now(), Roles: cfg.Roles, Runtime: cfg.Runtime, Node: cfg.Node.Name,
		DataDir: cfg.DataDir, RunDir: cfg.RunDir(), PodCIDR: cfg.Network.PodCIDR, Services: cfg.Network.ServiceCIDR,
		DNS: cfg.Network.ClusterDNS, LogFile: opts.logFile, BinDir: opts.binDir,
	}
	if cfg.Runtime == apiconfig.RuntimeSimulated && slices.Contains(cfg.Roles, apiconfig.RoleAgent) {
		s.Nodes = cfg.Nodes
	}
	if slices.Contains(cfg.Roles, apiconfig.RoleServer) {
		s.API = "https://" + net.JoinHostPort(cfg.Node.IP, strconv.Itoa(cfg.API.Port))
		s.Kubeconfig = cfg.AdminKubeconfig()
	}
	return s
}
