// SPDX-License-Identifier: Apache-2.0

// Package nettest gives tests a machine of their own: the test process runs again in a fresh network namespace, which is
// the node, and makes further namespaces, which are pods or other machines. All of it ends with the process, and
// nothing of the real machine's network is touched.
package nettest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const inside = "HIVEMIND_NETTEST"

// Main runs the tests of a package in a fresh network namespace. Call it from TestMain. Without root the tests run where
// they are, and Require skips those that need the namespace.
func Main(m *testing.M) {
	if os.Geteuid() != 0 || os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig follows the thread
	if err := cmd.Run(); err != nil {
		if exit, ok := err.(*exec.ExitError); ok && exit.ExitCode() > 0 {
			os.Exit(exit.ExitCode())
		}
		fmt.Fprintln(os.Stderr, "run tests in a network namespace:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Require skips the test unless it runs as root, in the namespace that Main made; and brings loopback up there.
func Require(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes network namespaces, links and nftables rules")
	}
	if os.Getenv(inside) == "" {
		t.Fatal("TestMain of this package must call nettest.Main")
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatalf("bring loopback up: %v", err)
	}
}

// NS is a network namespace. An empty Path means that of the test process.
type NS struct {
	Path string
	t    testing.TB
}

// New makes a network namespace with a path, as a container runtime does. It ends with the test.
func New(t testing.TB) *NS {
	t.Helper()
	path := filepath.Join(t.TempDir(), "netns")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), path, "", unix.MS_BIND, "")
	})
	if err != nil {
		t.Fatalf("make network namespace: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	return &NS{Path: path, t: t}
}

// Do runs f with the thread in the namespace. Sockets that f opens stay there; goroutines that it starts do not.
func (n *NS) Do(f func() error) error {
	if n.Path == "" {
		return f()
	}
	return onThread(func() error {
		ns, err := netns.GetFromPath(n.Path)
		if err != nil {
			return err
		}
		defer ns.Close()
		if err := netns.Set(ns); err != nil {
			return err
		}
		return f()
	})
}

// onThread runs f on a thread that dies with it, so that whatever f did to the thread ends.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

// Here is the namespace of the test process: the node.
func Here(t testing.TB) *NS { return &NS{t: t} }

// Connect joins the node and a new namespace, which is another machine, by a pair of links with the two addresses of a
// /24; the other machine's default route leads to the node.
func Connect(t testing.TB, node, other string) *NS {
	t.Helper()
	n := New(t)
	name := fmt.Sprintf("t%d", time.Now().UnixNano()%1e10)
	target, err := netns.GetFromPath(n.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(target))}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatalf("add link: %v", err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(veth) })
	setUp := func(name, ip string) error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr(ip + "/24")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, addr); err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	}
	if err := setUp(name, node); err != nil {
		t.Fatal(err)
	}
	err = n.Do(func() error {
		if err := setUp("eth0", other); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Gw: netip.MustParseAddr(node).AsSlice()})
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// ServeTCP answers every connection to the address with name and the client's address, "name 10.0.0.1\n".
func (n *NS) ServeTCP(address, name string) {
	n.t.Helper()
	var l net.Listener
	err := n.Do(func() (err error) {
		l, err = net.Listen("tcp4", address)
		return err
	})
	if err != nil {
		n.t.Fatalf("listen on %s: %v", address, err)
	}
	n.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			fmt.Fprintln(c, name, host)
			go func() { // keep what Echo needs: a line for a line
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
}

// ServeUDP answers every datagram to the address as ServeTCP does.
func (n *NS) ServeUDP(address, name string) {
	n.t.Helper()
	var conn net.PacketConn
	err := n.Do(func() (err error) {
		conn, err = net.ListenPacket("udp4", address)
		return err
	})
	if err != nil {
		n.t.Fatalf("listen on %s: %v", address, err)
	}
	n.t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			_, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(from.String())
			_, _ = conn.WriteTo([]byte(name+" "+host+"\n"), from)
		}
	}()
}

// patience is how long an answer may take: a first packet may be lost while links come up, and is sent again after 1 s.
const patience = 4 * time.Second

// Dial opens a connection from the namespace.
func (n *NS) Dial(network, address string) (net.Conn, error) {
	return n.DialWithin(patience, network, address)
}

// DialWithin is Dial with another time limit, for what is expected to time out.
func (n *NS) DialWithin(limit time.Duration, network, address string) (net.Conn, error) {
	var c net.Conn
	err := n.Do(func() (err error) {
		c, err = net.DialTimeout(network, address, limit)
		return err
	})
	return c, err
}

// Get connects and returns the name and the client's address that the server told.
func (n *NS) Get(network, address string) (name, client string, err error) {
	c, err := n.Dial(network, address)
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	return Ask(c, network)
}

// Ask reads the server's answer on a connection.
func Ask(c net.Conn, network string) (name, client string, err error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	if strings.HasPrefix(network, "udp") {
		if _, err := c.Write([]byte("?")); err != nil {
			return "", "", err
		}
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return "", "", err
	}
	name, client, _ = strings.Cut(strings.TrimSpace(line), " ")
	return name, client, nil
}

// Eventually waits until f returns no error, for at most ten seconds.
func Eventually(t testing.TB, f func() error) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-tick.C
	}
}
