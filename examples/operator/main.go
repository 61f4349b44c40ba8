// SPDX-License-Identifier: Apache-2.0

// Command operator runs websites. It is the example of an operator that is tested with pkg/testenv: see controller/website_test.go.
package main

import (
	"context"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	websitev1 "github.com/hivemind-project/hivemind/examples/operator/api/v1"
	"github.com/hivemind-project/hivemind/examples/operator/controller"
)

func main() {
	ctrl.SetLogger(zap.New())
	if err := run(ctrl.SetupSignalHandler()); err != nil {
		log.Log.Error(err, "The operator ended")
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	if err := websitev1.AddToScheme(scheme); err != nil {
		return err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	if err := (&controller.Reconciler{Client: mgr.GetClient(), Domains: logged{}}).SetupWithManager(mgr); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// logged says which domains would be registered; put the client of a registrar here.
type logged struct{}

func (logged) Register(ctx context.Context, domain, website string) error {
	log.FromContext(ctx).Info("Register", "domain", domain, "website", website)
	return nil
}

func (logged) Release(ctx context.Context, website string) error {
	log.FromContext(ctx).Info("Release", "website", website)
	return nil
}
