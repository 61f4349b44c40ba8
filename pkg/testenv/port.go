// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"fmt"
	"net"
	"syscall"
)

// heldPort is a TCP port that nobody is given by the system, while whoever knows its number can listen on it: a socket that is
// bound, and may be bound to again (SO_REUSEADDR, which Go sets on what listens), but does not listen itself. A port that was free a
// moment ago, which is what looking for one finds, may have been given to someone else by the time that it is used.
type heldPort struct {
	port   int
	socket int
}

func holdPort(ip net.IP) (*heldPort, error) {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	port, err := bindReusable(socket, [4]byte(ip.To4()))
	if err != nil {
		syscall.Close(socket)
		return nil, err
	}
	return &heldPort{port: port, socket: socket}, nil
}

func bindReusable(socket int, ip [4]byte) (int, error) {
	if err := syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, fmt.Errorf("let a port be bound again: %w", err)
	}
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: ip}); err != nil {
		return 0, fmt.Errorf("bind a port: %w", err)
	}
	address, err := syscall.Getsockname(socket)
	if err != nil {
		return 0, fmt.Errorf("ask which port was bound: %w", err)
	}
	return address.(*syscall.SockaddrInet4).Port, nil
}

// release lets the system give the port to others. It may be called again, and of nil.
func (h *heldPort) release() {
	if h == nil || h.socket < 0 {
		return
	}
	syscall.Close(h.socket)
	h.socket = -1
}
