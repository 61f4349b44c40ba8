// SPDX-License-Identifier: Apache-2.0

package check

import (
	"encoding/json"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestShown(t *testing.T) {
	ref := rbacv1.RoleRef{Kind: "Role", Name: "a"}
	for _, c := range []struct {
		name  string
		value any
		want  string
	}{
		{"string", "a", `"a"`},
		{"nothing", nil, `null`},
		{"number or name", intstr.FromInt32(3), `3`},
		{"type of meta/v1", &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}, `{"matchLabels":{"a":"b"}}`},
		{"struct", ref, `{"APIGroup":"","Kind":"Role","Name":"a"}`},
		{"pointer", &ref, `{"APIGroup":"","Kind":"Role","Name":"a"}`},
		{"nil pointer", (*rbacv1.RoleRef)(nil), `null`},
		{"list", []rbacv1.RoleRef{ref}, `[{"APIGroup":"","Kind":"Role","Name":"a"}]`},
		{"map", map[string]rbacv1.RoleRef{"x": ref}, `{"x":{"APIGroup":"","Kind":"Role","Name":"a"}}`},
		{"embedded struct", corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "a"}, Key: "k"},
			`{"Name":"a","Key":"k","Optional":null}`},
		{"embedded metadata", corev1.PodTemplate{ObjectMeta: metav1.ObjectMeta{Name: "a"}}.ObjectMeta, `{"name":"a"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l List
			l.Invalid(field.NewPath("f"), c.value, "no")
			if want, got := "f: Invalid value: "+c.want+": no", l.Errors()[0].Error(); got != want {
				t.Errorf("error = %s, want %s", got, want)
			}
		})
	}
}

// TestShownLayouts holds where kube-apiserver's own types have fields elsewhere; want are parts that stand side by side.
func TestShownLayouts(t *testing.T) {
	for _, c := range []struct {
		name  string
		value any
		want  []string
	}{
		{"pod", corev1.PodSpec{HostPID: true, ServiceAccountName: "a", DeprecatedServiceAccount: "a"}, []string{
			`"ServiceAccountName":"a","AutomountServiceAccountToken":null,"NodeName":"","SecurityContext":{"HostNetwork":false,"HostPID":true,"HostIPC":false,"ShareProcessNamespace":null,"HostUsers":null,"SELinuxOptions":null`,
			`"SELinuxChangePolicy":null},"ImagePullSecrets":null,"Hostname":"","Subdomain":"","SetHostnameAsFQDN":null,"Affinity":null`,
			`"Priority":null,"PreemptionPolicy":null,"DNSConfig":null,"ReadinessGates":null,"RuntimeClassName":null,"Overhead":null,"EnableServiceLinks":null,"TopologySpreadConstraints":null,"OS":null,"SchedulingGates":null`,
		}},
		{"security context", &corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{RunAsUser: new(int64)}}, []string{`"RunAsUser":0`, `"FSGroup":null,"FSGroupChangePolicy":null,"Sysctls":null`}},
		{"volume", []corev1.VolumeSource{{}}, []string{`"RBD":null,"Quobyte":null,"FlexVolume":null,"Cinder":null`, `"VsphereVolume":null,"AzureDisk":null`}},
		{"persistent volume", corev1.PersistentVolumeSource{}, []string{`"RBD":null,"Quobyte":null,"ISCSI":null,"FlexVolume":null,"Cinder":null,"CephFS":null,"FC":null,"Flocker":null,"AzureFile":null,"VsphereVolume":null,"AzureDisk":null`}},
		{"service", corev1.ServiceSpec{}, []string{
			`{"Type":"","Ports":null,"Selector":null,"ClusterIP":"","ClusterIPs":null,"IPFamilies":null,"IPFamilyPolicy":null,"ExternalName":"","ExternalIPs":null,"LoadBalancerIP":"","SessionAffinity":"","SessionAffinityConfig":null,"LoadBalancerSourceRanges":null`}},
		{"job", batchv1.JobSpec{}, []string{`"Completions":null,"PodFailurePolicy":null,"SuccessPolicy":null,"ActiveDeadlineSeconds":null,"BackoffLimit":null`}},
		{"node", corev1.NodeSpec{PodCIDR: "10.0.0.0/8"}, []string{`{"PodCIDRs":null,"ProviderID":""`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, err := json.Marshal(shown(c.value))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				if !strings.Contains(string(data), want) {
					t.Errorf("lacks %s:\n%s", want, data)
				}
			}
		})
	}
}

func TestDifference(t *testing.T) {
	before := corev1.PersistentVolumeClaimSpec{VolumeName: "a"}
	after := corev1.PersistentVolumeClaimSpec{VolumeName: "b"}
	got := Difference(before, after)
	for _, want := range []string{`- "VolumeName": "a"`, `+ "VolumeName": "b"`, `  "StorageClassName": null`} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
}
