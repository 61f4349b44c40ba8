// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"io"
	"net/http"
	"syscall"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
)

// BenchmarkRequest is what the handler chain costs: a request that has next to nothing to do (the version) and one that reads an
// object, by somebody whom no limit holds and by somebody who waits in line. cpu-ns/op is what the whole process used.
func BenchmarkRequest(b *testing.B) {
	c := newCluster(b)
	for _, who := range []user.Info{
		&user.DefaultInfo{Name: "exempt", Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}},
		&user.DefaultInfo{Name: user.KubeScheduler, Groups: []string{user.AllAuthenticated}},
	} {
		transport := c.server.loopback.Config(who).Transport
		for _, path := range []string{"/version", "/api/v1/namespaces/default/services/kubernetes"} {
			b.Run(fmt.Sprintf("%s%s", who.GetName(), path), func(b *testing.B) {
				start := processorTime(b)
				for b.Loop() {
					request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://loopback"+path, nil)
					if err != nil {
						b.Fatal(err)
					}
					response, err := transport.RoundTrip(request)
					if err != nil {
						b.Fatal(err)
					}
					text, err := io.ReadAll(response.Body)
					response.Body.Close()
					if err != nil || response.StatusCode != http.StatusOK {
						b.Fatalf("%d %s, %v", response.StatusCode, text, err)
					}
				}
				b.ReportMetric(float64(processorTime(b)-start)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// processorTime is what this process has used of it, in nanoseconds.
func processorTime(b *testing.B) int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return syscall.TimevalToNsec(usage.Utime) + syscall.TimevalToNsec(usage.Stime)
}
