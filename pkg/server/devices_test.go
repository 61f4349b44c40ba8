// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// withRights is a client of another user, who has these rights.
func (c *cluster) withRights(t *testing.T, name string, rules ...rbacv1.PolicyRule) *kubernetes.Clientset {
	t.Helper()
	c.grant(t, name, rules...)
	config := rest.CopyConfig(c.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: name}
	return kubernetes.NewForConfigOrDie(config)
}

func onDevices(verbs []string, resources ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{resourcev1.GroupName}, Resources: resources, Verbs: verbs}
}

func gpuClaim(name string, administrator bool) *resourcev1.ResourceClaim {
	request := resourcev1.DeviceRequest{Name: "gpu", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu.example.com"}}
	if administrator {
		request.Exactly.AdminAccess = new(true)
	}
	return &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{request}}}}
}

func TestAdministratorsOfDevices(t *testing.T) {
	c := newCluster(t)
	claims, templates := c.ResourceV1().ResourceClaims("default"), c.ResourceV1().ResourceClaimTemplates("default")
	const forbidden = "spec.devices.requests[0].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"
	if _, err := claims.Create(t.Context(), gpuClaim("admin", true), metav1.CreateOptions{}); err == nil || err.Error() != `ResourceClaim.resource.k8s.io "admin" is invalid: `+forbidden {
		t.Errorf("claim: %v", err)
	}
	template := &resourcev1.ResourceClaimTemplate{ObjectMeta: metav1.ObjectMeta{Name: "admin"}, Spec: resourcev1.ResourceClaimTemplateSpec{Spec: gpuClaim("", true).Spec}}
	if _, err := templates.Create(t.Context(), template, metav1.CreateOptions{}); err == nil || err.Error() != `ResourceClaimTemplate.resource.k8s.io "admin" is invalid: `+forbidden {
		t.Errorf("template: %v", err)
	}
	plain, err := claims.Create(t.Context(), gpuClaim("plain", false), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	plain.Status.Allocation = allocation("gpu.example.com", "n1")
	plain.Status.Allocation.Devices.Results[0].AdminAccess = new(true)
	_, err = claims.UpdateStatus(t.Context(), plain, metav1.UpdateOptions{})
	if want := `ResourceClaim.resource.k8s.io "plain" is invalid: status.allocation.devices.results[0].adminAccess: Forbidden: admin access to devices requires the ` +
		"`resource.kubernetes.io/admin-access: true` label on the containing namespace"; err == nil || err.Error() != want {
		t.Errorf("status: %v", err)
	}

	ns, err := c.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ns.Labels[resourcev1.DRAAdminNamespaceLabelKey] = "true"
	if _, err := c.CoreV1().Namespaces().Update(t.Context(), ns, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := claims.Create(t.Context(), gpuClaim("admin", true), metav1.CreateOptions{}); err != nil {
		t.Errorf("claim in a labelled namespace: %v", err)
	}
	if _, err := templates.Create(t.Context(), template, metav1.CreateOptions{}); err != nil {
		t.Errorf("template in a labelled namespace: %v", err)
	}
	if _, err := claims.UpdateStatus(t.Context(), plain, metav1.UpdateOptions{}); err != nil {
		t.Errorf("status in a labelled namespace: %v", err)
	}
}

func allocation(driver, node string) *resourcev1.AllocationResult {
	return &resourcev1.AllocationResult{
		Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{{Request: "gpu", Driver: driver, Pool: node, Device: "gpu-0"}}},
		NodeSelector: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}}},
	}
}

