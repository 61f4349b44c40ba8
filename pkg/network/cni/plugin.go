// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/hivemind-project/hivemind/pkg/network/ipam"
)

// Error codes of this plugin, from the range that the CNI specification leaves to plugins.
const (
	errAddress  = 100 // no address could be leased
	errLink     = 101 // the pod's link could not be made
	errHostPort = 102 // host ports could not be opened
)

// Funcs returns the plugin's commands.
func Funcs() skel.CNIFuncs {
	return skel.CNIFuncs{Add: add, Del: del, Check: check, GC: gc, Status: status}
}

// add leases addresses, makes the pod's link, opens its host ports, and prints the result. What fails half way is undone;
// what is killed half way is undone by DEL, which the runtime calls, or by GC.
func add(args *skel.CmdArgs) error {
	conf, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	pool, err := ipam.Open(conf.LeaseDir, conf.Subnets)
	if err != nil {
		return types.NewError(errAddress, err.Error(), "")
	}
	lease, err := pool.Acquire(ipam.Lease{
		ContainerID: args.ContainerID, IfName: args.IfName, Netns: args.Netns, PortMappings: conf.RuntimeConfig.PortMappings,
	})
	if err != nil {
		return types.NewError(errAddress, err.Error(), "")
	}
	a := attachment{
		bridge: conf.Bridge, mtu: conf.MTU, netns: args.Netns, ifName: args.IfName,
		hostName: hostLink(args.ContainerID, args.IfName), addresses: lease.Addresses, subnets: conf.Subnets,
	}
	err = func() error {
		if err := a.create(); err != nil {
			return types.NewError(errLink, fmt.Sprintf("attach container %s to bridge %s: %v", args.ContainerID, conf.Bridge, err), "")
		}
		if len(lease.PortMappings) == 0 {
			return nil
		}
		if err := openHostPorts(conf.Table, lease.Addresses, lease.PortMappings); err != nil {
			return types.NewError(errHostPort, fmt.Sprintf("open host ports of container %s: %v", args.ContainerID, err), "")
		}
		return nil
	}()
	if err != nil {
		return errors.Join(err, detach(pool, conf.Table, lease))
	}
	return types.PrintResult(a.result(), conf.CNIVersion)
}

// del undoes add as far as it came. It is no error if there is nothing to undo.
func del(args *skel.CmdArgs) error {
	conf, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	pool, err := ipam.Open(conf.LeaseDir, conf.Subnets)
	if err != nil {
		return err
	}
	lease, ok, err := pool.Find(args.ContainerID, args.IfName)
	if err != nil {
		return err
	}
	if !ok {
		lease = ipam.Lease{ContainerID: args.ContainerID, IfName: args.IfName}
	}
	return detach(pool, conf.Table, lease)
}

// check tells whether the pod's network still is what add made.
func check(args *skel.CmdArgs) error {
	conf, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	pool, err := ipam.Open(conf.LeaseDir, conf.Subnets)
	if err != nil {
		return err
	}
	lease, ok, err := pool.Find(args.ContainerID, args.IfName)
	if err != nil {
		return err
	}
	if !ok {
		return types.NewError(types.ErrUnknownContainer, fmt.Sprintf("container %s has no address", args.ContainerID), "")
	}
	a := attachment{
		bridge: conf.Bridge, netns: args.Netns, ifName: args.IfName,
		hostName: hostLink(args.ContainerID, args.IfName), addresses: lease.Addresses, subnets: conf.Subnets,
	}
	if err := a.check(); err != nil {
		return types.NewError(errLink, fmt.Sprintf("check container %s: %v", args.ContainerID, err), "")
	}
	if err := checkHostPorts(conf.Table, lease.Addresses, conf.RuntimeConfig.PortMappings); err != nil {
		return types.NewError(errHostPort, fmt.Sprintf("check container %s: %v", args.ContainerID, err), "")
	}
	return nil
}

// gc ends every attachment that the runtime does not list.
func gc(args *skel.CmdArgs) error {
	conf, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	valid := map[types.GCAttachment]bool{}
	for _, a := range conf.ValidAttachments {
		valid[a] = true
	}
	return collect(conf.Config, func(l ipam.Lease) bool {
		return valid[types.GCAttachment{ContainerID: l.ContainerID, IfName: l.IfName}]
	})
}

// status tells whether pods can be attached.
func status(args *skel.CmdArgs) error {
	conf, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	if _, err := net.InterfaceByName(conf.Bridge); err != nil {
		return types.NewError(types.ErrPluginNotAvailable, fmt.Sprintf("bridge %s: %v", conf.Bridge, err), "")
	}
	return nil
}

// Collect ends the leases, links and host ports of containers that are not in live, by container (sandbox) ID: what is
// left when the runtime or the machine's owner removed containers without telling the plugin. Call it before the
// first pod is started: a sandbox that is just being made is not live yet.
func Collect(c Config, live map[string]bool) error {
	return collect(c, func(l ipam.Lease) bool { return live[l.ContainerID] })
}

func collect(c Config, valid func(ipam.Lease) bool) error {
	if _, err := os.Stat(c.LeaseDir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	pool, err := ipam.Open(c.LeaseDir, c.Subnets)
	if err != nil {
		return err
	}
	leases, err := pool.Leases()
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range leases {
		if !valid(l) {
			errs = append(errs, detach(pool, c.Table, l))
		}
	}
	return errors.Join(errs...)
}

// detach ends an attachment. The lease goes last, so that no step is forgotten if this is killed before.
func detach(pool *ipam.Pool, table string, lease ipam.Lease) error {
	if len(lease.PortMappings) > 0 {
		if err := closeHostPorts(table, lease.Addresses); err != nil {
			return fmt.Errorf("close host ports of container %s: %w", lease.ContainerID, err)
		}
	}
	if err := deleteLink(hostLink(lease.ContainerID, lease.IfName)); err != nil {
		return fmt.Errorf("detach container %s: %w", lease.ContainerID, err)
	}
	return pool.Release(lease.ContainerID, lease.IfName)
}

// result is what the runtime is told.
func (a attachment) result() *current.Result {
	pod := 1
	r := &current.Result{
		CNIVersion: current.ImplementedSpecVersion,
		Interfaces: []*current.Interface{
			{Name: a.hostName, Mtu: a.mtu},
			{Name: a.ifName, Mac: a.hardwareAddr().String(), Mtu: a.mtu, Sandbox: a.netns},
		},
	}
	for i, ip := range a.addresses {
		gateway := ipam.Gateway(a.subnets[i])
		everything := netip.PrefixFrom(gateway, 0).Masked()
		r.IPs = append(r.IPs, &current.IPConfig{Interface: &pod, Address: *hostNet(ip), Gateway: gateway.AsSlice()})
		r.Routes = append(r.Routes, &types.Route{Dst: net.IPNet{IP: everything.Addr().AsSlice(), Mask: net.CIDRMask(0, ip.BitLen())}, GW: gateway.AsSlice()})
	}
	return r
}

func deleteLink(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, errNoDevice) {
		return fmt.Errorf("delete link %s: %w", name, err)
	}
	return nil
}
