// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"context"

	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// The kubelet's default hard eviction thresholds:
// https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#hard-eviction-thresholds
const (
	memoryAvailable      = 100 << 20 // bytes
	nodeFsPercent        = 10
	nodeFsInodesPercent  = 5
	imageFsPercent       = 15
	imageFsInodesPercent = 5
	pidsPercent          = 5
)

// Pressure tells which of the node's resources are nearly used up, as the conditions MemoryPressure, DiskPressure and
// PIDPressure say it. What cannot be read is taken to be in plenty.
func (p *Provider) Pressure() (memory, disk, pids bool) {
	return pressure(p.node(context.Background()))
}

func pressure(n stats.NodeStats) (memory, disk, pids bool) {
	if n.Memory != nil && n.Memory.AvailableBytes != nil {
		memory = *n.Memory.AvailableBytes < memoryAvailable
	}
	disk = scarce(n.Fs, nodeFsPercent, nodeFsInodesPercent)
	if n.Runtime != nil {
		disk = disk || scarce(n.Runtime.ImageFs, imageFsPercent, imageFsInodesPercent)
	}
	if r := n.Rlimit; r != nil && r.MaxPID != nil && r.NumOfRunningProcesses != nil {
		pids = (*r.MaxPID-*r.NumOfRunningProcesses)*100 < *r.MaxPID*pidsPercent
	}
	return memory, disk, pids
}

// scarce tells whether less than the percentages of bytes or inodes are free. Some file systems count no inodes.
func scarce(fs *stats.FsStats, bytesPercent, inodesPercent uint64) bool {
	if fs == nil {
		return false
	}
	below := func(free, all *uint64, percent uint64) bool {
		return free != nil && all != nil && *all > 0 && *free < *all/100*percent
	}
	return below(fs.AvailableBytes, fs.CapacityBytes, bytesPercent) || below(fs.InodesFree, fs.Inodes, inodesPercent)
}
