// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
	"google.golang.org/grpc"
)

// newWatcher returns the watches of a server in this process.
//
// All watches of a client share one stream. Over gRPC its buffers let both ends send at the same time; in this process the stream is a channel, and when many
// watches end at once the client, who sends cancellations and does not receive meanwhile, and the server, who cannot take them before its answers are
// received, wait for each other for ever, and with them every informer. Requests that wait in a queue, at most two a watch, part them.
func newWatcher(server *etcdserver.EtcdServer, c *clientv3.Client) clientv3.Watcher {
	return plainContext{clientv3.NewWatchFromWatchClient(queueing{adapter.WatchServerToWatchClient(v3rpc.NewWatchServer(server))}, c)}
}

// plainContext keeps the client from printing the values in contexts, which others may be writing.
type plainContext struct{ clientv3.Watcher }

func (p plainContext) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	return p.Watcher.Watch(unprinted{ctx}, key, opts...)
}

type unprinted struct{ context.Context }

func (unprinted) String() string { return "context" }

// queueing makes streams whose Send does not block.
type queueing struct{ pb.WatchClient }

func (q queueing) Watch(ctx context.Context, opts ...grpc.CallOption) (pb.Watch_WatchClient, error) {
	inner, err := q.WatchClient.Watch(ctx, opts...)
	if err != nil {
		return nil, err
	}
	s := &queuedStream{Watch_WatchClient: inner, wake: make(chan struct{}, 1)}
	go s.forward()
	return s, nil
}

type queuedStream struct {
	pb.Watch_WatchClient
	wake chan struct{} // holds a value when requests wait

	mu      sync.Mutex
	waiting []*pb.WatchRequest
}

// Send queues a request.
func (s *queuedStream) Send(r *pb.WatchRequest) error {
	s.mu.Lock()
	s.waiting = append(s.waiting, r)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default: // it is awake
	}
	return s.Context().Err()
}

// forward sends what is queued, in order, until the stream ends.
func (s *queuedStream) forward() {
	for {
		select {
		case <-s.wake:
		case <-s.Context().Done():
			return
		}
		s.mu.Lock()
		requests := s.waiting
		s.waiting = nil
		s.mu.Unlock()
		for _, r := range requests {
			if s.Watch_WatchClient.Send(r) != nil {
				return // the stream has ended, which who receives is told as well
			}
		}
	}
}
