// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/record"

	"github.com/hivemind-project/hivemind/controllers"
	"github.com/hivemind-project/hivemind/controllers/certificates"
	"github.com/hivemind-project/hivemind/controllers/servicecidr"
	"github.com/hivemind-project/hivemind/pkg/scheduler"
)

// Parts of the control plane, as Kubernetes calls them.
const (
	controllerManager = "controller-manager"
	schedulerPart     = "scheduler"
	storagePart       = "etcd-0"
)

// startControllers runs every controller of the list. They come up together: each reads its world from the shared informers,
// and none needs another.
func (s *Server) startControllers(ctx context.Context) error {
	recorder, err := s.client(user.KubeControllerManager)
	if err != nil {
		return err
	}
	deps := controllers.Deps{
		Client: func(name string) (kubernetes.Interface, error) {
			if name == "" {
				return s.client(user.KubeControllerManager)
			}
			return kubernetes.NewForConfig(s.loopback.Config(controllerUser(name)))
		},
		Metadata: func(name string) (metadata.Interface, error) {
			client, err := metadata.NewForConfig(s.loopback.JSONConfig(controllerUser(name)))
			return storedMetadata{client, s.api.Defines, s.etcd.RESTOptionsGetter(metadataCodec{})}, err
		},
		Informers: s.informers, Events: controllers.NewEvents(s.life, recorder), RootCA: s.identities.CA.CertPEM, Config: s.config,
		Authority:  certificates.Authority{Cert: s.identities.CA.Cert, Key: s.identities.CA.Key},
		IssueToken: s.tokens.IssueForSecret,
	}
	type runner struct {
		name string
		run  func(context.Context)
	}
	var runners []runner
	for _, entry := range controllers.All() {
		run, startErr := entry.Start(ctx, deps)
		if startErr != nil {
			err = fmt.Errorf("controller %s: %w", entry.Name, startErr)
			break
		}
		runners = append(runners, runner{entry.Name, run})
	}
	repair, errRepair := s.addressRepair(deps.Events)
	if errRepair == nil {
		runners = append(runners, runner{"repair of service addresses", func(ctx context.Context) { repair.Run(ctx, 1) }})
	}
	if err = errors.Join(err, errRepair); err == nil {
		err = s.syncInformers(ctx)
	}
	if err != nil {
		s.end()
	}
	// Those that have been made run in any case: it is by running that they end.
	for _, r := range runners {
		s.work.start(s.life, controllerManager, r.name, func(ctx context.Context) error { r.run(ctx); return nil })
	}
	return err
}

// addressRepair is the one controller that acts as the API server, which allocates what it repairs.
func (s *Server) addressRepair(events record.EventBroadcaster) (*servicecidr.Repair, error) {
	client, err := s.client(user.APIServerUser, user.SystemPrivilegedGroup)
	if err != nil {
		return nil, err
	}
	recorder := events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "ipallocator-repair-controller"})
	return servicecidr.NewRepair(client, s.informers.Core().V1().Services(), s.informers.Networking().V1(), s.services.String(), recorder)
}

// controllerUser is a ServiceAccount of kube-system, which is what the default roles bind controllers by.
func controllerUser(name string) user.Info {
	return &user.DefaultInfo{
		Name:   "system:serviceaccount:kube-system:" + name,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", user.AllAuthenticated},
	}
}

// startScheduler runs the scheduler beside them.
func (s *Server) startScheduler(ctx context.Context) error {
	client, err := s.client(user.KubeScheduler)
	if err != nil {
		return err
	}
	sched := scheduler.New(client, s.informers, scheduler.Options{Budgets: s.informers.Policy().V1().PodDisruptionBudgets()})
	if err = s.syncInformers(ctx); err != nil {
		s.end()
	}
	s.work.start(s.life, schedulerPart, "scheduler", sched.Run)
	return err
}

// stopBackground ends controllers and scheduler.
func (s *Server) stopBackground(ctx context.Context) error {
	s.end()
	return s.work.wait(ctx)
}
