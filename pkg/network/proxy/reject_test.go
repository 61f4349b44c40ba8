// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"syscall"
	"testing"
	"time"
)

// TestRefusedAtOnce has clients that talked to pods before, and that try often, wait no second for a refusal: the kernel
// limits the rate of ICMP to each, by a count that it shares with the redirects for packets that leave by the bridge
// they came from.
func TestRefusedAtOnce(t *testing.T) {
	c := newCluster(t)
	c.server("10.200.0.2")
	client := c.pod("10.200.0.4")
	c.apply(service("nobody", "10.201.0.5", nil))
	c.start()
	expectRefused(t, client, "10.201.0.5:80")
	for range 20 {
		if _, _, err := client.Get("tcp", "10.200.0.2:8080"); err != nil {
			t.Fatal(err)
		}
	}
	for _, address := range []string{"10.201.0.5:80", "10.201.0.5:81"} {
		for i := range 20 {
			begin := time.Now()
			_, err := client.Dial("tcp", address)
			if took := time.Since(begin); !errors.Is(err, syscall.ECONNREFUSED) || took > 900*time.Millisecond {
				t.Fatalf("try %d of %s: %v after %v", i, address, err, took)
			}
		}
	}
}
