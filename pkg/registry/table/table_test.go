// SPDX-License-Identifier: Apache-2.0

package table

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"
)

func convert(t *testing.T, kind schema.GroupKind, obj, options runtime.Object) *metav1.Table {
	t.Helper()
	table, err := For(kind).ConvertToTable(t.Context(), obj, options)
	if err != nil {
		t.Fatalf("%s: %v", kind, err)
	}
	return table
}

// An empty object and a list of one of every kind make a table whose rows fit its columns.
func TestEveryKind(t *testing.T) {
	tested := 0
	for gvk := range scheme.Scheme.AllKnownTypes() {
		hub := gvk.Version == "v1" && gvk.Kind != "HorizontalPodAutoscaler" && gvk.Group != "events.k8s.io" ||
			gvk.Version == "v2" && gvk.Kind == "HorizontalPodAutoscaler"
		listKind := gvk.GroupVersion().WithKind(gvk.Kind + "List")
		if !hub || !scheme.Scheme.Recognizes(listKind) {
			continue
		}
		obj, err := scheme.Scheme.New(gvk)
		if err != nil {
			t.Fatal(err)
		}
		if _, isObject := obj.(metav1.Object); !isObject {
			continue
		}
		list, err := scheme.Scheme.New(listKind)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []runtime.Object{obj, list} {
			table := convert(t, gvk.GroupKind(), o, nil)
			if len(table.ColumnDefinitions) < 2 {
				t.Errorf("%s has %d columns", gvk, len(table.ColumnDefinitions))
			}
			for _, row := range table.Rows {
				if len(row.Cells) != len(table.ColumnDefinitions) || row.Object.Object != obj {
					t.Errorf("%s: row %+v does not fit %d columns", gvk, row, len(table.ColumnDefinitions))
				}
			}
		}
		tested++
	}
	if tested < 40 {
		t.Errorf("only %d kinds were tested", tested)
	}
}

func TestConvert(t *testing.T) {
	kind := schema.GroupKind{Kind: "ConfigMap"}
	more := int64(7)
	list := &corev1.ConfigMapList{ListMeta: metav1.ListMeta{ResourceVersion: "5", Continue: "c", RemainingItemCount: &more}, Items: []corev1.ConfigMap{
		{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string]string{"k": ""}, BinaryData: map[string][]byte{"b": nil}},
		{ObjectMeta: metav1.ObjectMeta{Name: "b", CreationTimestamp: metav1.NewTime(time.Now().Add(-90 * time.Second))}},
	}}
	table := convert(t, kind, list, nil)
	if table.ResourceVersion != "5" || table.Continue != "c" || *table.RemainingItemCount != 7 {
		t.Errorf("list's metadata is lost: %+v", table.ListMeta)
	}
	if got := fmt.Sprint(table.Rows[0].Cells, table.Rows[1].Cells); got != "[a 2 <unknown>] [b 0 90s]" {
		t.Errorf("rows %s", got)
	}
	want := metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]}
	if table.ColumnDefinitions[0] != want {
		t.Errorf("column %+v, want %+v", table.ColumnDefinitions[0], want)
	}
	if table := convert(t, kind, list, &metav1.TableOptions{NoHeaders: true}); len(table.ColumnDefinitions) != 0 || len(table.Rows) != 2 {
		t.Errorf("without headers: %+v", table)
	}
	if _, err := For(kind).ConvertToTable(t.Context(), list, &metav1.ListOptions{}); err == nil {
		t.Error("options of another type are taken")
	}
	if _, err := For(kind).ConvertToTable(t.Context(), &corev1.Secret{}, nil); err == nil {
		t.Error("an object of another type is taken")
	}
}

// pod is one whose containers are in these states, by name; init containers first, sidecars marked with a plus.
func pod(phase corev1.PodPhase, init, main []corev1.ContainerStatus, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Status: corev1.PodStatus{Phase: phase}}
	for _, c := range init {
		spec := corev1.Container{Name: strings.TrimPrefix(c.Name, "+")}
		if spec.Name != c.Name {
			spec.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
			c.Name = spec.Name
		}
		p.Spec.InitContainers = append(p.Spec.InitContainers, spec)
		p.Status.InitContainerStatuses = append(p.Status.InitContainerStatuses, c)
	}
	for _, c := range main {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: c.Name})
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, c)
	}
	if change != nil {
		change(p)
	}
	return p
}

