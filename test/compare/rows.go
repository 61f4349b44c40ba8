// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"

	"github.com/hivemind-project/hivemind/test/load"
)

// row is a line of the table: a figure of each system. Targets are for Hivemind.
type row struct {
	key   string // of the values
	title string
	unit  string
	// plain figures have no ratio.
	plain bool
	// Targets: what Hivemind's figure divided by stock's, by that of etcd and the API server alone, and by itself must be.
	full, alone, self target
}

// target is a bound of a figure. The zero one is none.
type target struct {
	atLeast, atMost float64
}

func (t target) String() string {
	switch {
	case t.atLeast > 0:
		return fmt.Sprintf("≥ %.4g", t.atLeast)
	case t.atMost > 0:
		return fmt.Sprintf("≤ %.4g", t.atMost)
	}
	return ""
}

// met says whether a figure is within; true without bounds.
func (t target) met(figure float64) bool {
	return (t.atLeast == 0 || figure >= t.atLeast) && (t.atMost == 0 || figure <= t.atMost)
}

func atLeast(x float64) target { return target{atLeast: x} }
func atMost(x float64) target  { return target{atMost: x} }

// othersTitle names the row that tells how much else was going on.
const othersTitle = "CPU of other programs during the load"

// rows are all lines that there can be. Those that were not measured are left out.
func rows(o options) []row {
	objects := 0
	for phase, n := range map[string]int{"configmaps": o.ConfigMaps, "pods": o.Pods} {
		if slices.Contains(o.phases, phase) {
			objects += n
		}
	}
	list := []row{
		{key: "start", title: "start to /readyz, new data directory", unit: "s"},
		{key: "start account", title: "start to the first ServiceAccount", unit: "s"},
		{key: "idle rss", title: "RSS idle", unit: "MiB", self: atMost(80)},
		{key: "idle cpu", title: "CPU idle", unit: "% of a core"},
	}
	for _, name := range []string{load.CreateConfigMaps, load.CreatePods} {
		list = append(list,
			row{key: name + " rate", title: name, unit: "/s", full: atLeast(2.5), alone: atLeast(1.5)},
			row{key: name + " p99", title: name + ", p99", unit: "ms", full: atMost(0.5), alone: atMost(0.667)},
			row{key: name + " cpu", title: name + ", CPU each", unit: "ms", full: atMost(0.5)})
	}
	for _, name := range []string{load.GetPods, load.PatchPods, load.DeletePods} {
		list = append(list,
			row{key: name + " rate", title: name, unit: "/s"},
			row{key: name + " p99", title: name + ", p99", unit: "ms"},
			row{key: name + " cpu", title: name + ", CPU each", unit: "ms", full: atMost(0.5)})
	}
	pods := fmt.Sprintf("list %d Pods", o.Pods)
	list = append(list,
		row{key: load.ReceivePods + " p50", title: pods + ", to the last byte, p50", unit: "ms", full: atMost(0.5)},
		row{key: load.ListPods + " p50", title: pods + ", to all decoded, p50", unit: "ms", full: atMost(0.5)},
		row{key: load.ListPods + " cpu", title: pods + ", CPU each", unit: "ms"},
		row{key: load.ListPodsJSON + " p50", title: pods + " as JSON, p50", unit: "ms", full: atMost(0.5)},
		row{key: load.ListPodsJSON + " cpu", title: pods + " as JSON, CPU each", unit: "ms"})
	watch := fmt.Sprintf("watch, create to seen by %d", o.Watchers)
	list = append(list,
		row{key: load.WatchEach + " p50", title: watch + ", p50", unit: "ms"},
		row{key: load.WatchEach + " p99", title: watch + ", p99", unit: "ms", full: atMost(1)},
		row{key: load.WatchEach + " cpu", title: "watch, CPU each event and watcher", unit: "ms"},
		row{key: "watcher rss", title: fmt.Sprintf("watch, RSS each of %d idle watchers", idleWatchers), unit: "KiB"})
	for _, n := range o.Deployments {
		name := load.Deployment(n)
		list = append(list,
			row{key: name + " seconds", title: name + ", to all Pods created", unit: "s"},
			row{key: name + " cpu", title: name + ", CPU each Pod", unit: "ms"})
	}
	return append(list,
		row{key: "full rss", title: fmt.Sprintf("RSS after %d objects", objects), unit: "MiB", self: atMost(180)},
		row{key: "end rss", title: "RSS at the end of the load", unit: "MiB", self: atMost(250)},
		row{key: "restart", title: fmt.Sprintf("restart with %d objects, to /readyz", objects), unit: "s", self: atMost(1)},
		row{key: "others", title: othersTitle, unit: "% of a core", plain: true})
}
