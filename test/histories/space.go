// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/hivemind-project/hivemind/test/histories/fault"
	"github.com/hivemind-project/hivemind/test/histories/traffic"
)

const (
	quota         = 64 << 20
	large         = 900 << 10 // bytes, near what an object may have
	atMost        = 3 * quota / large
	recoverWithin = time.Minute // how long writes may take to go on once the fault has ended
)

// noQuota is what kube-apiserver answers when etcd has reached its quota.
var noQuota = traffic.Refused{Code: 500, Message: "etcdserver: mvcc: database space exceeded"}

// expectRefused checks that an error is how a server refuses for want of space.
func expectRefused(err error, code int32, message string) error {
	var refused *traffic.Refused
	if !errors.As(err, &refused) || refused.Code != code || refused.Reason != "" || !strings.HasPrefix(refused.Message, message) {
		return fmt.Errorf("a write is answered %w, want code %d and %q", errors.Join(err, errors.New("")), code, message)
	}
	return nil
}

// reachQuota writes until the quota is reached: first by history alone, which the server is to forget by itself, then by objects, some of which are deleted.
func reachQuota(ctx context.Context, t *trial) error {
	if err := t.filler.Create(ctx, "kept", large); err != nil {
		return err
	}
	var err error
	for i := 0; err == nil && i < atMost; i++ {
		err = t.filler.Update(ctx, "kept", large, fmt.Sprint(i))
	}
	if err := expectRefused(err, noQuota.Code, noQuota.Message); err != nil {
		return fmt.Errorf("with history at the quota: %w", err)
	}
	if err := t.filler.Read(ctx, "kept"); err != nil {
		return fmt.Errorf("read from a full storage: %w", err)
	}
	took, err := t.filler.WritesGoOn(ctx, "after-history", recoverWithin)
	if err != nil {
		return err
	}
	t.note("history at the quota: writes went on by themselves after %.1f s", took.Seconds())
	return t.reachQuotaByObjects(ctx)
}

func (t *trial) reachQuotaByObjects(ctx context.Context) error {
	count, refused := 0, error(nil)
	for full := false; !full; {
		for refused = nil; refused == nil; count++ {
			if count > atMost {
				return fmt.Errorf("%d MiB are stored with a quota of %d", count*large>>20, quota>>20)
			}
			refused = t.filler.Create(ctx, fmt.Sprintf("fill-%d", count), large)
		}
		if err := expectRefused(refused, noQuota.Code, noQuota.Message); err != nil {
			return fmt.Errorf("with objects at the quota: %w", err)
		}
		// The server makes room as long as there is history to forget.
		_, err := t.filler.WritesGoOn(ctx, fmt.Sprintf("probe-%d", count), 12*time.Second)
		full = err != nil
	}
	if err := t.restart(ctx, false); err != nil {
		return err
	}
	if err := t.ready(ctx); err != nil {
		return fmt.Errorf("start with a full storage: %w", err)
	}
	if err := expectRefused(t.filler.Create(ctx, "more", large), noQuota.Code, noQuota.Message); err != nil {
		return fmt.Errorf("with objects at the quota, after a restart: %w", err)
	}
	if err := t.filler.Read(ctx, "fill-0"); err != nil {
		return fmt.Errorf("read from a full storage: %w", err)
	}
	for i := range count / 2 {
		if err := t.filler.Delete(ctx, fmt.Sprintf("fill-%d", i)); err != nil {
			return fmt.Errorf("delete from a full storage: %w", err)
		}
	}
	took, err := t.filler.WritesGoOn(ctx, "after-objects", recoverWithin)
	if err != nil {
		return err
	}
	t.note("objects at the quota: writes went on %.1f s after half were deleted", took.Seconds())
	return nil
}

// smallDisk gives hivemindd a disk of its own: twice as large as its log, an empty database and what has to be free.
func smallDisk(t *trial) (err error) {
	t.disk, err = fault.NewDisk(filepath.Join(t.dir, "disk"), 400<<20)
	return err
}

const noSpace = "etcdserver: no space left on device: "

// fillDisk fills the disk, nearly and then wholly, restarts the server on the full disk, and frees it.
func fillDisk(ctx context.Context, t *trial) error {
	if err := errors.Join(t.filler.Create(ctx, "kept", large), t.filler.Create(ctx, "deleted", 10), t.filler.Create(ctx, "deleted-after-restart", 10), pause(ctx, 3*time.Second)); err != nil {
		return err
	}
	for _, left := range []int64{40 << 20, 0} {
		if err := t.disk.Fill(left); err != nil {
			return err
		}
		if err := t.refusesFor(ctx, 3*time.Second); err != nil {
			return fmt.Errorf("with %d MiB left: %w", left>>20, err)
		}
		if left == 0 {
			break
		}
		if err := t.filler.Delete(ctx, "deleted"); err != nil {
			return fmt.Errorf("delete with %d MiB left: %w", left>>20, err)
		}
	}
	if err := t.restart(ctx, false); err != nil {
		return err
	}
	if err := t.ready(ctx); err != nil {
		return fmt.Errorf("start on a full disk: %w", err)
	}
	if err := t.refusesFor(ctx, 3*time.Second); err != nil {
		return fmt.Errorf("on a full disk, after a restart: %w", err)
	}
	if err := t.disk.Fill(40 << 20); err != nil {
		return err
	}
	if err := t.filler.Delete(ctx, "deleted-after-restart"); err != nil {
		return fmt.Errorf("delete on a nearly full disk, after a restart: %w", err)
	}
	if err := t.disk.Empty(); err != nil {
		return err
	}
	took, err := t.filler.WritesGoOn(ctx, "after", recoverWithin)
	if err != nil {
		return err
	}
	t.note("full disk: writes went on %.2f s after space was free", took.Seconds())
	return pause(ctx, 3*time.Second)
}

// refusesFor checks for a while that writes are refused in words and reads are not.
func (t *trial) refusesFor(ctx context.Context, d time.Duration) error {
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := expectRefused(t.filler.Create(ctx, "more", 10), 500, noSpace); err != nil {
			return err
		}
		if err := t.filler.Read(ctx, "kept"); err != nil {
			return fmt.Errorf("a read: %w", err)
		}
		if !t.alive() {
			return fmt.Errorf("hivemindd has ended; see %s", t.log)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}
