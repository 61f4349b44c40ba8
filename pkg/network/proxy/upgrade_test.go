// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/nftables"

	"github.com/hivemind-project/hivemind/pkg/network/bridge"
	"github.com/hivemind-project/hivemind/pkg/network/cni"
	"github.com/hivemind-project/hivemind/pkg/network/ipam"
	"github.com/hivemind-project/hivemind/pkg/network/nettest"
	"github.com/hivemind-project/hivemind/pkg/network/nft"
)

// TestTableOfAnotherMake starts where something else than this program's own table is, as an upgrade or a person leaves
// it, and has the whole of it replaced: bridge's rules, host ports and services.
func TestTableOfAnotherMake(t *testing.T) {
	change := func(t *testing.T, queue func(c *nftables.Conn)) {
		t.Helper()
		c, err := nft.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseLasting()
		queue(c)
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	table := nft.Table(nft.TableName("test"))
	for name, queue := range map[string]func(c *nftables.Conn){
		"nothing": func(c *nftables.Conn) {
			c.AddTable(table)
			c.DelTable(table)
		},
		"a table without a layout, with sets of other types": func(c *nftables.Conn) {
			c.AddTable(table)
			c.DelTable(table)
			c.AddTable(table)
			for _, s := range []*nftables.Set{
				{Table: table, Name: "node-hairpin", KeyType: nftables.TypeIPAddr},
				{Table: table, Name: "hostports", KeyType: nftables.TypeInetService},
				{Table: table, Name: addressMap, KeyType: nftables.TypeIPAddr, Interval: true},
				{Table: table, Name: endpointMap, KeyType: nftables.TypeMark},
			} {
				if err := c.AddSet(s, nil); err != nil {
					t.Fatal(err)
				}
			}
		},
		"chains of other kinds": func(c *nftables.Conn) {
			c.AddTable(table)
			c.DelTable(table)
			c.AddTable(table)
			c.AddChain(&nftables.Chain{Name: dispatchChain, Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter})
			c.AddChain(&nftables.Chain{Name: "proxy-prerouting", Table: table})
			c.AddChain(&nftables.Chain{Name: "node-postrouting", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
		},
		"a table of this layout that says otherwise": func(c *nftables.Conn) {
			nft.BeginAnew(c, table.Name)
			c.AddChain(&nftables.Chain{Name: dispatchChain, Table: table})
			if err := c.AddSet(&nftables.Set{Table: table, Name: addressMap, KeyType: nftables.TypeMark}, nil); err != nil {
				t.Fatal(err)
			}
			if err := c.AddSet(&nftables.Set{Table: table, Name: "node-hairpin", KeyType: nftables.TypeMark}, nil); err != nil {
				t.Fatal(err)
			}
		},
		"somebody's rule that holds on to a chain": func(c *nftables.Conn) {
			nft.BeginAnew(c, table.Name)
			c.AddChain(&nftables.Chain{Name: dispatchChain, Table: table})
			gone := c.AddChain(&nftables.Chain{Name: servicePrefix + "gone", Table: table})
			own := c.AddChain(&nftables.Chain{Name: "own", Table: table})
			c.AddRule(&nftables.Rule{Table: table, Chain: own, Exprs: nft.Jump(gone.Name)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			hostPort := c.hostPort(8080, 8080)
			change(t, queue)
			c.startNode()

			c.server("10.200.0.9")
			client := c.pod("10.200.0.8")
			c.apply(service("web", "10.201.0.5", nil), slice("web", "10.200.0.9"))
			expect(t, client, "tcp", "10.201.0.5:80", "10.200.0.9")
			expect(t, c.node, "tcp", "10.201.0.5:80", "10.200.0.9")
			expect(t, c.world, "tcp", nodeIP+":8080", hostPort)
			expect(t, c.node, "tcp", "127.0.0.1:8080", hostPort)
			c.world.ServeTCP(outside+":80", "world")
			if _, seen, err := client.Get("tcp", outside+":80"); err != nil || seen != nodeIP {
				t.Errorf("a pod's connection to the world comes from %s, %v; want %s", seen, err, nodeIP)
			}
			for _, chain := range []string{"own", servicePrefix + "gone"} {
				if hasChain(t, table, chain) {
					t.Errorf("chain %s is still there", chain)
				}
			}
		})
	}
}

// TestUpgradeLosesNoConnection replaces the table of another version while clients connect without pause.
func TestUpgradeLosesNoConnection(t *testing.T) {
	c := newCluster(t)
	hostPort := c.hostPort(8080, 8080)
	c.server("10.200.0.9")
	client := c.pod("10.200.0.8")
	c.apply(service("web", "10.201.0.5", nil), slice("web", "10.200.0.9"))
	c.startNode()
	expect(t, client, "tcp", "10.201.0.5:80", "10.200.0.9")
	expect(t, c.world, "tcp", nodeIP+":8080", hostPort)
	c.stop()
	// The same rules, in a table that is marked as another version's.
	old := nft.Table(c.options.Table)
	if err := nft.Disown(old.Name); err != nil {
		t.Fatal(err)
	}
	conn, err := nft.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseLasting()
	conn.AddChain(&nftables.Chain{Name: "layout-0", Table: old})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}

	var clients sync.WaitGroup
	var asked atomic.Int64
	done := make(chan struct{})
	for _, p := range []struct {
		from          *nettest.NS
		address, want string
	}{{client, "10.201.0.5:80", "10.200.0.9"}, {c.world, nodeIP + ":8080", hostPort}} {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				begin := time.Now()
				// A packet that met no rule would be sent again after a second.
				if name, _, err := p.from.Get("tcp", p.address); err != nil || name != p.want || time.Since(begin) > 900*time.Millisecond {
					t.Errorf("%s: %q after %v, %v", p.address, name, time.Since(begin), err)
					return
				}
				asked.Add(1)
			}
		})
	}
	c.startNode()
	before := asked.Load()
	nettest.Eventually(t, func() error {
		if n := asked.Load() - before; n < 100 {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	})
	close(done)
	clients.Wait()
	if hasChain(t, old, "layout-0") {
		t.Error("the old table is still there")
	}
}

// startNode starts a node as its agent does: the bridge first, which must not fail, then the proxy.
func (c *cluster) startNode() {
	c.t.Helper()
	if err := bridge.Setup(context.Background(), c.bridge); err != nil {
		c.t.Fatal(err)
	}
	c.start()
}

// hostPort makes a pod that answers with its address on a port of the node, as the CNI plugin's leases tell, and has
// the table hold it whenever it is laid anew.
func (c *cluster) hostPort(port, containerPort uint16) string {
	c.t.Helper()
	conf := cni.Config{Table: c.options.Table, LeaseDir: c.t.TempDir(), Subnets: []netip.Prefix{c.bridge.PodCIDR}}
	pool, err := ipam.Open(conf.LeaseDir, conf.Subnets)
	if err != nil {
		c.t.Fatal(err)
	}
	lease, err := pool.Acquire(ipam.Lease{ContainerID: "a", IfName: "eth0", PortMappings: []ipam.PortMapping{{HostPort: port, ContainerPort: containerPort, Protocol: "tcp"}}})
	if err != nil {
		c.t.Fatal(err)
	}
	ip := lease.Addresses[0].String()
	c.server(ip)
	c.options.Others = func(conn *nftables.Conn) error {
		return errors.Join(bridge.QueueRules(conn, c.bridge), cni.QueueHostPorts(conn, conf))
	}
	return ip
}

func hasChain(t *testing.T, table *nftables.Table, name string) bool {
	t.Helper()
	c, err := nft.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseLasting()
	_, err = c.ListChain(table, name)
	return err == nil
}
