// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
	etcdstorage "go.etcd.io/etcd/server/v3/storage"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"k8s.io/klog/v2"
)

const (
	// spare is what the database may grow by without asking the disk for room: deletions, and what expires by itself.
	spare = 16 << 20
	// small is what etcd writes beside log and database: a snapshot of its membership every snapshotCount requests.
	small = 1 << 20
	// reclaimInterval is how often a storage that has reached its quota looks whether there is room again.
	reclaimInterval = 5 * time.Second
)

// space refuses what needs room while there is none, and makes room where it can.
//
// The disk: etcd ends the process when it cannot write. So writes are refused before, as long as less is free than it takes in advance for the next file of its log
// and for the database to grow, and what ends objects while neither that is free nor log and database have room of their own (setaside.go). Reads do go on, and all
// else once space is free. It costs a statfs(2) a write, one microsecond. What is not held back is leases that expire, for which the database's file has
// blocks in advance.
//
// The quota: etcd raises an alarm when the database's file has reached it, and refuses writes until somebody has compacted and defragmented it and taken the alarm
// back. That is done here, at once and again every reclaimInterval as long as it does not help, which is until enough objects are deleted. No history is kept
// meanwhile: watches that are behind and continued lists are told that their version has expired.
type space struct {
	server *etcdserver.EtcdServer
	dir    string
	need   uint64 // bytes that have to be free on the disk for a write
	last   uint64 // and for a deletion, unless it finds room that was set aside
	quota  int64
	spare  int64 // by which the database's file is backed beyond its size

	low    atomic.Bool  // the disk is too full; only for the log
	backed atomic.Int64 // to which size the database's file has blocks on the disk

	mu     sync.Mutex
	full   atomic.Bool // the quota is reached; set with mu held
	closed bool
	work   sync.WaitGroup
	life   context.Context
	end    context.CancelFunc
}

// newSpace watches over the room of a server that has started.
func newSpace(server *etcdserver.EtcdServer, opts Options) *space {
	s := &space{server: server, dir: opts.Dir, need: uint64(wal.SegmentSizeBytes) + spare, last: uint64(wal.SegmentSizeBytes) + small, quota: opts.QuotaBytes, spare: spare}
	if s.quota == 0 {
		s.quota = etcdstorage.DefaultQuotaBytes
	}
	if opts.UnsafeNoFsync { // its directory may be memory
		s.spare = 0
	}
	s.life, s.end = context.WithCancel(context.Background())
	if len(server.Alarms()) > 0 {
		s.reachedQuota()
	}
	return s
}

// close ends what is going on.
func (s *space) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.work.Wait()
}

// guard puts the clients of a server behind the space. h tells its watches.
func (s *space) guard(c *clientv3.Client, h *hub) {
	c.KV = clientv3.NewKVFromKVClient(guardedKV{ownReads{adapter.KvServerToKvClient(v3rpc.NewQuotaKVServer(s.server)), s.server, h}, s}, c)
	c.Lease = clientv3.NewLeaseFromLeaseClient(guardedLeases{adapter.LeaseServerToLeaseClient(v3rpc.NewQuotaLeaseServer(s.server)), s}, c, time.Second)
}

// err says why there is no room for a write.
func (s *space) err() error {
	if s.full.Load() {
		return rpctypes.ErrGRPCNoSpace
	}
	if err := s.onDisk(s.need); err != nil {
		return err
	}
	s.back()
	return nil
}

// onDisk says that less than need is free on the disk.
func (s *space) onDisk(need uint64) error {
	free, err := s.free()
	if err != nil || free >= need {
		return err
	}
	return s.tooLittle(free, need)
}

// ending says that there is no room for what ends an object: its deletion, or a write to it while it is being deleted.
func (s *space) ending() error {
	free, err := s.free()
	if err != nil || free >= s.last || free >= small && setAside(s.dir, s.server.Backend().Size()) {
		return err
	}
	return s.tooLittle(free, s.last)
}

// errDiskFull begins what is said where the disk has too little room.
var errDiskFull = errors.New("etcdserver: no space left on device")

func (s *space) tooLittle(free, need uint64) error {
	return fmt.Errorf("%w: %d MiB are free in %s, %d MiB have to be; free space there, and writes go on", errDiskFull, free>>20, s.dir, need>>20)
}

// free is how many bytes are, and logs where writes begin or end to be refused.
func (s *space) free() (uint64, error) {
	free, err := freeBytes(s.dir)
	if err != nil {
		return 0, err
	}
	if low := free < s.need; s.low.Swap(low) != low {
		if low {
			klog.ErrorS(nil, "The disk is full; writes are refused until space is free", "dir", s.dir, "freeBytes", free, "neededBytes", s.need)
		} else {
			klog.InfoS("The disk has space again; writes go on", "dir", s.dir, "freeBytes", free)
		}
	}
	return free, nil
}

func freeBytes(dir string) (uint64, error) {
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return 0, fmt.Errorf("etcdserver: look for free space in %s: %w", dir, err)
	}
	return disk.Bavail * uint64(disk.Bsize), nil
}

