// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hivemind-project/hivemind/pkg/network/nettest"
)

// killed ends hivemindd in the way of the kernel while clients keep connections through services and make new ones: none
// may fail, as the rules stay. Cluster DNS is gone with the process, and soon back.
func (n *network) killed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	var asked, echoed atomic.Int64
	for _, c := range []struct {
		from    *nettest.NS
		address string
	}{
		{n.client, n.service["web"] + ":80"},
		{n.host, n.service["web"] + ":80"},
		{n.world, nodeSide + ":30181"},
		{n.world, nodeSide + ":18081"},
	} {
		clients.Go(func() {
			for ctx.Err() == nil {
				if _, _, err := c.from.Get("tcp", c.address); err != nil {
					t.Errorf("a new connection to %s: %v", c.address, err)
					return
				}
				asked.Add(1)
				pause(ctx, 2*time.Millisecond)
			}
		})
		conn, err := c.from.Dial("tcp", c.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() }) // after the clients have ended
		clients.Go(func() {
			if err := echo(ctx, conn, &echoed); err != nil {
				t.Errorf("a connection to %s that was open: %v", c.address, err)
			}
		})
	}
	n.kill(t, "hivemindd")
	eventually(t, "DNS to be gone", 10*time.Second, func() error {
		if err := n.lookUp(); err == nil {
			return fmt.Errorf("it answers")
		}
		return nil
	})
	before := asked.Load()
	eventually(t, "connections without hivemindd", 10*time.Second, func() error {
		if got := asked.Load() - before; got < 200 {
			return fmt.Errorf("%d", got)
		}
		return nil
	})

	begin := time.Now()
	up := make(chan error, 1)
	go func() {
		_, err := n.Up(t.Context())
		up <- err
	}()
	eventually(t, "cluster DNS", 30*time.Second, n.lookUp)
	back := time.Since(begin)
	if err := <-up; err != nil {
		t.Fatal(err)
	}
	ready := time.Since(begin)
	if limit := 2 * time.Second; back > limit {
		t.Errorf("cluster DNS was back after %v, want at most %v", back, limit)
	}
	before = asked.Load()
	eventually(t, "connections after the restart", 10*time.Second, func() error {
		if got := asked.Load() - before; got < 200 {
			return fmt.Errorf("%d", got)
		}
		return nil
	})
	t.Logf("cluster DNS back %v after the start, `up` done after %v; %d new connections, %d echoes on old ones", back.Round(time.Millisecond),
		ready.Round(time.Millisecond), asked.Load(), echoed.Load())
}

// lookUp asks cluster DNS once, with little patience.
func (n *network) lookUp() error {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err := n.resolver(n.client).LookupHost(ctx, "web.net.svc.cluster.local.")
	return err
}

// echo sends lines that have to come back, until ctx ends.
func echo(ctx context.Context, conn net.Conn, echoed *atomic.Int64) error {
	r := bufio.NewReader(conn)
	if _, err := r.ReadString('\n'); err != nil { // who it is
		return err
	}
	for i := 0; ctx.Err() == nil; i++ {
		line := fmt.Sprintln("line", i)
		if err := conn.SetDeadline(time.Now().Add(4 * time.Second)); err != nil {
			return err
		}
		if _, err := conn.Write([]byte(line)); err != nil {
			return err
		}
		if got, err := r.ReadString('\n'); err != nil || got != line {
			return fmt.Errorf("got %q, %v; want %q", got, err, line)
		}
		echoed.Add(1)
		pause(ctx, 10*time.Millisecond)
	}
	return nil
}

// pause paces a client.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