// TestRightsToClaims has two users write the status of a claim: one may bind, the other may speak for a driver.
func TestRightsToClaims(t *testing.T) {
	c := newCluster(t)
	write := []string{"update", "patch"}
	status := onDevices(write, "resourceclaims/status")
	driver := onDevices([]string{"arbitrary-node:update"}, "resourceclaims/driver")
	driver.ResourceNames = []string{"gpu.example.com"}
	scheduler := c.withRights(t, "binder", status, onDevices(write, "resourceclaims/binding")).ResourceV1().ResourceClaims("default")
	agent := c.withRights(t, "agent", status, driver).ResourceV1().ResourceClaims("default")
	claim, err := c.ResourceV1().ResourceClaims("default").Create(t.Context(), gpuClaim("c", false), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	claim.Status.Allocation = allocation("gpu.example.com", "n1")
	eventually(t, "the role of the agent", func() (bool, error) {
		_, err = agent.UpdateStatus(t.Context(), claim, metav1.UpdateOptions{})
		return apierrors.IsInvalid(err), err
	})
	want := `ResourceClaim.resource.k8s.io "c" is invalid: status.allocation: Forbidden: changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="update" permission: ` +
		`resourceclaims.resource.k8s.io is forbidden: User "agent" cannot update resource "resourceclaims/binding" in API group "resource.k8s.io" at the cluster scope`
	if err.Error() != want {
		t.Errorf("the agent binds: %v\nwant %s", err, want)
	}
	if claim, err = scheduler.UpdateStatus(t.Context(), claim, metav1.UpdateOptions{}); err != nil {
		t.Fatalf("the scheduler binds: %v", err)
	}
	claim.Status.Devices = []resourcev1.AllocatedDeviceStatus{{Driver: "gpu.example.com", Pool: "n1", Device: "gpu-0"}}
	_, err = scheduler.UpdateStatus(t.Context(), claim, metav1.UpdateOptions{})
	want = `ResourceClaim.resource.k8s.io "c" is invalid: status.devices: Forbidden: changing status.devices requires resource="resourceclaims/driver", verb="[arbitrary-node:update]" permission: ` +
		`resourceclaims.resource.k8s.io "gpu.example.com" is forbidden: User "binder" cannot arbitrary-node:update resource "resourceclaims/driver" in API group "resource.k8s.io" in the namespace "default"`
	if err == nil || err.Error() != want {
		t.Errorf("the scheduler reports: %v\nwant %s", err, want)
	}
	if claim, err = agent.UpdateStatus(t.Context(), claim, metav1.UpdateOptions{}); err != nil {
		t.Fatalf("the agent reports: %v", err)
	}
	claim.Status.Allocation = nil
	if claim, err = scheduler.UpdateStatus(t.Context(), claim, metav1.UpdateOptions{}); err != nil || len(claim.Status.Devices) > 0 {
		t.Errorf("deallocated: %v, %v", claim, err)
	}
}

// TestNodesPublishDevices has a node write slices: its own, and another's.
func TestNodesPublishDevices(t *testing.T) {
	c := newCluster(t)
	config := rest.CopyConfig(c.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:node:n1", Groups: []string{"system:nodes", "system:authenticated"}}
	node, admin := kubernetes.NewForConfigOrDie(config).ResourceV1().ResourceSlices(), c.ResourceV1().ResourceSlices()
	slice := func(name, node, driver string) *resourcev1.ResourceSlice {
		return &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: resourcev1.ResourceSliceSpec{NodeName: &node, Driver: driver, Pool: resourcev1.ResourcePool{Name: node, ResourceSliceCount: 1}}}
	}
	if _, err := node.Create(t.Context(), slice("foreign", "n2", "a.io"), metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("create another's: %v", err)
	}
	if _, err := admin.Create(t.Context(), slice("foreign", "n2", "a.io"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two"} {
		if _, err := node.Create(t.Context(), slice(name, "n1", name+".io"), metav1.CreateOptions{}); err != nil {
			t.Fatalf("create one's own: %v", err)
		}
	}
	if _, err := node.Get(t.Context(), "one", metav1.GetOptions{}); err != nil {
		t.Errorf("get one's own: %v", err)
	}
	if err := node.Delete(t.Context(), "foreign", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("delete another's: %v", err)
	}
	if _, err := node.List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("list all: %v", err)
	}
	for selector, want := range map[string]int{"spec.nodeName=n1": 2, "spec.nodeName=n1,spec.driver=one.io": 1, "spec.nodeName=n1,spec.pool.name=other": 0} {
		list, err := node.List(t.Context(), metav1.ListOptions{FieldSelector: selector})
		if err != nil || len(list.Items) != want {
			t.Errorf("list %s: %d, %v", selector, len(list.Items), err)
		}
	}
	if err := node.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: "spec.nodeName=n1"}); err != nil {
		t.Errorf("delete one's own: %v", err)
	}
	if list, err := admin.List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 1 || list.Items[0].Name != "foreign" {
		t.Errorf("left: %v, %v", list.Items, err)
	}
	_, err := admin.List(t.Context(), metav1.ListOptions{FieldSelector: "spec.color=red"})
	if want := "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: spec.color"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestClaimsOfPods follows a claim that is made for a pod, used by it and taken back.
func TestClaimsOfPods(t *testing.T) {
	c := newCluster(t)
	claims, pods := c.ResourceV1().ResourceClaims("default"), c.CoreV1().Pods("default")
	template := &resourcev1.ResourceClaimTemplate{ObjectMeta: metav1.ObjectMeta{Name: "gpus"}, Spec: resourcev1.ResourceClaimTemplateSpec{Spec: gpuClaim("", false).Spec}}
	if _, err := c.ResourceV1().ResourceClaimTemplates("default").Create(t.Context(), template, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	wanted := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{
		Containers:      []corev1.Container{{Name: "c", Image: "i"}},
		SchedulingGates: []corev1.PodSchedulingGate{{Name: "example.com/none"}},
		ResourceClaims:  []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimTemplateName: new("gpus")}},
	}}
	eventually(t, "the default ServiceAccount", func() (bool, error) {
		_, err := pods.Create(t.Context(), wanted, metav1.CreateOptions{})
		return err == nil, err
	})
	var pod *corev1.Pod
	eventually(t, "the claim", func() (_ bool, err error) {
		pod, err = pods.Get(t.Context(), "p", metav1.GetOptions{})
		return err == nil && len(pod.Status.ResourceClaimStatuses) == 1, err
	})
	name := *pod.Status.ResourceClaimStatuses[0].ResourceClaimName
	claim, err := claims.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil || !metav1.IsControlledBy(claim, pod) {
		t.Fatalf("the pod's claim: %v, %v", claim, err)
	}
	claim.Finalizers = []string{resourcev1.Finalizer} // as the scheduler does
	if claim, err = claims.Update(t.Context(), claim, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	claim.Status = resourcev1.ResourceClaimStatus{Allocation: allocation("gpu.example.com", "n1"),
		ReservedFor: []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: "p", UID: pod.UID}}}
	if _, err = claims.UpdateStatus(t.Context(), claim, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if pod, err = pods.Get(t.Context(), "p", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	pod.Status.Phase = corev1.PodSucceeded
	if _, err := pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the claim to go with the end of its pod", func() (bool, error) {
		_, err := claims.Get(t.Context(), name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), fmt.Errorf("claim %s: %w", name, err)
	})
	if _, err := pods.Get(t.Context(), "p", metav1.GetOptions{}); err != nil {
		t.Errorf("the pod stays: %v", err)
	}
}
