// SPDX-License-Identifier: Apache-2.0

package server

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// warnings keeps what a client is warned of.
type warnings struct{ texts []string }

func (w *warnings) HandleWarningHeader(_ int, _ string, text string) { w.texts = append(w.texts, text) }

// warned returns a client for c that keeps its warnings.
func (c *cluster) warned() (*kubernetes.Clientset, *warnings) {
	w := &warnings{}
	config := rest.CopyConfig(c.config)
	config.WarningHandler = w
	return kubernetes.NewForConfigOrDie(config), w
}

func TestWarningsReachClients(t *testing.T) {
	c := newCluster(t)
	client, warned := c.warned()
	said := func(what string, err error, want ...string) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if !slices.Equal(warned.texts, want) {
			t.Errorf("%s: warned of %q, want %q", what, warned.texts, want)
		}
		warned.texts = nil
	}
	const none = "a null labelSelector results in matching no pod"
	d := newDeployment("a.b", 0)
	d.Spec.Template.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: "k", WhenUnsatisfiable: corev1.DoNotSchedule}}
	deployments := client.AppsV1().Deployments("default")
	made, err := deployments.Create(t.Context(), d, metav1.CreateOptions{})
	said("create a deployment", err,
		"metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
		"spec.template.spec.topologySpreadConstraints[0].labelSelector: "+none)
	patch := func(patch string, sub ...string) error {
		_, err := deployments.Patch(t.Context(), made.Name, "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}, sub...)
		return err
	}
	said("label it", patch(`{"metadata": {"labels": {"a": "b"}}}`))
	said("change its spec", patch(`{"spec": {"minReadySeconds": 1}}`), "spec.template.spec.topologySpreadConstraints[0].labelSelector: "+none)
	said("change its status", patch(`{"status": {"replicas": 0}}`, "status"))
	_, err = client.CoreV1().Services("default").Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}, ExternalName: "x"}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	said("create a service", err, `spec.externalName is ignored when spec.type is not "ExternalName"`)
}
