// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"path/filepath"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// A webhook that refuses everything, since nobody answers for it, does not keep a cluster from starting again, not even one that lacks what the server
// would make. Once the administrator has removed it, that is made.
func TestStartBesideClosedWebhook(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hivemind")
	c := startCluster(t, dir)
	_, err := c.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "closed"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "closed.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone),
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: ptr.To("https://127.0.0.1:1/")},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the webhook to refuse", func() (bool, error) {
		_, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), newConfigMap("c"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return apierrors.IsInternalError(err), err
	})
	const role = "system:kube-dns"
	err = errors.Join(
		c.RbacV1().ClusterRoles().Delete(t.Context(), role, metav1.DeleteOptions{}),
		c.CoreV1().Services("default").Delete(t.Context(), kubernetesService, metav1.DeleteOptions{}),
		c.CoreV1().ConfigMaps("kube-system").Delete(t.Context(), authenticationName, metav1.DeleteOptions{}),
	)
	if err != nil {
		t.Fatal(err)
	}
	c.stop()

	c = startCluster(t, dir)
	if _, err := c.RbacV1().ClusterRoles().Get(t.Context(), role, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the role beside the webhook: %v", err)
	}
	if err := c.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(t.Context(), "closed", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what was missing", func() (bool, error) {
		_, errRole := c.RbacV1().ClusterRoles().Get(t.Context(), role, metav1.GetOptions{})
		_, errService := c.CoreV1().Services("default").Get(t.Context(), kubernetesService, metav1.GetOptions{})
		_, errMap := c.CoreV1().ConfigMaps("kube-system").Get(t.Context(), authenticationName, metav1.GetOptions{})
		err := errors.Join(errRole, errService, errMap)
		return err == nil, err
	})
}

// The services by which pods find the API server and DNS come back when somebody empties their namespaces.
func TestServicesAreKept(t *testing.T) {
	c := newCluster(t)
	for _, kept := range []struct{ namespace, name string }{{"default", kubernetesService}, {"kube-system", dnsService}} {
		services := c.CoreV1().Services(kept.namespace)
		old, err := services.Get(t.Context(), kept.name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := services.Delete(t.Context(), kept.name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the service "+kept.name, func() (bool, error) {
			now, err := services.Get(t.Context(), kept.name, metav1.GetOptions{})
			return err == nil && now.UID != old.UID && now.Spec.ClusterIP == old.Spec.ClusterIP, err
		})
	}
}
