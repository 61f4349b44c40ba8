// SPDX-License-Identifier: Apache-2.0

// Package storage is the cluster's memory: an etcd member inside the process, without ports, and the glue that lets
// the API machinery use it by function calls instead of gRPC.
//
// Cost: about 19 MB resident at rest and 0.2 s to start. A write is one fsync of the write-ahead log. The raft log kept
// in memory and on disk is bounded by snapshotCount entries, not by the number of objects.
package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	etcdconfig "go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/features"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/utils/clock"
)

const (
	// snapshotCount bounds the raft log between snapshots; catchUpEntries is what stays for a slow follower. Both are
	// lower than etcd's defaults because the log's entries are held in memory.
	snapshotCount  = 1000
	catchUpEntries = 200

	// A lone member elects itself after 1 to 3 ticks (etcd advances the clock by electionTicks-1, raft draws the timeout from
	// [electionTicks, 2 electionTicks)), which is most of the time that the storage takes to start. With other members these
	// must be 100 ms and 10: a heartbeat that is late must not cost the leadership. A throw-away cluster is rather ready early than
	// at rest: 100 ticks a second take a thousandth of a CPU.
	tick          = 50 * time.Millisecond
	throwAwayTick = 10 * time.Millisecond
	electionTicks = 2

	maxRequestBytes = 3 << 20

	// CompactionInterval is how long old revisions stay readable for watches and continued lists.
	CompactionInterval = 5 * time.Minute
	// BookmarkInterval is how often a quiet watch is told of the version it is at. It has to be well below CompactionInterval.
	BookmarkInterval = time.Minute

	// memberURL stands for this member in etcd's membership. Nothing listens there while the cluster has one server.
	memberURL = "http://127.0.0.1:2380"
)

// smallSegments lets etcd, which knows of one size for all of a process, take 8 MB of disk in advance for its write-ahead log and not
// 128: a temporary directory may be memory, and have many clusters.
var smallSegments = sync.OnceFunc(func() { wal.SegmentSizeBytes = 4 << 20 })

// Options say where the data is and how careful to be with it.
type Options struct {
	// Dir holds etcd's files; created with mode 0700.
	Dir string
	// Name of this member.
	Name string
	// QuotaBytes is the size of the database at which writes are refused. Default: etcd's, 2 GiB.
	QuotaBytes int64
	// UnsafeNoFsync gives up crash safety for speed, and rest for an early start.
	UnsafeNoFsync bool
	// Failed, which may be nil, is told why etcd cannot go on; when it returns, the process ends with exit code 1. It is
	// called by any goroutine, at any time.
	Failed func(error)
}

// Etcd is a running member. Client is shared by everything in the process; it has no endpoints and never dials.
type Etcd struct {
	Client *kubernetes.Client
	// Transformers say how objects are stored, where that is not plain. They are set before stores are made.
	Transformers value.ResourceTransformers

	server    *etcdserver.EtcdServer
	hub       *hub
	space     *space
	compactor compactor
	stopped   bool
}

// compactor is what etcd3.NewCompactor returns: it forgets old revisions in the background.
type compactor interface {
	etcd3.Compactor
	Stop()
}

