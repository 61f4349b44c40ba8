// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"path/filepath"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
	"google.golang.org/grpc"
	"k8s.io/apiserver/pkg/storage"
)

// late makes a write that a read before it has not seen.
type late struct {
	pb.KVClient
	reads int
	write func()
}

func (l *late) Range(ctx context.Context, r *pb.RangeRequest, opts ...grpc.CallOption) (*pb.RangeResponse, error) {
	answer, err := l.KVClient.Range(ctx, r, opts...)
	if l.reads++; l.reads == 1 {
		l.write()
	}
	return answer, err
}

// A read sees what a watch has told before it began, though etcd tells it a moment before it can be read.
func TestReadsSeeWhatWatchesTold(t *testing.T) {
	e := start(t, filepath.Join(t.TempDir(), "etcd"))
	for _, tt := range []struct {
		name string
		at   int64 // the revision that is asked for, after the one that there is; 0 for the latest
		told int64 // by watches, after the one that there is
		want int64 // likewise
	}{
		{name: "nothing new was told"},
		{name: "a write was told", told: 1, want: 1},
		{name: "a write was told, and its revision is asked for", at: 1, told: 1, want: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			begin, err := e.Client.KV.Put(t.Context(), "/object", "before")
			if err != nil {
				t.Fatal(err)
			}
			now := begin.Header.Revision
			reads := ownReads{hub: &hub{fence: e.hub.fence}, server: e.server, KVClient: &late{
				KVClient: adapter.KvServerToKvClient(v3rpc.NewQuotaKVServer(e.server)),
				write: func() {
					if _, err := e.Client.KV.Put(t.Context(), "/object", "after"); err != nil {
						t.Error(err)
					}
				},
			}}
			reads.hub.told.Store(now + tt.told)
			request := &pb.RangeRequest{Key: []byte("/object")}
			if tt.at > 0 {
				request.Revision = now + tt.at
			}
			answer, err := reads.Range(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			if got := answer.Kvs[0].ModRevision; got != now+tt.want {
				t.Errorf("read the object as of revision %d, want %d", got, now+tt.want)
			}
		})
	}
}

// What a watch tells is what reads wait for.
func TestWatchesSayWhatTheyTold(t *testing.T) {
	s := newWatched(t)
	w := s.watch(storage.ListOptions{Predicate: all})
	s.create("first", "x") // which may be there when the watch begins, and then it is read and not told
	s.expect(w, "ADDED first x")
	s.create("a", "x")
	s.expect(w, "ADDED a x")
	told := s.etcd.hub.told.Load()
	if now, err := s.etcd.Client.KV.Get(t.Context(), "/none"); err != nil || told != now.Header.Revision {
		t.Errorf("the hub has told up to %d, want the revision of the write, %d (%v)", told, now.Header.Revision, err)
	}
}
