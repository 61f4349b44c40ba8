// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// watch opens watchers, spread over all clients' connections, then creates ConfigMaps at an even pace, and times from each request until each watcher has
// decoded the event. Events that a watcher does not see, or that it sees out of order, are errors.
func (l *Load) watch(ctx context.Context) ([]Result, error) {
	ns := l.namespaces["watches"]
	list, err := l.clients[0].CoreV1().ConfigMaps(ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	watchers, err := open(ctx, l.clients, ns, list.ResourceVersion, l.o.Watchers)
	defer stopAll(watchers)
	if err != nil {
		return nil, err
	}
	var last series
	results, err := l.measured(WatchEach, func() (each series, err error) {
		each, last, err = l.fanOut(ctx, ns, watchers)
		return each, err
	})
	if err != nil {
		return nil, err
	}
	slowest, err := last.result(WatchLast)
	if err != nil {
		return nil, err
	}
	return append(results, slowest), nil
}

// open opens watchers from a resourceVersion on, spread over the connections of all clients. With an error it returns those that are open.
func open(ctx context.Context, clients []kubernetes.Interface, ns, from string, n int) ([]watch.Interface, error) {
	var watchers []watch.Interface
	for i := range n {
		w, err := clients[i%len(clients)].CoreV1().ConfigMaps(ns).Watch(ctx, metav1.ListOptions{ResourceVersion: from})
		if err != nil {
			return watchers, fmt.Errorf("open watcher %d: %w", i, err)
		}
		watchers = append(watchers, w)
	}
	return watchers, nil
}

func stopAll(watchers []watch.Interface) {
	for _, w := range watchers {
		w.Stop()
	}
}

// OpenWatchers opens watchers of the ConfigMaps in namespace default, spread over some connections, to see what they cost a server while nothing happens. They
// end with stop.
func OpenWatchers(ctx context.Context, config *rest.Config, connections, n int) (stop func(), err error) {
	clients := make([]kubernetes.Interface, connections)
	for i := range clients {
		if clients[i], err = newClient(config, false); err != nil {
			return nil, err
		}
	}
	list, err := clients[0].CoreV1().ConfigMaps(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	watchers, err := open(ctx, clients, metav1.NamespaceDefault, list.ResourceVersion, n)
	if err != nil {
		stopAll(watchers)
		return nil, err
	}
	return func() { stopAll(watchers) }, nil
}

// fanOut creates the ConfigMaps and collects how long each took to each watcher, and to the last one.
func (l *Load) fanOut(ctx context.Context, ns string, watchers []watch.Interface) (each, last series, err error) {
	seen := make([][]time.Time, len(watchers)) // by watcher, in the order of events
	failed := make([]error, len(watchers))
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i, w := range watchers {
		wg.Go(func() { seen[i], failed[i] = follow(ctx, w, l.o.Events) })
	}
	begin := time.Now()
	sent, err := l.send(ctx, ns)
	if err != nil {
		return each, last, err
	}
	wg.Wait()
	each.total = time.Since(begin)
	last.total = each.total
	for event, at := range sent {
		var slowest time.Duration
		for _, times := range seen {
			if event < len(times) {
				took := times[event].Sub(at)
				each.took, slowest = append(each.took, took), max(slowest, took)
			}
		}
		if slowest > 0 {
			last.took = append(last.took, slowest)
		}
	}
	for i, err := range failed {
		for range l.o.Events - len(seen[i]) {
			each.errs = append(each.errs, err)
		}
	}
	return each, last, nil
}

// send creates the ConfigMaps, and says when it sent each.
func (l *Load) send(ctx context.Context, ns string) ([]time.Time, error) {
	sent := make([]time.Time, l.o.Events)
	pace := time.NewTicker(time.Duration(float64(time.Second) / l.o.EventRate))
	defer pace.Stop()
	for i := range sent {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		sent[i] = time.Now()
		if _, err := l.clients[i%len(l.clients)].CoreV1().ConfigMaps(ns).Create(ctx, configMap(i), metav1.CreateOptions{}); err != nil {
			return nil, fmt.Errorf("create what is watched: %w", err)
		}
	}
	return sent, nil
}

// follow says when each of n events arrived. They must arrive in order, with none left out.
func follow(ctx context.Context, w watch.Interface, n int) ([]time.Time, error) {
	var times []time.Time
	for len(times) < n {
		select {
		case event, open := <-w.ResultChan():
			if !open {
				return times, errors.New("the watch has ended")
			}
			cm, ok := event.Object.(*v1.ConfigMap)
			want := configMap(len(times)).Name
			switch {
			case !ok:
				return times, fmt.Errorf("the watch says %s %v", event.Type, event.Object)
			case event.Type != watch.Added || cm.Name != want && cm.Labels["app"] == "load":
				return times, fmt.Errorf("the watch says %s %s, want ADDED %s", event.Type, cm.Name, want)
			case cm.Name == want:
				times = append(times, time.Now())
			}
		case <-ctx.Done():
			return times, fmt.Errorf("wait for an event: %w", context.Cause(ctx))
		}
	}
	return times, nil
}
