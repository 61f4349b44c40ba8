// SPDX-License-Identifier: Apache-2.0

package issuers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/klog/v2"
)

const (
	// lookAgain is how often the file is read though nothing told of a change: it may be on a file system that does not tell, and
	// issuers that were not there may be.
	lookAgain = time.Minute
	// waitForIssuers is how long new issuers have to tell their keys, asked after each healthPeriod. Until then the old ones count.
	waitForIssuers = time.Minute
	healthPeriod   = 50 * time.Millisecond
)

// Watch has what the file says count as soon as it changes, until ctx ends. A file that is wrong is logged, and what was in force
// stays. The directory is watched, not the file, so that one that is replaced, as editors and mounted ConfigMaps do, is seen.
func (a *Authenticator) Watch(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", a.path, err)
	}
	defer watcher.Close()
	if err := watcher.Add(filepath.Dir(a.path)); err != nil {
		return fmt.Errorf("watch %s: %w", filepath.Dir(a.path), err)
	}
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	a.reload(ctx) // it may have changed since it was read
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-watcher.Events:
		case err := <-watcher.Errors:
			klog.ErrorS(err, "Cannot watch the authentication configuration; it is read once a minute", "path", a.path)
		case <-again.C:
		}
		a.reload(ctx)
	}
}

// reload reads the file and puts it in force if it differs.
func (a *Authenticator) reload(ctx context.Context) {
	text, err := os.ReadFile(a.path)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) { // it may be about to be replaced
			klog.ErrorS(err, "Cannot read the authentication configuration; what it said before stays in force", "path", a.path)
		}
		return
	}
	if bytes.Equal(text, a.text) {
		return
	}
	config, err := a.parse(text)
	if err == nil && !equality.Semantic.DeepEqual(config.Anonymous, a.anonymous) {
		err = field.Forbidden(field.NewPath("anonymous"), "changed from initial configuration file")
	}
	if err != nil {
		a.text = text // which will not become right by itself
		klog.ErrorS(err, "The authentication configuration is not valid; what it said before stays in force", "path", a.path)
		return
	}
	next, err := a.build(config)
	if err == nil {
		err = a.replace(ctx, next)
	}
	if err != nil {
		klog.ErrorS(err, "The authentication configuration cannot be put in force yet; what it said before stays", "path", a.path)
		return
	}
	a.text = text
	klog.InfoS("Reloaded the authentication configuration", "path", a.path, "issuers", len(config.JWT))
}

// replace has next count once all of its issuers have told their keys.
func (a *Authenticator) replace(ctx context.Context, next *generation) error {
	ctx, cancel := context.WithTimeout(ctx, waitForIssuers)
	defer cancel()
	ticker := time.NewTicker(healthPeriod)
	defer ticker.Stop()
	for err := next.healthy(); err != nil; err = next.healthy() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			next.end()
			return err
		}
	}
	old := a.current.Swap(next)
	time.AfterFunc(retire, old.end)
	return nil
}
