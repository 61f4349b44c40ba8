// SPDX-License-Identifier: Apache-2.0

// Package gc removes what the node no longer needs: images when the disk fills, and what dead containers leave.
//
// Both look around at intervals and do nothing on most of their rounds: a few calls to the runtime every minute.
package gc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
)

// The kubelet's defaults.
const (
	DefaultHighPercent = 85
	DefaultLowPercent  = 80
	DefaultMinAge      = 2 * time.Minute

	imagesEvery = 5 * time.Minute
)

// Images removes unused images, those longest unused first, once the file system they are on is fuller than High percent,
// until it is down to Low. An image must have been known and unused for MinAge.
type Images struct {
	Runtime cri.RuntimeService
	Images  cri.ImageManagerService
	High    int
	Low     int
	MinAge  time.Duration
	// Event tells the node's events of a failure, as FreeDiskSpaceFailed; may be nil.
	Event func(reason, message string)

	mu   sync.Mutex
	seen map[string]*sighting
	now  func() time.Time
	disk func(path string) (capacity, available uint64, err error)
}

// sighting is when an image was first seen, and when it was last used.
type sighting struct{ first, used time.Time }

// NewImages returns a collector with the default thresholds.
func NewImages(runtime cri.RuntimeService, images cri.ImageManagerService, event func(reason, message string)) *Images {
	return &Images{Runtime: runtime, Images: images, High: DefaultHighPercent, Low: DefaultLowPercent, MinAge: DefaultMinAge, Event: event,
		seen: map[string]*sighting{}, now: time.Now, disk: diskSpace}
}

// Run collects until ctx ends.
func (g *Images) Run(ctx context.Context) {
	tick := time.NewTicker(imagesEvery)
	defer tick.Stop()
	for {
		if err := g.Collect(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Image garbage collection failed")
			if g.Event != nil {
				g.Event("ImageGCFailed", err.Error())
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Collect looks once, and frees space if too little is left.
func (g *Images) Collect(ctx context.Context) error {
	unused, err := g.detect(ctx)
	if err != nil {
		return fmt.Errorf("find unused images: %w", err)
	}
	info, err := g.Images.ImageFsInfo(ctx)
	if err != nil {
		return fmt.Errorf("find file system of images: %w", err)
	}
	if len(info.ImageFilesystems) == 0 {
		return errors.New("the runtime names no file system of images")
	}
	capacity, available, err := g.disk(info.ImageFilesystems[0].GetFsId().GetMountpoint())
	if err != nil {
		return err
	}
	if capacity == 0 {
		return errors.New("invalid capacity 0 on image filesystem")
	}
	percent := 100 - int(available*100/capacity)
	if percent < g.High {
		return nil
	}
	want := int64(capacity)*int64(100-g.Low)/100 - int64(available)
	klog.FromContext(ctx).Info("Disk usage on image filesystem is over the high threshold, trying to free bytes down to the low threshold",
		"usage", percent, "highThreshold", g.High, "amountToFree", want, "lowThreshold", g.Low)
	freed, err := g.free(ctx, unused, want)
	if err != nil {
		return err
	}
	if freed < want {
		message := fmt.Sprintf("Failed to garbage collect required amount of images. Attempted to free %d bytes, but only found %d bytes eligible to free.", want, freed)
		if g.Event != nil {
			g.Event("FreeDiskSpaceFailed", message)
		}
		return errors.New(message)
	}
	return nil
}

// Prune removes every image that is unused now, as is done when the disk is under pressure; MinAge still holds.
func (g *Images) Prune(ctx context.Context) error {
	unused, err := g.detect(ctx)
	if err != nil {
		return fmt.Errorf("find unused images: %w", err)
	}
	_, err = g.free(ctx, unused, 1<<62)
	return err
}

type candidate struct {
	image *runtimeapi.Image
	sighting
}

// detect brings the sightings up to date and returns the images that nothing uses, longest unused first.
func (g *Images) detect(ctx context.Context) ([]candidate, error) {
	images, err := g.Images.ListImages(ctx, nil)
	if err != nil {
		return nil, err
	}
	containers, err := g.Runtime.ListContainers(ctx, &runtimeapi.ContainerFilter{})
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, c := range containers {
		used[c.ImageId], used[c.ImageRef], used[c.GetImage().GetImage()] = true, true, true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	present := map[string]bool{}
	var out []candidate
	for _, i := range images {
		present[i.Id] = true
		s := g.seen[i.Id]
		if s == nil {
			s = &sighting{first: now}
			g.seen[i.Id] = s
		}
		inUse := used[i.Id] || slices.ContainsFunc(i.RepoDigests, func(d string) bool { return used[d] })
		if inUse {
			s.used = now
		}
		if !inUse && !i.Pinned {
			out = append(out, candidate{i, *s})
		}
	}
	for id := range g.seen {
		if !present[id] {
			delete(g.seen, id)
		}
	}
	slices.SortFunc(out, func(a, b candidate) int {
		if c := a.used.Compare(b.used); c != 0 {
			return c
		}
		return a.first.Compare(b.first)
	})
	return out, nil
}

// free removes candidates until enough is freed. An image that cannot be removed holds up no other.
func (g *Images) free(ctx context.Context, unused []candidate, want int64) (freed int64, err error) {
	var errs []error
	now := g.now()
	for _, c := range unused {
		if freed >= want {
			break
		}
		if now.Sub(c.first) < g.MinAge || now.Sub(c.used) < g.MinAge {
			continue
		}
		klog.FromContext(ctx).Info("Removing image to free bytes", "imageID", c.image.Id, "size", c.image.Size)
		if err := g.Images.RemoveImage(ctx, &runtimeapi.ImageSpec{Image: c.image.Id}); err != nil {
			errs = append(errs, fmt.Errorf("remove image %s: %w", c.image.Id, err))
			continue
		}
		freed += int64(c.image.Size)
	}
	if len(errs) > 0 {
		return freed, fmt.Errorf("wanted to free %d bytes, but freed %d bytes space with errors in image deletion: %w", want, freed, errors.Join(errs...))
	}
	return freed, nil
}

func diskSpace(path string) (capacity, available uint64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0, 0, fmt.Errorf("ask for free space of %s: %w", path, err)
	}
	return s.Blocks * uint64(s.Bsize), s.Bavail * uint64(s.Bsize), nil
}
