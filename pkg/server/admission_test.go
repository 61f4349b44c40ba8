// SPDX-License-Identifier: Apache-2.0

package server

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

func TestPodSecurity(t *testing.T) {
	c := newCluster(t)
	c.namespace(t, "restricted")
	labels := []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"baseline","pod-security.kubernetes.io/warn":"baseline"}}}`)
	if _, err := c.CoreV1().Namespaces().Patch(t.Context(), "restricted", "application/merge-patch+json", labels, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	bad := gated("bad", nil, nil)
	bad.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)}
	var refusal error
	eventually(t, "the policy to be seen", func() (bool, error) {
		_, refusal = c.CoreV1().Pods("restricted").Create(t.Context(), bad, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return refusal != nil, refusal
	})
	want := `pods "bad" is forbidden: violates PodSecurity "baseline:latest": privileged (container "main" must not set securityContext.privileged=true)`
	if !apierrors.IsForbidden(refusal) || refusal.Error() != want {
		t.Errorf("refused with\n%v, want\n%s", refusal, want)
	}
	if _, err := c.CoreV1().Pods("restricted").Create(t.Context(), gated("good", nil, nil), metav1.CreateOptions{}); err != nil {
		t.Errorf("a pod within the policy: %v", err)
	}
	var heard warnings
	config := rest.CopyConfig(c.config)
	config.WarningHandler = &heard
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}, Spec: bad.Spec}
	template.Spec.SchedulingGates = nil
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](0), Template: template,
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}}
	if _, err := kubernetes.NewForConfigOrDie(config).AppsV1().Deployments("restricted").Create(t.Context(), deployment, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(heard.texts) != 1 || !strings.HasPrefix(heard.texts[0], `would violate PodSecurity "baseline:latest"`) {
		t.Errorf("warned of %q", heard.texts)
	}
}

func TestClassesFillIn(t *testing.T) {
	c := newCluster(t)
	c.namespace(t, "work")
	pods := c.CoreV1().Pods("work")
	named := gated("early", nil, nil)
	named.Spec.RuntimeClassName = ptr.To("micro")
	if _, err := pods.Create(t.Context(), named, metav1.CreateOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `pod rejected: RuntimeClass "micro" not found`) {
		t.Errorf("of a class that is not there: %v", err)
	}
	class := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "micro"}, Handler: "micro", Overhead: &nodev1.Overhead{PodFixed: amounts("cpu", "50m")},
		Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"micro": "yes"}, Tolerations: []corev1.Toleration{{Key: "micro", Operator: corev1.TolerationOpExists}}}}
	if _, err := c.NodeV1().RuntimeClasses().Create(t.Context(), class, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod, err := pods.Create(t.Context(), named, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if pod.Spec.Overhead.Cpu().String() != "50m" || pod.Spec.NodeSelector["micro"] != "yes" || pod.Spec.Tolerations[len(pod.Spec.Tolerations)-1].Key != "micro" {
		t.Errorf("made of it: %+v", pod.Spec)
	}
	claims := gated("claims", nil, nil)
	claims.Spec.Overhead = amounts("cpu", "1")
	if _, err := pods.Create(t.Context(), claims, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("an overhead of its own: %v", err)
	}

	ingressClass := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "front", Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}},
		Spec: networkingv1.IngressClassSpec{Controller: "example.com/front"}}
	if _, err := c.NetworkingV1().IngressClasses().Create(t.Context(), ingressClass, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ingress := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: networkingv1.IngressSpec{DefaultBackend: &networkingv1.IngressBackend{
		Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}}}}
	eventually(t, "the default class", func() (bool, error) {
		got, err := c.NetworkingV1().Ingresses("work").Create(t.Context(), ingress, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && got.Spec.IngressClassName != nil && *got.Spec.IngressClassName == "front", err
	})
}

func TestNewNodesAreTainted(t *testing.T) {
	c := newCluster(t)
	node, err := c.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "new"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(node.Spec.Taints) == 0 || node.Spec.Taints[0].Key != corev1.TaintNodeNotReady {
		t.Errorf("taints %v", node.Spec.Taints)
	}
}
