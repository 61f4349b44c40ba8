// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"k8s.io/component-helpers/apimachinery/lease"
	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	leaseSeconds = 40
	leasePeriod  = 10 * time.Second
	statusPeriod = 10 * time.Second
	reportPeriod = 5 * time.Minute // of a status that says nothing new
	retryPeriod  = 200 * time.Millisecond

	registerPeriod = 3 * time.Second // between attempts to register that have failed for long
)

// Options of a node.
type Options struct {
	Name           string
	IPs            []string
	Labels         map[string]string
	Taints         []v1.Taint
	MaxPods        int
	KubeletPort    int
	KubeletVersion string
	RuntimeVersion string // containerd://2.4.2
	Machine        Machine
	Reserved       v1.ResourceList // kept from pods
	Client         kubernetes.Interface
	Images         internalapi.ImageManagerService
	Recorder       record.EventRecorder
	// Health is asked before each status.
	Health func(ctx context.Context) Health
}

// Node is this machine in the cluster.
type Node struct {
	Options

	mu      sync.Mutex
	current *v1.Node // as the API server last returned it
	sent    time.Time
	kick    chan struct{}
}

// New returns a node that is not registered yet.
func New(o Options) *Node {
	return &Node{Options: o, kick: make(chan struct{}, 1)}
}

// Register creates the Node object, or takes over the one that is there, and sends a first status. It tries until ctx ends, and after a while says why
// it has to.
func (n *Node) Register(ctx context.Context) error {
	pause := wait.Backoff{Duration: retryPeriod, Factor: 1.5, Steps: 8, Cap: registerPeriod}
	for said := ""; ; {
		err := n.register(ctx)
		if err == nil {
			return nil
		}
		if text := err.Error(); pause.Steps <= 5 && text != said && ctx.Err() == nil {
			said = text
			klog.FromContext(ctx).Error(err, "Node cannot be registered; trying again", "node", klog.KRef("", n.Name))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("register node %s: %w", n.Name, errors.Join(ctx.Err(), err))
		case <-time.After(pause.Step()):
		}
	}
}

func (n *Node) register(ctx context.Context) error {
	want := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.labels()}, Spec: v1.NodeSpec{Taints: n.Taints}}
	n.fill(&want.Status, n.Health(ctx), n.images(ctx), metav1.Now().Rfc3339Copy())
	created, err := n.Client.CoreV1().Nodes().Create(ctx, want, metav1.CreateOptions{})
	if err == nil {
		n.set(created, time.Now())
		return nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	have, err := n.Client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if have, err = n.label(ctx, have); err != nil {
		return err
	}
	n.set(have, time.Time{})
	return n.update(ctx, true)
}

// label brings the labels of a node that existed up to date; labels of others are kept.
func (n *Node) label(ctx context.Context, have *v1.Node) (*v1.Node, error) {
	missing := map[string]string{}
	for k, v := range n.labels() {
		if have.Labels[k] != v {
			missing[k] = v
		}
	}
	if len(missing) == 0 {
		return have, nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": missing}})
	if err != nil {
		return nil, fmt.Errorf("encode labels: %w", err)
	}
	return n.Client.CoreV1().Nodes().Patch(ctx, n.Name, types.MergePatchType, patch, metav1.PatchOptions{})
}

// Run renews the lease and the status until ctx ends.
func (n *Node) Run(ctx context.Context) {
	holder := lease.NewController(clock.RealClock{}, n.Client, n.Name, leaseSeconds, n.Kick, leasePeriod, n.Name, v1.NamespaceNodeLease, n.own)
	var renewing sync.WaitGroup
	defer renewing.Wait()
	renewing.Go(func() { holder.Run(ctx) })
	ticker := time.NewTicker(statusPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-n.kick:
		}
		if err := n.update(ctx, false); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Node status cannot be sent")
		}
	}
}

// Kick has the status computed now.
func (n *Node) Kick() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// Current returns the Node as last seen; it is not to be changed.
func (n *Node) Current() *v1.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.current
}

// Observe takes the Node as a watch shows it.
func (n *Node) Observe(node *v1.Node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.current = node
}

// Allocatable is what the node's pods may request.
func (n *Node) Allocatable() v1.ResourceList { return n.allocatable() }