// back takes blocks on the disk for the database's file as it is and a bit beyond. The database makes its file longer without taking any.
func (s *space) back() {
	size, was := s.server.Backend().Size(), s.backed.Load()
	if s.spare == 0 || size+s.spare/2 < was || !s.backed.CompareAndSwap(was, size+s.spare) {
		return
	}
	f, err := os.OpenFile(filepath.Join(s.dir, "member", "snap", "db"), os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size+s.spare), f.Close())
	}
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		klog.ErrorS(err, "No space was set aside for the database", "dir", s.dir)
	}
}

// do makes a request that needs room.
func (s *space) do(ctx context.Context, f func() error) error {
	if err := s.err(); err != nil && (!errors.Is(err, errDiskFull) || !ends(ctx) || s.ending() != nil) {
		return err
	}
	err := f()
	if errors.Is(err, rpctypes.ErrGRPCNoSpace) {
		s.reachedQuota()
	}
	return err
}

// reachedQuota starts to make room, unless that is going on.
func (s *space) reachedQuota() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.full.Swap(true) {
		return
	}
	klog.ErrorS(nil, "The storage has reached its quota; writes are refused until there is room", "quotaBytes", s.quota, "inUseBytes", s.server.Backend().SizeInUse())
	s.work.Go(s.makeRoom)
}

// makeRoom returns when writes go on, or the storage stops.
func (s *space) makeRoom() {
	for {
		done, err := s.reclaim()
		if err != nil && s.life.Err() == nil {
			klog.ErrorS(err, "No room was made in the storage", "retryIn", reclaimInterval)
		}
		if done {
			s.mu.Lock()
			s.full.Store(false)
			s.mu.Unlock()
			klog.InfoS("The storage has room again; writes go on", "quotaBytes", s.quota, "sizeBytes", s.server.Backend().Size())
			return
		}
		select {
		case <-s.life.Done():
			return
		case <-time.After(reclaimInterval):
		}
	}
}

// reclaim forgets all old revisions, gives what that frees back to the disk, and takes the alarm back if a tenth of the quota is free then.
func (s *space) reclaim() (done bool, err error) {
	_, err = s.server.Compact(s.life, &pb.CompactionRequest{Revision: s.server.KV().Rev(), Physical: true})
	if err != nil && !errors.Is(err, mvcc.ErrCompacted) {
		return false, fmt.Errorf("compact: %w", err)
	}
	db, enough := s.server.Backend(), s.quota/10*9
	db.ForceCommit() // so that what is in use is counted
	if db.SizeInUse() > enough {
		return false, nil // objects have to be deleted
	}
	if db.Size() > enough {
		if err := s.onDisk(s.need + uint64(db.SizeInUse())); err != nil { // which a copy without gaps takes
			return false, err
		}
		if err := db.Defrag(); err != nil {
			return false, fmt.Errorf("defragment: %w", err)
		}
		s.backed.Store(0) // it is another file
		if db.Size() > enough {
			return false, nil
		}
	}
	_, err = s.server.Alarm(s.life, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: uint64(s.server.MemberID()), Alarm: pb.AlarmType_NOSPACE})
	return err == nil, err
}

// guardedKV refuses what needs room while there is none.
type guardedKV struct {
	pb.KVClient
	space *space
}

func (g guardedKV) Put(ctx context.Context, r *pb.PutRequest, opts ...grpc.CallOption) (out *pb.PutResponse, err error) {
	err = g.space.do(ctx, func() error {
		out, err = g.KVClient.Put(ctx, r, opts...)
		return err
	})
	return out, err
}

func (g guardedKV) Txn(ctx context.Context, r *pb.TxnRequest, opts ...grpc.CallOption) (out *pb.TxnResponse, err error) {
	if !puts(r.Success) && !puts(r.Failure) {
		if err := g.space.ending(); err != nil {
			return nil, err
		}
		return g.KVClient.Txn(ctx, r, opts...)
	}
	err = g.space.do(ctx, func() error {
		out, err = g.KVClient.Txn(ctx, r, opts...)
		return err
	})
	return out, err
}

func (g guardedKV) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest, opts ...grpc.CallOption) (*pb.DeleteRangeResponse, error) {
	if err := g.space.ending(); err != nil {
		return nil, err
	}
	return g.KVClient.DeleteRange(ctx, r, opts...)
}

func puts(ops []*pb.RequestOp) bool {
	for _, op := range ops {
		if op.GetRequestPut() != nil {
			return true
		}
		if t := op.GetRequestTxn(); t != nil && (puts(t.Success) || puts(t.Failure)) {
			return true
		}
	}
	return false
}

// guardedLeases refuses new leases while there is no room for what is to expire with them.
type guardedLeases struct {
	pb.LeaseClient
	space *space
}

func (g guardedLeases) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest, opts ...grpc.CallOption) (out *pb.LeaseGrantResponse, err error) {
	err = g.space.do(ctx, func() error {
		out, err = g.LeaseClient.LeaseGrant(ctx, r, opts...)
		return err
	})
	return out, err
}
