// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bufio"
	"context"
	"net/http"
	"runtime"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// TestToldWatchesAreSmall: watches that have been told of a large object keep nothing of it. What is counted is both ends of them, since the clients are in this
// process.
func TestToldWatchesAreSmall(t *testing.T) {
	const (
		n    = 200
		size = 512 << 10
		most = 256 << 10 // bytes a watch; about 50 KB are usual
	)
	c := newCluster(t)
	client, err := rest.HTTPClientFor(c.config)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	used := func() int64 {
		var m runtime.MemStats
		for range 3 { // pools are emptied by the second
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	before := used()
	var open []*http.Response
	for range n {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.config.Host+"/api/v1/namespaces/default/configmaps?watch=1&labelSelector=told", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		open = append(open, answer)
	}
	idle := (used() - before) / n
	maps := c.CoreV1().ConfigMaps("default")
	large := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "large", Labels: map[string]string{"told": "all"}}, Data: map[string]string{"a": strings.Repeat("x", size)}}
	if _, err := maps.Create(ctx, large, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for i, answer := range open {
		line, err := bufio.NewReader(answer.Body).ReadString('\n')
		if err != nil || len(line) < size {
			t.Fatalf("watch %d is told %d bytes, want more than %d: %v", i, len(line), size, err)
		}
	}
	told := (used() - before) / n
	t.Logf("%d bytes a watch before, %d after", idle, told)
	if told > most {
		t.Errorf("a watch that has been told of an object of %d bytes takes %d bytes, want at most %d", size, told, most)
	}
	runtime.KeepAlive(open)
}
