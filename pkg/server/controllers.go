// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"

	"github.com/hivemind-project/hivemind/pkg/scheduler"
)

// startControllers runs every controller of the list. They come up together: each reads its world from the shared informers,
// and none needs another.
func (s *Server) startControllers(ctx context.Context) error {
	return s.syncInformers(ctx)
}

// startScheduler runs the scheduler beside them.
func (s *Server) startScheduler(ctx context.Context) error {
	client, err := s.client("system:kube-scheduler")
	if err != nil {
		return err
	}
	sched := scheduler.New(client, s.informers, scheduler.Options{})
	if err := s.syncInformers(ctx); err != nil {
		return err
	}
	s.work.start(s.life, "scheduler", sched.Run)
	return nil
}

// stopBackground ends controllers and scheduler.
func (s *Server) stopBackground(ctx context.Context) error {
	s.end()
	return s.work.wait(ctx)
}
