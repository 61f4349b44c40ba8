// SPDX-License-Identifier: Apache-2.0

package state

// Change is a set of kinds of change to the cluster. A pod that could not be placed waits for those which the plugins
// that turned it away are interested in, and for no others.
type Change uint32

const (
	NodeAdd         Change = 1 << iota
	NodeAllocatable        // a node can give more or less
	NodeLabels
	NodeTaints // or spec.unschedulable
	PodAssigned
	PodLabels  // of a pod on a node
	PodShrunk  // a pod on a node asks for less
	PodRemoved // a pod has left a node, or has ended
	PodItself  // the waiting pod's own labels, tolerations or requests
	ClaimChange
	VolumeChange
	ClassChange
	NamespaceLabels

	Anything Change = 1<<iota - 1
)
