// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/remotecommand"
)

// What follows shows that a cluster of this package does what follows from a write: where envtest, which is an API server alone, stops.

func gone(err error) (bool, error) { return apierrors.IsNotFound(err), err }

func podsOf(t *testing.T, client *kubernetes.Clientset, labels string) []corev1.Pod {
	t.Helper()
	list, err := client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: labels})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// untilRunning waits for pods to be there and run.
func untilRunning(t *testing.T, client *kubernetes.Clientset, labels string, count int) []corev1.Pod {
	t.Helper()
	var pods []corev1.Pod
	eventually(t, fmt.Sprintf("%d pods to run", count), func() (bool, error) {
		pods = podsOf(t, client, labels)
		running := 0
		for _, pod := range pods {
			if pod.Status.Phase == corev1.PodRunning {
				running++
			}
		}
		return running == count, fmt.Errorf("%d of %d run", running, len(pods))
	})
	return pods
}

// execURL is where a command in a pod is run.
func execURL(client *kubernetes.Clientset, pod string, command ...string) *url.URL {
	request := client.CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name(pod).SubResource("exec").Param("stdin", "true").Param("stdout", "true")
	for _, word := range command {
		request.Param("command", word)
	}
	return request.URL()
}

// rolledOut waits for all replicas of a Deployment to be new and available.
func rolledOut(t *testing.T, client *kubernetes.Clientset, name string) {
	t.Helper()
	eventually(t, "Deployment "+name+" to roll out", func() (bool, error) {
		d, err := client.AppsV1().Deployments("default").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		s, want := d.Status, *d.Spec.Replicas
		return s.ObservedGeneration == d.Generation && s.UpdatedReplicas == want && s.AvailableReplicas == want && s.Replicas == want, fmt.Errorf("%+v", s)
	})
}

func TestDeploymentsRollOut(t *testing.T) {
	env := Start(t, Options{Nodes: 3})
	client := clientset(t, env.Config())
	deployments := client.AppsV1().Deployments("default")
	if _, err := deployments.Create(t.Context(), deployment("web", 6), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	rolledOut(t, client, "web")
	nodes, ips := map[string]bool{}, map[string]bool{}
	for _, pod := range podsOf(t, client, "app=web") {
		nodes[pod.Spec.NodeName], ips[pod.Status.PodIP] = true, true
	}
	if len(nodes) != 3 || len(ips) != 6 || ips[""] {
		t.Errorf("6 pods are on nodes %v with addresses %v", nodes, ips)
	}
	patch := `{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"registry.test/app:2"}]}}}}`
	if _, err := deployments.Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	rolledOut(t, client, "web")
	eventually(t, "the pods of the old template to go", func() (bool, error) {
		for _, pod := range podsOf(t, client, "app=web") {
			if pod.Spec.Containers[0].Image != "registry.test/app:2" {
				return false, fmt.Errorf("%s is still there", pod.Name)
			}
		}
		return true, nil
	})
	// Owned objects go with their owner.
	if err := deployments.Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ReplicaSets and pods to be collected", func() (bool, error) {
		sets, err := client.AppsV1().ReplicaSets("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		return len(sets.Items)+len(podsOf(t, client, "")) == 0, nil
	})
}

func TestOwnersAreFollowed(t *testing.T) {
	client := clientset(t, start(t).Config())
	maps := client.CoreV1().ConfigMaps("default")
	create := func(m *corev1.ConfigMap) *corev1.ConfigMap {
		t.Helper()
		made, err := maps.Create(t.Context(), m, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	ownedBy := func(name string, owner *corev1.ConfigMap, blocks bool) *corev1.ConfigMap {
		m := configMap(name)
		m.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID, BlockOwnerDeletion: &blocks}}
		return create(m)
	}
	for _, tt := range []struct {
		policy metav1.DeletionPropagation
		kept   bool
	}{{metav1.DeletePropagationBackground, false}, {metav1.DeletePropagationForeground, false}, {metav1.DeletePropagationOrphan, true}} {
		t.Run(string(tt.policy), func(t *testing.T) {
			name := "owner-" + string(tt.policy[0]+'a'-'A')
			owner := create(configMap(name))
			child := ownedBy(name+"-child", owner, true)
			grandchild := ownedBy(name+"-grandchild", child, true)
			if err := maps.Delete(t.Context(), name, metav1.DeleteOptions{PropagationPolicy: &tt.policy}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the owner to go", func() (bool, error) {
				_, err := maps.Get(t.Context(), name, metav1.GetOptions{})
				return gone(err)
			})
			if tt.kept {
				got, err := maps.Get(t.Context(), child.Name, metav1.GetOptions{})
				if err != nil || len(got.OwnerReferences) != 0 {
					t.Errorf("the orphan: %v, %v", got, err)
				}
				return
			}
			eventually(t, "its dependents to go", func() (bool, error) {
				_, err := maps.Get(t.Context(), grandchild.Name, metav1.GetOptions{})
				return gone(err)
			})
		})
	}
}