func running(name string, ready bool) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, Ready: ready, Started: new(true), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
}

func waiting(name, reason string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}
}

func ended(name, reason string, code, signal int32) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: reason, ExitCode: code, Signal: signal}}}
}

func restarted(c corev1.ContainerStatus, times int32, ago time.Duration) corev1.ContainerStatus {
	c.RestartCount = times
	if ago > 0 {
		c.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(time.Now().Add(-ago))}
	}
	return c
}

func with(conditions ...corev1.PodCondition) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.Conditions = conditions }
}

func TestPods(t *testing.T) {
	type states = []corev1.ContainerStatus
	isTrue := func(kind corev1.PodConditionType) corev1.PodCondition {
		return corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue}
	}
	deleted := func(reason string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.DeletionTimestamp, p.Status.Reason = &metav1.Time{Time: time.Now()}, reason }
	}
	tests := []struct {
		name string
		pod  *corev1.Pod
		want string // ready, status, restarts
	}{
		{"not placed", pod("Pending", nil, nil, nil), "0/0 Pending 0"},
		{"gated", pod("Pending", nil, nil, with(corev1.PodCondition{Type: corev1.PodScheduled, Reason: "SchedulingGated"})), "0/0 SchedulingGated 0"},
		{"creating", pod("Pending", nil, states{waiting("a", "ContainerCreating"), waiting("b", "ContainerCreating")}, nil), "0/2 ContainerCreating 0"},
		{"running", pod("Running", nil, states{running("a", true), running("b", true)}, nil), "2/2 Running 0"},
		{"one not ready", pod("Running", nil, states{running("a", true), running("b", false)}, nil), "1/2 Running 0"},
		{"crashing", pod("Running", nil, states{restarted(waiting("a", "CrashLoopBackOff"), 3, time.Minute), running("b", true)}, nil), "1/2 CrashLoopBackOff 3 (60s ago)"},
		{"restarts of all, the latest", pod("Running", nil, states{restarted(running("a", true), 1, time.Hour), restarted(running("b", true), 2, 10*time.Minute)}, nil), "2/2 Running 3 (10m ago)"},
		{"restarts of unknown time", pod("Running", nil, states{restarted(running("a", true), 2, 0)}, nil), "1/1 Running 2"},
		{"completed", pod("Succeeded", nil, states{ended("a", "Completed", 0, 0)}, nil), "0/1 Completed 0"},
		{"failed", pod("Failed", nil, states{ended("a", "Error", 1, 0)}, nil), "0/1 Error 0"},
		{"exit code", pod("Failed", nil, states{ended("a", "", 137, 0)}, nil), "0/1 ExitCode:137 0"},
		{"signal", pod("Failed", nil, states{ended("a", "", 137, 9)}, nil), "0/1 Signal:9 0"},
		{"one completed, one runs, ready", pod("Running", nil, states{ended("a", "Completed", 0, 0), running("b", true)}, with(isTrue(corev1.PodReady))), "1/2 Running 0"},
		{"one completed, one runs, not ready", pod("Running", nil, states{ended("a", "Completed", 0, 0), running("b", true)}, nil), "1/2 NotReady 0"},
		{"one completed, one failed", pod("Failed", nil, states{ended("a", "Completed", 0, 0), ended("b", "OOMKilled", 137, 0)}, nil), "0/2 OOMKilled 0"},
		{"evicted", pod("Failed", nil, nil, func(p *corev1.Pod) { p.Status.Reason = "Evicted" }), "0/0 Evicted 0"},

		{"first init runs", pod("Pending", states{running("i", false), waiting("j", "PodInitializing")}, states{waiting("a", "PodInitializing")}, nil), "0/1 Init:0/2 0"},
		{"second init waits", pod("Pending", states{ended("i", "Completed", 0, 0), waiting("j", "PodInitializing")}, states{waiting("a", "PodInitializing")}, nil), "0/1 Init:1/2 0"},
		{"init cannot pull", pod("Pending", states{waiting("i", "ImagePullBackOff")}, states{waiting("a", "PodInitializing")}, nil), "0/1 Init:ImagePullBackOff 0"},
		{"init failed", pod("Pending", states{restarted(ended("i", "Error", 1, 0), 4, time.Hour)}, states{waiting("a", "PodInitializing")}, nil), "0/1 Init:Error 4 (60m ago)"},
		{"init killed", pod("Pending", states{ended("i", "", 137, 9)}, states{waiting("a", "PodInitializing")}, nil), "0/1 Init:Signal:9 0"},
		{"init exited", pod("Pending", states{ended("i", "", 3, 0)}, states{waiting("a", "PodInitializing")}, nil), "0/1 Init:ExitCode:3 0"},
		{"restarts of init do not count later", pod("Running", states{restarted(ended("i", "Completed", 0, 0), 5, time.Hour)}, states{running("a", true)}, nil), "1/1 Running 0"},
		{"sidecar starts", pod("Pending", states{waiting("+s", "PodInitializing")}, states{waiting("a", "PodInitializing")}, nil), "0/2 Init:0/1 0"},
		{"sidecar runs", pod("Running", states{restarted(running("+s", true), 2, time.Hour)}, states{restarted(running("a", true), 1, 2*time.Hour)}, nil), "2/2 Running 3 (60m ago)"},
		{"sidecar not ready", pod("Running", states{running("+s", false)}, states{running("a", true)}, nil), "1/2 Running 0"},
		{"sidecar crashes after start", pod("Running", states{waiting("+s", "CrashLoopBackOff")}, states{running("a", true)}, with(isTrue(corev1.PodInitialized))), "1/2 Init:CrashLoopBackOff 0"},

		{"going", pod("Running", nil, states{running("a", true)}, deleted("")), "1/1 Terminating 0"},
		{"going, done", pod("Succeeded", nil, states{ended("a", "Completed", 0, 0)}, deleted("")), "0/1 Completed 0"},
		{"going, node lost", pod("Running", nil, states{running("a", true)}, deleted("NodeLost")), "1/1 Unknown 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			row := convert(t, schema.GroupKind{Kind: "Pod"}, tt.pod, nil).Rows[0]
			if got := fmt.Sprint(row.Cells[1], " ", row.Cells[2], " ", row.Cells[3]); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			over := tt.pod.Status.Phase == corev1.PodSucceeded || tt.pod.Status.Phase == corev1.PodFailed
			if marked := slices.ContainsFunc(row.Conditions, func(c metav1.TableRowCondition) bool { return c.Type == metav1.RowCompleted }); marked != over {
				t.Errorf("marked as completed: %v, want %v", marked, over)
			}
		})
	}
}

