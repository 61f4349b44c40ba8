// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package hostile

import (
	"context"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/test/cluster"
)

// A webhook without a backend that fails closed on everything, nodes and leases included, is there when the cluster is killed. It must serve its API when
// it is started again, although no node can be Ready, so that the webhook can be deleted; what was missing is then made.
func TestClosedWebhook(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() // connections that nobody has accepted go with it
	for name, address := range map[string]string{"refuses connections": "127.0.0.1:1", "hangs": silent.Addr().String()} {
		t.Run(name, func(t *testing.T) { startBesideClosed(t, address) })
	}
}

func startBesideClosed(t *testing.T, address string) {
	c, err := cluster.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out, err := c.Verb(context.Background(), "reset", "--yes"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	up := []string{"--runtime", "simulated", "--merge-kubeconfig=false"}
	if out, err := c.Up(t.Context(), up...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.Config.AdminKubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	const role = "system:kube-dns" // which a start makes where it is missing
	if err := client.RbacV1().ClusterRoles().Delete(t.Context(), role, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	configurations := client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	_, err = configurations.Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "closed"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "closed.hostile.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone),
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: ptr.To("https://" + address)}, TimeoutSeconds: ptr.To(int32(2)),
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.OperationAll},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "the webhook refuses", func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().ConfigMaps("default").Create(ctx, hooked(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return apierrors.IsInternalError(err), nil
	})
	if err := syscall.Kill(daemon(t, c), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	soon(t, "it has ended", func(ctx context.Context) (bool, error) {
		out, _ := c.Verb(ctx, "status") // which fails, as it says
		return strings.Contains(out, "does not run"), nil
	})

	out, err := c.Up(t.Context(), append(up, "--timeout", "8s")...)
	if err == nil || !strings.Contains(out+err.Error(), "the API is served, but the node is not ready yet") {
		t.Fatalf("a start that cannot be complete: %v\n%s", err, out)
	}
	if err := configurations.Delete(t.Context(), "closed", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if out, err := c.Up(t.Context(), up...); err != nil {
		t.Fatalf("once the webhook is gone: %v\n%s", err, out)
	}
	soon(t, "the role is there again", func(ctx context.Context) (bool, error) {
		_, err := client.RbacV1().ClusterRoles().Get(ctx, role, metav1.GetOptions{})
		return err == nil, nil
	})
}

// soon waits until done says so.
func soon(t *testing.T, what string, done func(context.Context) (bool, error)) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 30*time.Second, true, done); err != nil {
		t.Fatalf("wait until %s: %v", what, err)
	}
}