// Start opens the storage in opts.Dir, creating it if it is not there, and returns once the member leads and serves.
func Start(ctx context.Context, opts Options) (*Etcd, error) {
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("create storage directory: %w", err)
	}
	logger := newLogger(opts)
	urls := types.MustNewURLs([]string{memberURL})
	_, err := os.Stat(filepath.Join(opts.Dir, "member"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("look for an existing storage: %w", err)
	}
	if err := keepNext(opts.Dir); err != nil {
		return nil, fmt.Errorf("prepare the storage's log: %w", err)
	}
	beat := tick
	if opts.UnsafeNoFsync {
		beat = throwAwayTick
		smallSegments()
	}
	server, err := etcdserver.NewServer(etcdconfig.ServerConfig{
		Name:                        opts.Name,
		ClientURLs:                  urls,
		PeerURLs:                    urls,
		InitialPeerURLsMap:          types.URLsMap{opts.Name: urls},
		InitialClusterToken:         "hivemind",
		NewCluster:                  err != nil,
		DataDir:                     opts.Dir,
		SnapshotCount:               snapshotCount,
		SnapshotCatchUpEntries:      catchUpEntries,
		MaxSnapFiles:                2,
		MaxWALFiles:                 2,
		BackendFreelistType:         bolt.FreelistMapType,
		TickMs:                      uint(beat.Milliseconds()),
		ElectionTicks:               electionTicks,
		InitialElectionTickAdvance:  true,
		BootstrapTimeout:            10 * time.Second,
		AutoCompactionMode:          "periodic",
		CompactionBatchLimit:        1000,
		CompactionSleepInterval:     10 * time.Millisecond,
		QuotaBackendBytes:           opts.QuotaBytes,
		MaxTxnOps:                   128,
		MaxRequestBytes:             maxRequestBytes,
		WarningApplyDuration:        500 * time.Millisecond,
		WarningUnaryRequestDuration: time.Second,
		WatchProgressNotifyInterval: BookmarkInterval,
		DowngradeCheckTime:          time.Hour,
		StrictReconfigCheck:         true,
		BcryptCost:                  10, // of passwords that nobody has; etcd complains of none
		PreVote:                     true,
		UnsafeNoFsync:               opts.UnsafeNoFsync,
		MaxLearners:                 1,
		V2Deprecation:               etcdconfig.V2DeprDefault,
		ServerFeatureGate:           features.NewDefaultServerFeatureGate(opts.Name, logger),
		Logger:                      logger,
		Metrics:                     "basic",
	})
	if err != nil {
		return nil, fmt.Errorf("open the storage in %s: %w", opts.Dir, err)
	}
	declareSupport()
	server.Start()
	select {
	case <-server.ReadyNotify():
	case <-server.StopNotify():
		return nil, fmt.Errorf("open the storage in %s: etcd stopped while it started; its log lines above tell why", opts.Dir)
	case <-ctx.Done():
		server.HardStop()
		return nil, fmt.Errorf("open the storage in %s: %w", opts.Dir, context.Cause(ctx))
	}
	client := v3client.New(server)
	client.Watcher = newWatcher(server, client)
	e := &Etcd{server: server, hub: newHub(server.Watchable()), space: newSpace(server, opts), Client: &kubernetes.Client{Client: client}}
	e.space.guard(client, e.hub)
	e.Client.Kubernetes = e.Client
	e.compactor = etcd3.NewCompactor(e.Client.Client, CompactionInterval, clock.RealClock{}, nil)
	return e, nil
}

// Done is closed when etcd has stopped, by Stop or because it could not go on.
func (e *Etcd) Done() <-chan struct{} { return e.server.StopNotify() }

// Err is not nil while writes are refused, and says why: the storage is full or has lost its leader.
func (e *Etcd) Err(ctx context.Context) error {
	if len(e.server.Alarms()) > 0 {
		return fmt.Errorf("storage alarm: %v", e.server.Alarms())
	}
	if err := e.space.err(); err != nil {
		return err
	}
	return e.Answers(ctx)
}

// Answers is nil where the storage can be read, which it can also be when it is full.
func (e *Etcd) Answers(ctx context.Context) error {
	_, err := e.Client.KV.Get(ctx, "health", clientv3.WithCountOnly())
	return err
}

// SizeInUse is what the objects occupy, in bytes.
func (e *Etcd) SizeInUse() int64 { return e.server.Backend().SizeInUse() }

// Size is what the database occupies on disk, in bytes.
func (e *Etcd) Size() int64 { return e.server.Backend().Size() }

// compactRevKey is where compactors of the API machinery tell each other how far they are. One that finds it changed waits for another turn.
const compactRevKey = "compact_rev_key"

// Forget removes from the storage's file what objects were before: older versions, and the space that they took. Writes wait meanwhile, a second for
// some hundred MB. Watches and continued lists that are at an older version are told to begin anew (410 Expired). The write-ahead log
// still has the latest writes.
func (e *Etcd) Forget(ctx context.Context) error {
	now, err := e.Client.KV.Get(ctx, compactRevKey, clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	revision := now.Header.Revision
	if _, err := e.Client.KV.Put(ctx, compactRevKey, strconv.FormatInt(revision, 10)); err != nil {
		return err
	}
	if _, err := e.Client.KV.Compact(ctx, revision, clientv3.WithCompactPhysical()); err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("compact the storage: %w", err)
	}
	if err := e.server.Backend().Defrag(); err != nil {
		return fmt.Errorf("write the storage's file anew: %w", err)
	}
	return nil
}

// Stop flushes and closes the storage. All users of Client must have stopped. It may be called again.
func (e *Etcd) Stop() {
	if e.stopped {
		return
	}
	e.stopped = true
	e.compactor.Stop()
	e.space.close()
	e.hub.close()
	_ = e.Client.Close() // in process: it only ends the context that its calls share
	e.server.Stop()
}
