// SPDX-License-Identifier: Apache-2.0

package load

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
)

// Flags lets a command line change the sizes; what they are now is the default.
func (s *Sizes) Flags(fs *flag.FlagSet) {
	fs.IntVar(&s.ConfigMaps, "configmaps", s.ConfigMaps, "ConfigMaps to create")
	fs.IntVar(&s.Pods, "pods", s.Pods, "Pods to create")
	fs.IntVar(&s.Gets, "gets", s.Gets, "Pods to get")
	fs.IntVar(&s.Lists, "lists", s.Lists, "lists of all Pods")
	fs.IntVar(&s.Patches, "patches", s.Patches, "Pods whose status to patch")
	fs.IntVar(&s.Watchers, "watchers", s.Watchers, "watchers of the same ConfigMaps")
	fs.IntVar(&s.Events, "events", s.Events, "ConfigMaps that they see created")
	fs.Float64Var(&s.EventRate, "event-rate", s.EventRate, "of these, how many a second")
	fs.Func("deployments", fmt.Sprintf("replicas of each Deployment, `n,…` (default %s)", strings.Trim(strings.ReplaceAll(fmt.Sprint(s.Deployments), " ", ","), "[]")), func(list string) error {
		s.Deployments = nil
		for part := range strings.SplitSeq(list, ",") {
			n, err := strconv.Atoi(part)
			if err != nil || n < 1 {
				return fmt.Errorf("%q: write numbers from 1, such as 100,500", part)
			}
			s.Deployments = append(s.Deployments, n)
		}
		return nil
	})
	fs.IntVar(&s.Deletes, "deletes", s.Deletes, "Pods to delete")
}
