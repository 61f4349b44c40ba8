// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"fmt"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/component-helpers/storage/volume"
)

// Volumes is what the rules about volumes share: where claims, volumes and classes are read, what is set aside for pods on
// their way to a node, and the writes that ask the volume controller to bind or provision.
type Volumes struct {
	client  kubernetes.Interface
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	classes storagelisters.StorageClassLister
	timeout time.Duration

	mu      sync.Mutex
	assumed map[string]*v1.PersistentVolumeClaim // by the volume's name
	placed  map[string]string                    // node by the claim's key
	changed chan struct{}                        // closed at the next change, where somebody waits
	waiting bool
}

// NewVolumes returns the shared part. timeout is how long a pod waits for its volumes before it is tried again.
func NewVolumes(client kubernetes.Interface, claims corelisters.PersistentVolumeClaimLister, volumes corelisters.PersistentVolumeLister,
	classes storagelisters.StorageClassLister, timeout time.Duration) *Volumes {
	return &Volumes{
		client: client, claims: claims, volumes: volumes, classes: classes, timeout: timeout,
		assumed: map[string]*v1.PersistentVolumeClaim{}, placed: map[string]string{}, changed: make(chan struct{}),
	}
}

// Changed tells pods that wait for their volumes to look again. It is called for every change of a claim or a volume.
func (s *Volumes) Changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting {
		close(s.changed)
		s.changed = make(chan struct{})
		s.waiting = false
	}
}

// list returns the volumes of a class as they will be once pods on their way have got theirs.
func (s *Volumes) list(class string) ([]*v1.PersistentVolume, error) {
	all, err := s.volumes.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("list persistent volumes: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*v1.PersistentVolume
	for _, pv := range all {
		if volume.GetPersistentVolumeClass(pv) != class {
			continue
		}
		if claim := s.assumed[pv.Name]; claim != nil {
			bound, _, err := volume.GetBindVolumeToClaim(pv, claim)
			if err != nil {
				continue
			}
			pv = bound
		}
		out = append(out, pv)
	}
	return out, nil
}

// selectedNode is the node that a claim's volume is to be provisioned on, "" where none is chosen.
func (s *Volumes) selectedNode(claim *v1.PersistentVolumeClaim) string {
	if node, ok := claim.Annotations[volume.AnnSelectedNode]; ok {
		return node
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.placed[claimKey(claim)]
}

// reserve sets the plan's volumes aside. What it returns gives them back.
func (s *Volumes) reserve(p *plan, node string) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range p.bind {
		s.assumed[b.volume.Name] = b.claim
	}
	for _, claim := range p.provision {
		s.placed[claimKey(claim)] = node
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, b := range p.bind {
			delete(s.assumed, b.volume.Name)
		}
		for _, claim := range p.provision {
			delete(s.placed, claimKey(claim))
		}
	}
}

// carryOut writes the plan to the API server and waits until every claim of it is bound.
func (s *Volumes) carryOut(ctx context.Context, p *plan, node *v1.Node) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	for _, b := range p.bind {
		bound, dirty, err := volume.GetBindVolumeToClaim(b.volume, b.claim)
		if err == nil && dirty {
			_, err = s.client.CoreV1().PersistentVolumes().Update(ctx, bound, metav1.UpdateOptions{})
		}
		if err != nil {
			return fmt.Errorf("binding volumes: bind %s to claim %s: %w", b.volume.Name, claimKey(b.claim), err)
		}
	}
	for _, claim := range p.provision {
		if claim.Annotations[volume.AnnSelectedNode] == node.Name {
			continue
		}
		update := claim.DeepCopy()
		metav1.SetMetaDataAnnotation(&update.ObjectMeta, volume.AnnSelectedNode, node.Name)
		if _, err := s.client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, update, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("binding volumes: select node %s for claim %s: %w", node.Name, claimKey(claim), err)
		}
	}
	for {
		s.mu.Lock()
		s.waiting = true
		changed := s.changed
		s.mu.Unlock()
		done, err := s.bound(p, node)
		if err != nil {
			return fmt.Errorf("binding volumes: %w", err)
		}
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("binding volumes: %w", context.Cause(ctx))
		}
	}
}

// bound reports whether all claims of a plan are bound to volumes that the node can reach. The error says that they will not be.
func (s *Volumes) bound(p *plan, node *v1.Node) (bool, error) {
	for _, claim := range p.claims() {
		now, err := s.claims.PersistentVolumeClaims(claim.Namespace).Get(claim.Name)
		if err != nil {
			return false, err
		}
		if now.UID != claim.UID {
			return false, fmt.Errorf("claim %s was deleted and made anew", claimKey(claim))
		}
		if !fullyBound(now) {
			if p.provisions(claim) && now.ResourceVersion != claim.ResourceVersion && now.Annotations[volume.AnnSelectedNode] != node.Name {
				return false, fmt.Errorf("provisioning failed for PVC %q", claim.Name)
			}
			return false, nil
		}
		pv, err := s.volumes.Get(now.Spec.VolumeName)
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if err := volume.CheckNodeAffinity(pv, node.Labels); err != nil {
			return false, fmt.Errorf("pv %q node affinity doesn't match node %q: %w", pv.Name, node.Name, err)
		}
	}
	return true, nil
}

func fullyBound(claim *v1.PersistentVolumeClaim) bool {
	return claim.Spec.VolumeName != "" && metav1.HasAnnotation(claim.ObjectMeta, volume.AnnBindCompleted)
}

func claimKey(claim *v1.PersistentVolumeClaim) string { return claim.Namespace + "/" + claim.Name }
