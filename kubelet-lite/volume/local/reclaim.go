// SPDX-License-Identifier: Apache-2.0

// Package local is this node's part in the persistent volumes that Hivemind's own provisioner makes: their data are
// directories <data>/volumes/<name of the volume>, made when first mounted, and removed here once the claim is gone.
//
// It watches all persistent volumes but keeps none: the cost is one stream, and work only when a volume is released.
package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	// Provisioner is the name that storage classes know the local provisioner by.
	Provisioner = "hivemind.dev/local"
	// provisionedBy is on every volume that was not made by hand.
	provisionedBy = "pv.kubernetes.io/provisioned-by"

	retryAfter = 10 * time.Second
)

// Provisioned tells whether the volume's data is a directory of a node's data directory.
func Provisioned(pv *v1.PersistentVolume) bool { return pv.Annotations[provisionedBy] == Provisioner }

// Reclaimer removes the data of released volumes.
type Reclaimer struct {
	client    kubernetes.Interface
	node, dir string
}

// New returns a reclaimer of the volumes whose node affinity names node (the value of its label kubernetes.io/hostname);
// their data is below dir.
func New(client kubernetes.Interface, node, dir string) *Reclaimer {
	return &Reclaimer{client: client, node: node, dir: dir}
}

// Run reclaims until ctx ends. It needs the rights to get, list, watch and delete persistent volumes.
func (r *Reclaimer) Run(ctx context.Context) {
	work := make(chan *v1.PersistentVolume)
	var running sync.WaitGroup
	running.Add(1)
	go func() {
		defer running.Done()
		lw := &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return r.client.CoreV1().PersistentVolumes().List(ctx, o)
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return r.client.CoreV1().PersistentVolumes().Watch(ctx, o)
			},
		}
		cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(lw, r.client), &v1.PersistentVolume{},
			&events{ctx: ctx, wanted: r.released, out: work}, cache.ReflectorOptions{Name: "local volumes", MinWatchTimeout: 30 * time.Minute}).RunWithContext(ctx)
	}()
	defer running.Wait()
	log := klog.FromContext(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case pv := <-work:
			if err := r.reclaim(ctx, pv); err != nil {
				log.Error(err, "Local volume could not be reclaimed, it is tried again", "persistentVolume", klog.KObj(pv), "after", retryAfter)
				running.Add(1)
				go func() {
					defer running.Done()
					select {
					case <-ctx.Done():
						return
					case <-time.After(retryAfter):
					}
					if current, err := r.client.CoreV1().PersistentVolumes().Get(ctx, pv.Name, metav1.GetOptions{}); err == nil && r.released(current) {
						pv = current
					} else if apierrors.IsNotFound(err) || err == nil {
						return
					}
					select {
					case <-ctx.Done():
					case work <- pv:
					}
				}()
			}
		}
	}
}

// released tells whether the volume is this node's, its claim is gone, and its data is to go too.
func (r *Reclaimer) released(pv *v1.PersistentVolume) bool {
	return slices.Contains(Released(pv), r.node)
}

// Released returns the nodes that a volume's affinity names (one, for a volume of the provisioner's) if the volume is to go: if it was
// provisioned here, its claim is gone, and its data is to go too.
func Released(pv *v1.PersistentVolume) (nodes []string) {
	if !Provisioned(pv) || pv.Status.Phase != v1.VolumeReleased || pv.Spec.PersistentVolumeReclaimPolicy != v1.PersistentVolumeReclaimDelete ||
		pv.Spec.NodeAffinity == nil || pv.Spec.NodeAffinity.Required == nil {
		return nil
	}
	names := func(key string, reqs []v1.NodeSelectorRequirement) {
		for _, q := range reqs {
			if q.Key == key && q.Operator == v1.NodeSelectorOpIn {
				nodes = append(nodes, q.Values...)
			}
		}
	}
	for _, t := range pv.Spec.NodeAffinity.Required.NodeSelectorTerms {
		names(v1.LabelHostname, t.MatchExpressions)
		names(metav1.ObjectNameField, t.MatchFields)
	}
	return nodes
}

// reclaim removes the data, then the object: in this order a crash between them is mended by doing both again.
func (r *Reclaimer) reclaim(ctx context.Context, pv *v1.PersistentVolume) error {
	if pv.Name == "" || strings.ContainsRune(pv.Name, '/') || !filepath.IsLocal(pv.Name) {
		return fmt.Errorf("volume name %q is no directory name", pv.Name)
	}
	if err := os.RemoveAll(filepath.Join(r.dir, pv.Name)); err != nil {
		return fmt.Errorf("remove data of volume %s: %w", pv.Name, err)
	}
	err := r.client.CoreV1().PersistentVolumes().Delete(ctx, pv.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pv.UID))})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete volume %s: %w", pv.Name, err)
	}
	return nil
}

// events is a reflector's store that keeps nothing and passes on what is wanted.
type events struct {
	ctx    context.Context
	wanted func(*v1.PersistentVolume) bool
	out    chan<- *v1.PersistentVolume
}

var _ cache.ReflectorStore = (*events)(nil)

func (e *events) Add(obj any) error    { return e.see(obj) }
func (e *events) Update(obj any) error { return e.see(obj) }
func (e *events) Delete(any) error     { return nil }
func (e *events) Resync() error        { return nil }

func (e *events) Replace(list []any, _ string) error {
	for _, obj := range list {
		if err := e.see(obj); err != nil {
			return err
		}
	}
	return nil
}

func (e *events) see(obj any) error {
	pv, ok := obj.(*v1.PersistentVolume)
	if !ok || !e.wanted(pv) {
		return nil
	}
	select {
	case e.out <- pv:
		return nil
	case <-e.ctx.Done():
		return e.ctx.Err()
	}
}
