// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"strings"

	"github.com/hivemind-project/hivemind/pkg/scheduler/state"
)

// Below minImages bytes of images on a node it gets nothing for them, above maxImages a container no more.
const (
	minImages int64 = 23 << 20
	maxImages int64 = 1000 << 20
)

// ImageLocality prefers nodes that have the pod's images already. An image counts less the fewer nodes have it, lest all
// pods of an image heat up one node.
type ImageLocality struct{}

// Name implements Plugin.
func (ImageLocality) Name() string { return "ImageLocality" }

// Wakes implements Plugin.
func (ImageLocality) Wakes() state.Change { return 0 }

// Start implements Plugin.
func (ImageLocality) Start(pod *state.Pod, cluster *state.Cluster) (*Judge, *Verdict) {
	var names []string
	for i := range pod.Spec.InitContainers {
		names = append(names, withTag(pod.Spec.InitContainers[i].Image))
	}
	for i := range pod.Spec.Containers {
		names = append(names, withTag(pod.Spec.Containers[i].Image))
	}
	containers := int64(len(names))
	for i := range pod.Spec.Volumes {
		if image := pod.Spec.Volumes[i].Image; image != nil {
			names = append(names, withTag(image.Reference))
		}
	}
	return &Judge{Weight: 1, Score: func(nodes []*state.Node) []int64 {
		scores := make([]int64, len(nodes))
		all := cluster.Nodes()
		for _, name := range names {
			have := 0
			for _, node := range all {
				if _, ok := node.Images[name]; ok {
					have++
				}
			}
			if have == 0 {
				continue
			}
			share := float64(have) / float64(len(all))
			for i, node := range nodes {
				scores[i] += int64(float64(node.Images[name]) * share)
			}
		}
		most := maxImages * containers
		for i, s := range scores {
			scores[i] = MaxScore * (min(max(s, minImages), most) - minImages) / (most - minImages)
		}
		return scores
	}}, nil
}

// withTag writes the default tag into an image name that has none, as node status has it.
func withTag(image string) string {
	if strings.LastIndex(image, ":") <= strings.LastIndex(image, "/") {
		return image + ":latest"
	}
	return image
}
