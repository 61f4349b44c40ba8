// SPDX-License-Identifier: Apache-2.0

// Package cni attaches pods to the node's bridge, as a CNI plugin (CNI specification 1.1.0) that a container runtime
// executes. cmd/hivemind-cni is its command line; the node agent writes its configuration with WriteConfig and may call
// Collect to end leases of containers that are gone.
//
// An attachment costs one address lease (pkg/network/ipam) and about ten netlink calls, whatever the number of pods;
// only pods with host ports cost an nftables transaction.
package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/hivemind-project/hivemind/pkg/network/ipam"
)

// Names that the container runtime knows the network by.
const (
	// Version of the CNI specification that the configuration is written in.
	Version = "1.1.0"
	// PluginName is the file name of the plugin's binary.
	PluginName = "hivemind-cni"
	// ConfigFile is the name of the configuration in the runtime's directory.
	ConfigFile = "10-hivemind.conflist"
)

// Config is what the plugin needs to know of the node.
type Config struct {
	// Name of the network: by it the runtime's cache files (/var/lib/cni/results/<name>-…) are told apart.
	Name   string `json:"-"`
	Bridge string `json:"bridge"`
	// Table is the nftables table that host ports are kept in.
	Table string `json:"table"`
	// Subnets are the node's pod CIDRs, one for each IP family; the first address of each is the gateway.
	Subnets []netip.Prefix `json:"subnets"`
	MTU     int            `json:"mtu,omitempty"` // bytes
	// LeaseDir is where address leases are kept.
	LeaseDir string `json:"leaseDir"`
}

// WriteConfig writes the network's configuration list into the directory that the container runtime watches,
// atomically; where it is there already with the same content, nothing is touched.
func WriteConfig(dir string, c Config) error {
	if c.Name == "" || c.Bridge == "" || c.Table == "" || c.LeaseDir == "" || len(c.Subnets) == 0 {
		return errors.New("write CNI configuration: name, bridge, table, lease directory and subnets are needed")
	}
	list := struct {
		CNIVersion string `json:"cniVersion"`
		Name       string `json:"name"`
		Plugins    []any  `json:"plugins"`
	}{Version, c.Name, []any{struct {
		Type         string          `json:"type"`
		Capabilities map[string]bool `json:"capabilities"`
		Config
	}{PluginName, map[string]bool{"portMappings": true}, c}}}
	data, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return fmt.Errorf("write CNI configuration: %w", err)
	}
	data = append(data, '\n')
	name := filepath.Join(dir, ConfigFile)
	if old, err := os.ReadFile(name); err == nil && string(old) == string(data) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write CNI configuration: %w", err)
	}
	if err := os.WriteFile(name+".new", data, 0o644); err != nil {
		return fmt.Errorf("write CNI configuration: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("write CNI configuration: %w", err)
	}
	return nil
}

// resultDir is where libcni, inside the container runtime, keeps a file for every attachment; it cannot be told another.
const resultDir = "/var/lib/cni/results"

// RemoveResults removes what the container runtime remembers of the network outside of the data directory: for a reset,
// once the runtime has ended. It is no error if there is nothing.
func RemoveResults(network string) error { return removeResults(resultDir, network) }

func removeResults(dir, network string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove CNI results of network %s: %w", network, err)
	}
	var errs []error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), network+"-") {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove CNI results of network %s: %w", network, err))
		}
	}
	// The directories go with the last network that used them; others' files keep them.
	_, _ = os.Remove(dir), os.Remove(filepath.Dir(dir))
	return errors.Join(errs...)
}

// pluginConfig is what the runtime hands to the plugin.
type pluginConfig struct {
	types.NetConf
	Config
	RuntimeConfig struct {
		PortMappings []ipam.PortMapping `json:"portMappings,omitempty"`
	} `json:"runtimeConfig,omitempty"`
}

func parseConfig(stdin []byte) (*pluginConfig, error) {
	conf := &pluginConfig{}
	if err := json.Unmarshal(stdin, conf); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "parse network configuration", err.Error())
	}
	conf.Config.Name = conf.NetConf.Name
	if conf.Bridge == "" || conf.LeaseDir == "" || len(conf.Subnets) == 0 {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, "network configuration lacks bridge, leaseDir or subnets", "")
	}
	return conf, nil
}