// WaitPodCIDR waits until the node has been given its range of pod addresses.
func (n *Node) WaitPodCIDR(ctx context.Context) (string, error) {
	for {
		if node := n.Current(); node != nil && node.Spec.PodCIDR != "" {
			return node.Spec.PodCIDR, nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("wait for the pod CIDR of node %s: %w", n.Name, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
		node, err := n.Client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
		if err == nil {
			n.Observe(node)
		}
	}
}

// update sends the status where it says something new, or has not been sent for long.
func (n *Node) update(ctx context.Context, force bool) error {
	n.mu.Lock()
	have, sent := n.current.DeepCopy(), n.sent
	n.mu.Unlock()
	next := have.DeepCopy()
	n.fill(&next.Status, n.Health(ctx), n.images(ctx), metav1.Now().Rfc3339Copy())
	if !force && time.Since(sent) < reportPeriod && equality.Semantic.DeepEqual(withoutHeartbeats(&have.Status), withoutHeartbeats(&next.Status)) {
		return nil
	}
	before, err := json.Marshal(v1.Node{Status: have.Status})
	if err != nil {
		return fmt.Errorf("encode status of node %s: %w", n.Name, err)
	}
	after, err := json.Marshal(v1.Node{Status: next.Status})
	if err != nil {
		return fmt.Errorf("encode status of node %s: %w", n.Name, err)
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(before, after, v1.Node{})
	if err != nil {
		return fmt.Errorf("compare statuses of node %s: %w", n.Name, err)
	}
	if patch, err = replaceAddresses(patch, next.Status.Addresses); err != nil {
		return fmt.Errorf("compare statuses of node %s: %w", n.Name, err)
	}
	got, err := n.Client.CoreV1().Nodes().Patch(ctx, n.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("patch status of node %s: %w", n.Name, err)
	}
	n.announce(have, got)
	n.set(got, time.Now())
	return nil
}

// announce records an event when the node has become ready, or is no more.
func (n *Node) announce(before, after *v1.Node) {
	was, is := readiness(before), readiness(after)
	if was == is || n.Recorder == nil {
		return
	}
	reason := "NodeNotReady"
	if is == v1.ConditionTrue {
		reason = "NodeReady"
	}
	ref := &v1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: n.Name, UID: types.UID(n.Name)}
	n.Recorder.Eventf(ref, v1.EventTypeNormal, reason, "Node %s status is now: %s", n.Name, reason)
}

func readiness(node *v1.Node) v1.ConditionStatus {
	i := slices.IndexFunc(node.Status.Conditions, func(c v1.NodeCondition) bool { return c.Type == v1.NodeReady })
	if i < 0 {
		return ""
	}
	return node.Status.Conditions[i].Status
}

// own makes the Node the owner of its lease.
func (n *Node) own(l *coordinationv1.Lease) error {
	node := n.Current()
	if node == nil || len(l.OwnerReferences) > 0 {
		return nil
	}
	l.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}
	return nil
}

func (n *Node) set(node *v1.Node, sent time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.current, n.sent = node, sent
}

func (n *Node) labels() map[string]string {
	labels := maps.Clone(n.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[v1.LabelHostname] = strings.ToLower(n.Name)
	labels[v1.LabelOSStable] = runtime.GOOS
	labels[v1.LabelArchStable] = runtime.GOARCH
	labels["beta.kubernetes.io/os"] = runtime.GOOS
	labels["beta.kubernetes.io/arch"] = runtime.GOARCH
	return labels
}

func (n *Node) images(ctx context.Context) []*runtimeapi.Image {
	images, err := n.Images.ListImages(ctx, nil)
	if err != nil {
		klog.FromContext(ctx).V(2).Info("Images cannot be listed", "err", err)
		return nil
	}
	return images
}

// replaceAddresses has the list of addresses replaced as a whole: its merge key, the type, is not unique.
func replaceAddresses(patch []byte, addresses []v1.NodeAddress) ([]byte, error) {
	var p map[string]any
	if err := json.Unmarshal(patch, &p); err != nil {
		return nil, err
	}
	status, _ := p["status"].(map[string]any)
	if status == nil || status["addresses"] == nil {
		return patch, nil
	}
	list := []any{}
	for _, a := range addresses {
		list = append(list, map[string]any{"type": string(a.Type), "address": a.Address})
	}
	status["addresses"] = append(list, map[string]any{"$patch": "replace"})
	delete(status, "$setElementOrder/addresses")
	return json.Marshal(p)
}