// The cells of one well-filled object of each kind that has columns with a mind of their own.
func TestCells(t *testing.T) {
	ago := func(d time.Duration) metav1.Time { return metav1.NewTime(time.Now().Add(-d)) }
	at := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, CreationTimestamp: ago(3 * time.Hour)}
	}
	template := corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "x:1"}, {Name: "b", Image: "y:2"}}}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	quantity := resource.MustParse

	tests := []struct {
		kind schema.GroupKind
		obj  runtime.Object
		want string
	}{
		{schema.GroupKind{Kind: "Node"}, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "n", CreationTimestamp: ago(3 * time.Hour), Labels: map[string]string{"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "db"}},
			Spec:       corev1.NodeSpec{Unschedulable: true},
			Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: "Ready", Status: "True"}}, Addresses: []corev1.NodeAddress{{Type: "InternalIP", Address: "192.0.2.1"}},
				NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1.37.2", KernelVersion: "6.1", Architecture: "amd64", ContainerRuntimeVersion: "containerd://2"}}},
			"n|Ready,SchedulingDisabled|control-plane,db,worker|3h|v1.37.2|192.0.2.1|<none>|<unknown>|6.1 (amd64)|containerd://2"},
		{schema.GroupKind{Kind: "Node"}, &corev1.Node{ObjectMeta: at("n"), Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: "Ready", Status: "Unknown"}}}},
			"n|NotReady|<none>|3h||<none>|<none>|<unknown>|<unknown>|<unknown>"},
		{schema.GroupKind{Kind: "Service"}, &corev1.Service{ObjectMeta: at("s"), Spec: corev1.ServiceSpec{Type: "NodePort", ClusterIPs: []string{"10.43.0.7"}, Selector: map[string]string{"app": "web"},
			Ports: []corev1.ServicePort{{Port: 80, NodePort: 30080, Protocol: "TCP"}, {Port: 53, Protocol: "UDP"}}}}, "s|NodePort|10.43.0.7|<none>|80:30080/TCP,53/UDP|3h|app=web"},
		{schema.GroupKind{Kind: "Service"}, &corev1.Service{ObjectMeta: at("s"), Spec: corev1.ServiceSpec{Type: "LoadBalancer", ExternalIPs: []string{"198.51.100.9"}},
			Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{Hostname: "b"}, {IP: "192.0.2.2"}}}}}, "s|LoadBalancer|<none>|192.0.2.2,b,198.51.100.9|<none>|3h|<none>"},
		{schema.GroupKind{Kind: "Service"}, &corev1.Service{ObjectMeta: at("s"), Spec: corev1.ServiceSpec{Type: "LoadBalancer"}}, "s|LoadBalancer|<none>|<pending>|<none>|3h|<none>"},
		{schema.GroupKind{Kind: "Service"}, &corev1.Service{ObjectMeta: at("s"), Spec: corev1.ServiceSpec{Type: "ExternalName", ExternalName: "example.org"}}, "s|ExternalName|<none>|example.org|<none>|3h|<none>"},
		{schema.GroupKind{Kind: "Endpoints"}, &corev1.Endpoints{ObjectMeta: at("e"), Subsets: []corev1.EndpointSubset{
			{Addresses: []corev1.EndpointAddress{{IP: "10.0.0.1"}, {IP: "10.0.0.2"}, {IP: "fd00::1"}}, Ports: []corev1.EndpointPort{{Port: 80}, {Port: 443}}}}}, "e|10.0.0.1:80,10.0.0.2:80,[fd00::1]:80 + 3 more...|3h"},
		{schema.GroupKind{Kind: "Event"}, &corev1.Event{ObjectMeta: at("ev"), Type: "Warning", Reason: "Failed", Message: " no \n", InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "p", FieldPath: "spec"},
			EventTime: metav1.NewMicroTime(time.Now().Add(-2 * time.Hour)), ReportingController: "kubelet", ReportingInstance: "n", Series: &corev1.EventSeries{Count: 4, LastObservedTime: metav1.NewMicroTime(time.Now().Add(-time.Minute))}},
			"60s|Warning|Failed|pod/p|spec|kubelet, n|no|120m|4|ev"},
		{schema.GroupKind{Kind: "Event"}, &corev1.Event{FirstTimestamp: ago(2 * time.Hour), Source: corev1.EventSource{Component: "c"}, InvolvedObject: corev1.ObjectReference{Kind: "Node"}}, "120m|||node||c||120m|1|"},
		{schema.GroupKind{Kind: "ResourceQuota"}, &corev1.ResourceQuota{ObjectMeta: at("q"), Status: corev1.ResourceQuotaStatus{
			Hard: corev1.ResourceList{"pods": quantity("4"), "limits.cpu": quantity("2"), "cpu": quantity("1")}, Used: corev1.ResourceList{"pods": quantity("1")}}}, "q|cpu: 0/1, pods: 1/4|limits.cpu: 0/2|3h"},
		{schema.GroupKind{Kind: "PersistentVolume"}, &corev1.PersistentVolume{ObjectMeta: at("pv"), Spec: corev1.PersistentVolumeSpec{Capacity: corev1.ResourceList{"storage": quantity("1Gi")},
			AccessModes: []corev1.PersistentVolumeAccessMode{"ReadWriteMany", "ReadWriteOnce"}, PersistentVolumeReclaimPolicy: "Delete", StorageClassName: "local", ClaimRef: &corev1.ObjectReference{Namespace: "ns", Name: "c"}},
			Status: corev1.PersistentVolumeStatus{Phase: "Bound"}}, "pv|1Gi|RWO,RWX|Delete|Bound|ns/c|local|<unset>||3h|<unset>"},
		{schema.GroupKind{Kind: "PersistentVolumeClaim"}, &corev1.PersistentVolumeClaim{ObjectMeta: at("c"), Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: new("local")}, Status: corev1.PersistentVolumeClaimStatus{Phase: "Pending"}},
			"c|Pending||||local|<unset>|3h|<unset>"},
		{schema.GroupKind{Group: "apps", Kind: "Deployment"}, &appsv1.Deployment{ObjectMeta: at("d"), Spec: appsv1.DeploymentSpec{Replicas: new(int32(3)), Selector: selector, Template: corev1.PodTemplateSpec{Spec: template}},
			Status: appsv1.DeploymentStatus{ReadyReplicas: 2, UpdatedReplicas: 1, AvailableReplicas: 2}}, "d|2/3|1|2|3h|a,b|x:1,y:2|app=web"},
		{schema.GroupKind{Group: "apps", Kind: "DaemonSet"}, &appsv1.DaemonSet{ObjectMeta: at("d"), Spec: appsv1.DaemonSetSpec{Selector: selector}, Status: appsv1.DaemonSetStatus{
			DesiredNumberScheduled: 5, CurrentNumberScheduled: 4, NumberReady: 3, UpdatedNumberScheduled: 2, NumberAvailable: 1}}, "d|5|4|3|2|1|<none>|3h|||app=web"},
		{schema.GroupKind{Group: "apps", Kind: "ControllerRevision"}, &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: "r", CreationTimestamp: ago(3 * time.Hour),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", Controller: new(true)}}}, Revision: 2}, "r|statefulset.apps/db|2|3h"},
		{schema.GroupKind{Group: "batch", Kind: "Job"}, &batchv1.Job{ObjectMeta: at("j"), Spec: batchv1.JobSpec{Completions: new(int32(3)), Selector: selector, Template: corev1.PodTemplateSpec{Spec: template}},
			Status: batchv1.JobStatus{Succeeded: 3, StartTime: new(ago(time.Hour)), CompletionTime: new(ago(50 * time.Minute)), Conditions: []batchv1.JobCondition{{Type: "Complete", Status: "True"}}}}, "j|Complete|3/3|10m|3h|a,b|x:1,y:2|app=web"},
		{schema.GroupKind{Group: "batch", Kind: "Job"}, &batchv1.Job{ObjectMeta: at("j"), Spec: batchv1.JobSpec{Parallelism: new(int32(4))}}, "j|Running|0/1 of 4||3h|||<none>"},
		{schema.GroupKind{Group: "batch", Kind: "CronJob"}, &batchv1.CronJob{ObjectMeta: at("c"), Spec: batchv1.CronJobSpec{Schedule: "* * * * *", Suspend: new(false)},
			Status: batchv1.CronJobStatus{Active: make([]corev1.ObjectReference, 2), LastScheduleTime: new(ago(30 * time.Second))}}, "c|* * * * *|<none>|False|2|30s|3h|||<none>"},
		{schema.GroupKind{Group: "policy", Kind: "PodDisruptionBudget"}, &policyv1.PodDisruptionBudget{ObjectMeta: at("b"), Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: new(intstr.FromString("50%"))}}, "b|50%|N/A|0|3h"},
		{schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}, &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: at("h"), Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", Name: "web"}, MaxReplicas: 9, Metrics: []autoscalingv2.MetricSpec{
				{Type: "Resource", Resource: &autoscalingv2.ResourceMetricSource{Name: "cpu", Target: autoscalingv2.MetricTarget{AverageUtilization: new(int32(80))}}},
				{Type: "Pods", Pods: &autoscalingv2.PodsMetricSource{Target: autoscalingv2.MetricTarget{AverageValue: new(quantity("5"))}}},
				{Type: "External"}}},
			Status: autoscalingv2.HorizontalPodAutoscalerStatus{CurrentReplicas: 2, CurrentMetrics: []autoscalingv2.MetricStatus{
				{Resource: &autoscalingv2.ResourceMetricStatus{Current: autoscalingv2.MetricValueStatus{AverageUtilization: new(int32(40))}}}}}},
			"h|Deployment/web|cpu: 40%/80%, <unknown>/5 + 1 more...|<unset>|9|2|3h"},
		{schema.GroupKind{Group: "discovery.k8s.io", Kind: "EndpointSlice"}, &discoveryv1.EndpointSlice{ObjectMeta: at("e"), AddressType: "IPv4", Ports: []discoveryv1.EndpointPort{{Port: new(int32(80))}, {Name: new("dns")}, {}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"a", "b"}}, {Addresses: []string{"c"}}, {Addresses: []string{"d"}}}}, "e|IPv4|80,dns,*|a,b,c + 1 more...|3h"},
		{schema.GroupKind{Group: "discovery.k8s.io", Kind: "EndpointSlice"}, &discoveryv1.EndpointSlice{ObjectMeta: at("e")}, "e||<unset>|<unset>|3h"},
		{schema.GroupKind{Group: "networking.k8s.io", Kind: "Ingress"}, &networkingv1.Ingress{ObjectMeta: at("i"), Spec: networkingv1.IngressSpec{IngressClassName: new("hm"), TLS: make([]networkingv1.IngressTLS, 1),
			Rules: []networkingv1.IngressRule{{Host: "a"}, {Host: "b"}, {Host: "c"}, {Host: "d"}, {Host: "e"}}}}, "i|hm|a,b,c + 2 more...||80, 443|3h"},
		{schema.GroupKind{Group: "networking.k8s.io", Kind: "Ingress"}, &networkingv1.Ingress{ObjectMeta: at("i")}, "i|<none>|*||80|3h"},
		{schema.GroupKind{Group: "storage.k8s.io", Kind: "StorageClass"}, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "local", CreationTimestamp: ago(3 * time.Hour), Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
			Provisioner: "hivemind.dev/local", VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer)}, "local (default)|hivemind.dev/local|Delete|WaitForFirstConsumer|false|3h"},
		{schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}, &rbacv1.ClusterRoleBinding{ObjectMeta: at("b"), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "r"}, Subjects: []rbacv1.Subject{
			{Kind: "User", Name: "u"}, {Kind: "User", Name: "v"}, {Kind: "ServiceAccount", Namespace: "ns", Name: "s"}}}, "b|ClusterRole/r|3h|u, v||ns/s"},
		{schema.GroupKind{Group: "scheduling.k8s.io", Kind: "PriorityClass"}, &schedulingv1.PriorityClass{ObjectMeta: at("c"), Value: 7, PreemptionPolicy: new(corev1.PreemptNever)}, "c|7|false|3h|Never"},
	}
	for _, tt := range tests {
		t.Run(tt.kind.Kind, func(t *testing.T) {
			var cells []string
			for _, c := range convert(t, tt.kind, tt.obj, nil).Rows[0].Cells {
				cells = append(cells, fmt.Sprint(c))
			}
			if got := strings.Join(cells, "|"); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestFlowSchemasAreListedInOrder(t *testing.T) {
	flow := func(name string, precedence int32) flowcontrolv1.FlowSchema {
		return flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: flowcontrolv1.FlowSchemaSpec{MatchingPrecedence: precedence}}
	}
	table := convert(t, schema.GroupKind{Group: "flowcontrol.apiserver.k8s.io", Kind: "FlowSchema"},
		&flowcontrolv1.FlowSchemaList{Items: []flowcontrolv1.FlowSchema{flow("catch-all", 10000), flow("b", 1), flow("a", 1)}}, nil)
	if got := fmt.Sprint(table.Rows[0].Cells[0], table.Rows[1].Cells[0], table.Rows[2].Cells[0]); got != "abcatch-all" {
		t.Errorf("order %s", got)
	}
}
