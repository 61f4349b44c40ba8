// SPDX-License-Identifier: Apache-2.0

package flowcontrol

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/util/flowcontrol/request"
	testingclock "k8s.io/utils/clock/testing"
)

func TestCounts(t *testing.T) {
	stored := map[schema.GroupResource]int64{{Resource: "pods"}: 3}
	asked := 0
	var fails error
	c := newCounts(func(_ context.Context, of schema.GroupResource) (storage.Stats, error) {
		asked++
		return storage.Stats{ObjectCount: stored[of]}, fails
	})
	clock := testingclock.NewFakePassiveClock(time.Unix(1, 0))
	c.clock = clock
	get := func(resource string, want int64, wantErr error, wantAsked int) {
		t.Helper()
		stats, err := c.Get(resource)
		c.Wait()
		if stats.ObjectCount != want || !errors.Is(err, wantErr) || asked != wantAsked {
			t.Errorf("%d, %v after %d counts; want %d, %v, %d", stats.ObjectCount, err, asked, want, wantErr, wantAsked)
		}
	}
	get("pods", 0, request.ObjectCountNotFoundErr, 1) // the first list brings it about
	get("pods", 3, nil, 1)
	get("deployments.apps", 0, request.ObjectCountNotFoundErr, 2)
	get("deployments.apps", 0, nil, 2)

	stored[schema.GroupResource{Resource: "pods"}] = 500
	clock.SetTime(clock.Now().Add(freshFor))
	get("pods", 3, nil, 3)
	get("pods", 500, nil, 3)

	clock.SetTime(clock.Now().Add(freshFor))
	fails = errors.New("no leader")
	get("pods", 500, nil, 4)
	get("pods", 500, nil, 4)
}

func TestCountsOfWhatDoesNotExistAreForgotten(t *testing.T) {
	c := newCounts(func(context.Context, schema.GroupResource) (storage.Stats, error) { return storage.Stats{}, nil })
	for i := range 3 * maxCounted {
		_, _ = c.Get(fmt.Sprintf("made-up-%d.example.com", i)) // not counted yet
	}
	c.Wait()
	if len(c.counted) > maxCounted {
		t.Errorf("%d are remembered", len(c.counted))
	}
}