func TestNamespacesAreDeleted(t *testing.T) {
	env := Start(t, Options{})
	client := clientset(t, env.Config())
	namespaces := client.CoreV1().Namespaces()
	if _, err := namespaces.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "doomed"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.AppsV1().Deployments("doomed").Create(t.Context(), deployment("web", 2), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace to be lived in", func() (bool, error) {
		d, err := client.AppsV1().Deployments("doomed").Get(t.Context(), "web", metav1.GetOptions{})
		return err == nil && d.Status.AvailableReplicas == 2, err
	})
	if err := namespaces.Delete(t.Context(), "doomed", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace to go", func() (bool, error) {
		_, err := namespaces.Get(t.Context(), "doomed", metav1.GetOptions{})
		return gone(err)
	})
	if list, err := client.CoreV1().Pods("doomed").List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 0 {
		t.Errorf("pods are left: %v, %v", list, err)
	}
}

func TestJobsComplete(t *testing.T) {
	client := clientset(t, Start(t, Options{}).Config())
	completions := int32(3)
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "sum"}, Spec: batchv1.JobSpec{Completions: &completions, Parallelism: &completions,
		Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: "registry.test/app:1"}}}}}}
	if _, err := client.BatchV1().Jobs("default").Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the job to complete", func() (bool, error) {
		j, err := client.BatchV1().Jobs("default").Get(t.Context(), "sum", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for _, c := range j.Status.Conditions {
			if c.Type == batchv1.JobComplete && c.Status == corev1.ConditionTrue {
				return j.Status.Succeeded == completions, fmt.Errorf("%+v", j.Status)
			}
		}
		return false, fmt.Errorf("%+v", j.Status)
	})
}

func TestClaimsAreBound(t *testing.T) {
	client := clientset(t, Start(t, Options{}).Config())
	labels := map[string]string{"app": "db"}
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: appsv1.StatefulSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "main", Image: "registry.test/db:1", VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}}}}},
		VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}}}}},
	}}
	if _, err := client.AppsV1().StatefulSets("default").Create(t.Context(), set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the StatefulSet to be ready", func() (bool, error) {
		s, err := client.AppsV1().StatefulSets("default").Get(t.Context(), "db", metav1.GetOptions{})
		return err == nil && s.Status.ReadyReplicas == 1, err
	})
	claim, err := client.CoreV1().PersistentVolumeClaims("default").Get(t.Context(), "data-db-0", metav1.GetOptions{})
	if err != nil || claim.Status.Phase != corev1.ClaimBound {
		t.Fatalf("claim: %v, %v", claim, err)
	}
	// The default class deletes volumes with their claims.
	volume := claim.Spec.VolumeName
	if err := client.AppsV1().StatefulSets("default").Delete(t.Context(), "db", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().PersistentVolumeClaims("default").Delete(t.Context(), "data-db-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the volume to go", func() (bool, error) {
		_, err := client.CoreV1().PersistentVolumes().Get(t.Context(), volume, metav1.GetOptions{})
		return gone(err)
	})
}

func TestServicesFindTheirPods(t *testing.T) {
	client := clientset(t, Start(t, Options{}).Config())
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}}}}
	if _, err := client.CoreV1().Services("default").Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.AppsV1().Deployments("default").Create(t.Context(), deployment("web", 2), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "two ready endpoints", func() (bool, error) {
		slices, err := client.DiscoveryV1().EndpointSlices("default").List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=web"})
		if err != nil {
			return false, err
		}
		ready := 0
		for _, slice := range slices.Items {
			for _, e := range slice.Endpoints {
				if e.Conditions.Ready != nil && *e.Conditions.Ready {
					ready++
				}
			}
		}
		return ready == 2, fmt.Errorf("%d ready", ready)
	})
}

func TestLogsAndExecAnswer(t *testing.T) {
	env := Start(t, Options{})
	client := clientset(t, env.Config())
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: deployment("p", 1).Spec.Template.Spec}
	if _, err := client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	untilRunning(t, client, "", 1)
	stream, err := client.CoreV1().Pods("default").GetLogs("p", &corev1.PodLogOptions{}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if text, err := io.ReadAll(stream); err != nil || len(text) == 0 {
		t.Errorf("logs %q, %v", text, err)
	}
	executor, err := remotecommand.NewSPDYExecutor(env.Config(), http.MethodPost, execURL(client, "p", "echo", "hello"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader(""), Stdout: &out}); err != nil || out.String() != "hello\n" {
		t.Errorf("exec printed %q, %v", out.String(), err)
	}
}
