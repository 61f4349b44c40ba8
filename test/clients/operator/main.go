// SPDX-License-Identifier: Apache-2.0

// Command operator is an operator as people write them with controller-runtime: Websites, in two versions of which one is converted by its
// webhook, become a Deployment, a Service and a ConfigMap, and leave a note behind when they go (a finalizer). Webhooks give Websites their
// defaults, refuse what cannot be, and mark their pods. It knows nothing of Hivemind, and runs outside of a cluster as well as in it.
//
// Where to look: controller.go (what is done), webhooks.go (what is taken), config/ (what is installed in the cluster).
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	v1 "github.com/hivemind-project/hivemind/test/clients/operator/api/v1"
	"github.com/hivemind-project/hivemind/test/clients/operator/api/v1alpha1"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "operator:", err)
		os.Exit(1)
	}
}

func run() error {
	namespace := flag.String("namespace", "default", "where Websites are watched and who leads is decided")
	webhooks := flag.Int("webhook-port", 9443, "port of the webhooks")
	certificates := flag.String("cert-dir", "/certs", "directory with tls.crt and tls.key for the webhooks")
	probes := flag.String("health-probe-bind-address", ":8081", "address of /healthz and /readyz; 0 for none")
	flag.Parse()
	ctrl.SetLogger(klog.Background())

	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, v1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	lease, renew, retry := 8*time.Second, 6*time.Second, time.Second
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         cache.Options{DefaultNamespaces: map[string]cache.Config{*namespace: {}}},
		Metrics:                       metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress:        *probes,
		WebhookServer:                 webhook.NewServer(webhook.Options{Port: *webhooks, CertDir: *certificates}),
		LeaderElection:                true,
		LeaderElectionID:              "website-operator",
		LeaderElectionNamespace:       *namespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &lease, RenewDeadline: &renew, RetryPeriod: &retry,
	})
	if err != nil {
		return err
	}
	if err := manager.AddReadyzCheck("webhooks", manager.GetWebhookServer().StartedChecker()); err != nil {
		return err
	}
	if err := manager.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	if err := addController(manager); err != nil {
		return err
	}
	if err := addWebhooks(manager); err != nil {
		return err
	}
	return manager.Start(ctrl.SetupSignalHandler())
}
