// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/hivemind-project/hivemind/pkg/network/nettest"
)

// BenchmarkConnect compares a pod's address with a cluster IP, among a thousand services: connect and read the answer.
func BenchmarkConnect(b *testing.B) {
	c := newCluster(b)
	c.server("10.200.0.2")
	client := c.pod("10.200.0.4")
	c.apply(service("web", "10.201.0.5", nil), slice("web", "10.200.0.2"))
	for i := range 1000 {
		name := fmt.Sprint("s", i)
		c.apply(service(name, fmt.Sprintf("10.201.%d.%d", 1+i/250, 1+i%250), nil), slice(name, "10.200.0.2"))
	}
	c.start()
	for _, address := range []string{"10.200.0.2:8080", "10.201.0.5:80"} {
		b.Run("open/"+address, func(b *testing.B) {
			err := client.Do(func() error {
				for b.Loop() {
					conn, err := net.Dial("tcp", address)
					if err != nil {
						return err
					}
					if _, _, err := nettest.Ask(conn, "tcp"); err != nil {
						return err
					}
					conn.(*net.TCPConn).SetLinger(0)
					conn.Close()
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		})
		b.Run("echo/"+address, func(b *testing.B) {
			conn, err := client.Dial("tcp", address)
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			if _, _, err := nettest.Ask(conn, "tcp"); err != nil {
				b.Fatal(err)
			}
			_ = conn.SetDeadline(time.Time{})
			buf := make([]byte, 1)
			for b.Loop() {
				if _, err := conn.Write(buf); err != nil {
					b.Fatal(err)
				}
				if _, err := conn.Read(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkWrite measures transactions: all services at once, and one of them.
func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		c := newCluster(b)
		t, err := openTable(c.options)
		if err != nil {
			b.Fatal(err)
		}
		var all []objects
		port := func(i, endpoint int) objects {
			return objectsOf(&servicePort{
				name: fmt.Sprint("s", i), protocol: 6, port: 80, clusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 201, byte(i >> 8), byte(i)})},
				all: []netip.AddrPort{netip.MustParseAddrPort("10.200.0.1:80"), netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 200, 0, byte(endpoint)}), 80)},
			}, c.options.ClusterCIDR)
		}
		for i := range n {
			all = append(all, port(i, 2))
		}
		b.Run(fmt.Sprint("all/", n), func(b *testing.B) {
			for b.Loop() {
				if err := t.reset(context.Background(), all); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint("one-of/", n), func(b *testing.B) {
			old := all[0]
			for i := 0; b.Loop(); i++ {
				now := port(0, 2+i%100)
				if err := t.replace(old, now); err != nil {
					b.Fatal(err)
				}
				old = now
			}
		})
		t.close()
		if err := Cleanup(c.options.Table); err != nil {
			b.Fatal(err)
		}
	}
}
