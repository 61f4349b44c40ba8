// SPDX-License-Identifier: Apache-2.0

package flowcontrol

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/util/flowcontrol/request"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// Stats is how many objects of a resource are stored, and how large they are.
type Stats func(context.Context, schema.GroupResource) (storage.Stats, error)

const (
	// freshFor is how long a count is used before it is taken anew.
	freshFor = time.Minute
	justNow  = 2 * time.Second
	// maxCounted is of how many resources the count is remembered. Anybody may ask for resources that do not exist.
	maxCounted = 1024
)

// Counts tells how many seats a list takes up. kube-apiserver counts every resource every minute; here one is counted when it is
// listed and was not within the last minute, which is done on the side: the list that brings it about is estimated by the count before.
type Counts struct {
	stats Stats
	clock clock.PassiveClock

	mu       sync.Mutex
	counted  map[string]*count
	counting sync.WaitGroup
}

type count struct {
	storage.Stats
	at       time.Time // zero before the first
	counting bool
}

func newCounts(stats Stats) *Counts {
	return &Counts{stats: stats, clock: clock.RealClock{}, counted: map[string]*count{}}
}

// Get implements request.StorageObjectCountTracker. A resource that was never counted costs as little as a list can.
func (c *Counts) Get(resource string) (storage.Stats, error) {
	now := c.clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	of, ok := c.counted[resource]
	if !ok {
		if len(c.counted) >= maxCounted {
			clear(c.counted)
		}
		of = &count{}
		c.counted[resource] = of
	}
	if !of.counting && now.Sub(of.at) >= freshFor {
		of.counting = true
		c.counting.Go(func() { c.count(resource, of) })
	}
	if of.at.IsZero() {
		return storage.Stats{}, request.ObjectCountNotFoundErr
	}
	return of.Stats, nil
}

// Now is Get, but waits for a count that is justNow old at most.
func (c *Counts) Now(ctx context.Context, resource string) (storage.Stats, error) {
	c.mu.Lock()
	of, ok := c.counted[resource]
	if ok && !of.at.IsZero() && c.clock.Since(of.at) < justNow {
		defer c.mu.Unlock()
		return of.Stats, nil
	}
	c.mu.Unlock()
	stats, err := c.stats(ctx, schema.ParseGroupResource(resource))
	if err != nil {
		return storage.Stats{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if of, ok := c.counted[resource]; ok {
		of.Stats, of.at = stats, c.clock.Now()
	}
	return stats, nil
}

func (c *Counts) count(resource string, of *count) {
	stats, err := c.stats(context.Background(), schema.ParseGroupResource(resource))
	c.mu.Lock()
	defer c.mu.Unlock()
	of.counting = false
	of.at = c.clock.Now()
	if err != nil {
		klog.V(2).ErrorS(err, "Count objects", "resource", resource)
		return
	}
	of.Stats = stats
}

// Wait returns when nothing is being counted. There must be no more requests.
func (c *Counts) Wait() { c.counting.Wait() }

// Set implements request.StorageObjectCountTracker. Nobody calls it.
func (c *Counts) Set(string, storage.Stats) {}

// RunUntil implements request.StorageObjectCountTracker. There is nothing to maintain.
func (c *Counts) RunUntil(<-chan struct{}) {}

var _ request.StorageObjectCountTracker = (*Counts)(nil)
