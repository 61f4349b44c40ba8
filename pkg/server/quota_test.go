// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

func amounts(pairs ...string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		list[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return list
}

// limit creates a quota and waits until it limits.
func (c *cluster) limit(t *testing.T, namespace string, spec corev1.ResourceQuotaSpec) {
	t.Helper()
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "quota"}, Spec: spec}
	if _, err := c.CoreV1().ResourceQuotas(namespace).Create(t.Context(), q, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the quota to be counted", func() (bool, error) {
		got, err := c.CoreV1().ResourceQuotas(namespace).Get(t.Context(), "quota", metav1.GetOptions{})
		return err == nil && len(got.Status.Hard) == len(spec.Hard) && len(got.Status.Used) > 0, err
	})
}

func (c *cluster) uses(t *testing.T, namespace string, want ...string) {
	t.Helper()
	eventually(t, fmt.Sprint("usage ", want), func() (bool, error) {
		got, err := c.CoreV1().ResourceQuotas(namespace).Get(t.Context(), "quota", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for name, value := range amounts(want...) {
			if used := got.Status.Used[name]; used.Cmp(value) != 0 {
				return false, fmt.Errorf("used: %v", got.Status.Used)
			}
		}
		return true, nil
	})
}

func (c *cluster) namespace(t *testing.T, name string) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := c.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the default ServiceAccount", func() (bool, error) {
		_, err := c.CoreV1().ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil, err
	})
}

// gated is a pod that is not to be scheduled.
func gated(name string, requests, limits corev1.ResourceList) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
		SchedulingGates: []corev1.PodSchedulingGate{{Name: "example.com/none"}},
		Containers:      []corev1.Container{{Name: "main", Image: "main", Resources: corev1.ResourceRequirements{Requests: requests, Limits: limits}}},
	}}
}

func TestQuota(t *testing.T) {
	c := newCluster(t)
	c.namespace(t, "limited")
	c.limit(t, "limited", corev1.ResourceQuotaSpec{Hard: amounts("pods", "2", "requests.cpu", "1", "services.nodeports", "1", "count/configmaps", "3", "configmaps", "3")})
	pods := c.CoreV1().Pods("limited")
	if _, err := pods.Create(t.Context(), gated("unsaid", nil, nil), metav1.CreateOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "failed quota: quota: must specify requests.cpu for: main") {
		t.Errorf("without a request: %v", err)
	}
	if _, err := pods.Create(t.Context(), gated("a", amounts("cpu", "600m"), nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.uses(t, "limited", "pods", "1", "requests.cpu", "600m", "count/configmaps", "1") // kube-root-ca.crt
	_, err := pods.Create(t.Context(), gated("b", amounts("cpu", "500m"), nil), metav1.CreateOptions{})
	if want := `pods "b" is forbidden: exceeded quota: quota, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1`; !apierrors.IsForbidden(err) || err.Error() != want {
		t.Errorf("beyond the quota:\n%v, want\n%s", err, want)
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Name: "a", Port: 80}, {Name: "b", Port: 81}}}}
	if _, err := c.CoreV1().Services("limited").Create(t.Context(), service, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("two node ports where one is allowed: %v", err)
	}
	pod, err := pods.Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod.Status.Phase = corev1.PodSucceeded
	if _, err := pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.uses(t, "limited", "pods", "0", "requests.cpu", "0")
	if err := c.CoreV1().ConfigMaps("limited").DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	c.uses(t, "limited", "count/configmaps", "1", "configmaps", "1") // it comes again
}

func TestQuotaOfScopeAndOfCustomResources(t *testing.T) {
	c := newCluster(t)
	gvr := schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "things"}
	definition := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "things.example.com"}, Spec: apiextensionsv1.CustomResourceDefinitionSpec{
		Group: gvr.Group, Scope: apiextensionsv1.NamespaceScoped, Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "things", Kind: "Thing"},
		Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true,
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}}}},
	}}
	if _, err := apiextensions.NewForConfigOrDie(c.config).ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), definition, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	things := dynamic.NewForConfigOrDie(c.config).Resource(gvr).Namespace("limited")
	thing := func(name string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Thing", "metadata": map[string]any{"name": name}}}
	}
	c.namespace(t, "limited")
	eventually(t, "things to be served", func() (bool, error) {
		_, err := things.Create(t.Context(), thing("one"), metav1.CreateOptions{})
		return err == nil, err
	})
	c.limit(t, "limited", corev1.ResourceQuotaSpec{Hard: amounts("count/things.example.com", "1")})
	c.uses(t, "limited", "count/things.example.com", "1")
	if _, err := things.Create(t.Context(), thing("two"), metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a second of one: %v", err)
	}
	if err := things.Delete(t.Context(), "one", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.uses(t, "limited", "count/things.example.com", "0")

	c.namespace(t, "scoped")
	c.limit(t, "scoped", corev1.ResourceQuotaSpec{Hard: amounts("pods", "5"), Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}})
	for _, pod := range []*corev1.Pod{gated("best", nil, nil), gated("better", amounts("cpu", "1"), nil)} {
		if _, err := c.CoreV1().Pods("scoped").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	c.uses(t, "scoped", "pods", "1")
}

func TestLimitRange(t *testing.T) {
	c := newCluster(t)
	c.namespace(t, "ranged")
	limits := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "limits"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{
		{Type: corev1.LimitTypeContainer, Max: amounts("cpu", "2"), Min: amounts("cpu", "50m"), Default: amounts("cpu", "500m"), DefaultRequest: amounts("cpu", "100m"),
			MaxLimitRequestRatio: amounts("cpu", "10")},
		{Type: corev1.LimitTypePersistentVolumeClaim, Max: amounts("storage", "1Gi")},
	}}}
	if _, err := c.CoreV1().LimitRanges("ranged").Create(t.Context(), limits, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// At once: a cache that lags behind must not let it pass.
	pod, err := c.CoreV1().Pods("ranged").Create(t.Context(), gated("plain", nil, nil), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := pod.Spec.Containers[0].Resources
	if r.Requests.Cpu().String() != "100m" || r.Limits.Cpu().String() != "500m" || pod.Annotations["kubernetes.io/limit-ranger"] != "LimitRanger plugin set: cpu request for container main; cpu limit for container main" {
		t.Errorf("defaults: %v, %v", r, pod.Annotations)
	}
	for _, test := range []struct {
		pod  *corev1.Pod
		want string
	}{
		{gated("big", nil, amounts("cpu", "3")), "maximum cpu usage per Container is 2, but limit is 3"},
		{gated("small", amounts("cpu", "10m"), amounts("cpu", "60m")), "minimum cpu usage per Container is 50m, but request is 10m"},
		{gated("wide", amounts("cpu", "100m"), amounts("cpu", "2")), "cpu max limit to request ratio per Container is 10, but provided ratio is 20.000000"},
	} {
		_, err := c.CoreV1().Pods("ranged").Create(t.Context(), test.pod, metav1.CreateOptions{})
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.pod.Name, err)
		}
	}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, Resources: corev1.VolumeResourceRequirements{Requests: amounts("storage", "2Gi")}}}
	if _, err := c.CoreV1().PersistentVolumeClaims("ranged").Create(t.Context(), claim, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a claim of too much: %v", err)
	}
}
