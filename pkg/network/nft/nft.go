// SPDX-License-Identifier: Apache-2.0

// Package nft has what the network's parts share of nftables: the cluster's table, a connection that takes large
// transactions, and rule expressions by name, so that rules elsewhere read as nft(8) would print them.
//
// All of a cluster's rules are in one table of family ip. Each part owns the chains, sets and maps with its prefix and
// touches no other's: node- (pkg/network/bridge), hostports (pkg/network/cni), proxy-, service- and affinity-
// (pkg/network/proxy). A part lays its rules with one transaction that adds what is missing and refills what is there,
// so no packet ever meets a table half built. A table that an older or newer program has left is replaced whole (see
// Begin). The programs nft and iptables are never needed.
package nft

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Buffer sizes of the netlink socket. The kernel takes a transaction in one message and queues one answer for each
// command in it; these are limits, not allocations, and hold for some ten thousand services.
const (
	sendBuffer    = 64 << 20
	receiveBuffer = 128 << 20
)

// TableName returns the name of a cluster's table, from the cluster's short id.
func TableName(id string) string { return "hivemind-" + id }

// Table returns the table of that name, as commands refer to it; it is not created.
func Table(name string) *nftables.Table {
	return &nftables.Table{Name: name, Family: nftables.TableFamilyIPv4}
}

// Open returns a connection for transactions of any size. Close it with CloseLasting.
func Open() (*nftables.Conn, error) {
	c, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(grow))
	if err != nil {
		return nil, fmt.Errorf("open nftables connection: %w", err)
	}
	return c, nil
}

func grow(c *netlink.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var send, receive error
	err = raw.Control(func(fd uintptr) {
		send = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer)
		receive = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	})
	return errors.Join(err, send, receive)
}

// DeleteTable removes the table with all that is in it; it is no error if there is none.
func DeleteTable(name string) error {
	c, err := Open()
	if err != nil {
		return err
	}
	defer c.CloseLasting()
	t := c.AddTable(Table(name)) // so that the deletion finds one
	c.DelTable(t)
	if err := c.Flush(); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete nftables table %s: %w", name, err)
	}
	return nil
}

// most is how many elements one message may have: netlink's attributes end at 64 KiB, an element at 200 bytes.
const most = 256

// AddElements adds any number of elements to a set or map.
func AddElements(c *nftables.Conn, s *nftables.Set, elements []nftables.SetElement) error {
	for part := range slices.Chunk(elements, most) {
		if err := c.SetAddElements(s, part); err != nil {
			return err
		}
	}
	return nil
}

// DeleteElements deletes any number of elements of a set or map. The kernel refuses the transaction if one is not there.
func DeleteElements(c *nftables.Conn, s *nftables.Set, elements []nftables.SetElement) error {
	for part := range slices.Chunk(elements, most) {
		if err := c.SetDeleteElements(s, part); err != nil {
			return err
		}
	}
	return nil
}
